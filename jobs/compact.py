"""Compact predictions or annotations: python jobs/compact.py INPUT... --output URI."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jsonargparse import ArgumentParser, set_parsing_settings

from pipeline import checks, flow, storage, terminal
from pipeline.cli import run_job
from pipeline.config import CompactConfig

DESCRIPTION = (
    "Deduplicate the masks of every image by exact overlap, encode what is kept, and publish it "
    "as Delta tables with lineage, rejects and a report."
)
SKIPPED = 3
"""Exit code of a run that left files out, as it was asked to."""

USAGE = "compact.py INPUT... --output URI [--config FILE] [--step.field VALUE ...] [--dry_run]"


def build_parser() -> ArgumentParser:
    """Return the command line of the job: one flag per field of the configuration."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog="compact.py", usage=USAGE, description=DESCRIPTION, allow_abbrev=False
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these settings.")
    parser.add_class_arguments(CompactConfig, as_group=False, skip={"inputs", "dry_run"})
    parser.add_argument(
        "--dry_run",
        type=bool,
        nargs="?",
        const=True,
        default=False,
        help="Plan and print what would be done; write nothing.",
    )
    parser.add_argument(
        "inputs",
        type=str,
        nargs="+",
        metavar="INPUT",
        help="Files, directories, globs or URIs (file://, s3://) of predictions or annotations.",
    )
    return parser


def parse(arguments: list[str] | None = None) -> CompactConfig:
    """Return the configuration that a command line asks for."""
    parser = build_parser()
    values = vars(parser.instantiate(parser.parse_args(arguments)))
    del values["config"]
    return CompactConfig(**(values | {"inputs": tuple(values["inputs"])}))


def main(arguments: list[str] | None = None) -> int:
    """Run the job; return its exit code."""
    config = parse(arguments)
    output = storage.to_uri(config.output)
    with terminal.RunProgress() as progress:
        outcome = flow.run(config, progress)
    if outcome.state == "already":
        print(f"run {outcome.run_id} has already landed in {output}: nothing to do")
    elif outcome.state == "rebuilt":
        found = checks.describe_damage(outcome.damaged)
        print(f"run {outcome.run_id} has already landed in {output}, but {found}; all are again")
    elif outcome.plan is not None and outcome.state == "planned":
        terminal.print_plan(outcome.plan, output)
    else:
        terminal.print_summary(outcome.report, outcome.versions, output, outcome.page)
    return SKIPPED if outcome.plan is not None and outcome.plan.skipped else 0


if __name__ == "__main__":
    sys.exit(run_job(main))
