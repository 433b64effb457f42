"""Check that what is published is whole, adds up, and says what its sources say."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jsonargparse import ArgumentParser

from pipeline.cli import run_job
from pipeline.verify import Findings, verify

PROBLEMS = 6


def main() -> int:
    """Print every problem with what to do about it, or one line that all is well."""
    parser = ArgumentParser(
        description="Check the tables of an output: files against the log and their checksums, "
        "every input row accounted for, lineage, and a sample of the masks decoded and compared "
        "with the sources."
    )
    parser.add_argument("output", help="directory or URI of the tables")
    parser.add_argument("--version", type=int, help="version of `compacted`; default the newest")
    parser.add_argument("--all", action="store_true", help="look at every mask, not at a sample")
    parser.add_argument(
        "--sample_fraction",
        type=float,
        default=0.02,
        help="share of the row groups whose masks are decoded and compared with their sources",
    )
    args = parser.parse_args()
    findings = verify(args.output, args.version, args.sample_fraction, args.all)
    print_findings(findings)
    return PROBLEMS if findings.problems else 0


def print_findings(findings: Findings) -> None:
    """Print problems, what could not be checked, and the counts."""
    for number, problem in enumerate(findings.problems, start=1):
        print(f"{number}. {problem.where}")
        print(f"   expected: {problem.expected}")
        print(f"   found:    {problem.found}")
        print(f"   to do:    {problem.advice}")
    for note in findings.notes:
        print(f"not checked: {note}")
    counts = ", ".join(f"{number:,} {name}" for name, number in findings.counts.items())
    found = len(findings.problems)
    verdict = "all is well" if not found else f"{found} problem{'s' if found > 1 else ''}"
    print(f"{verdict}: checked {counts or 'nothing'}")


if __name__ == "__main__":
    sys.exit(run_job(main))
