"""Delete files that no retained version and no live run needs; lists them unless told to."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jsonargparse import ArgumentParser

from pipeline import storage
from pipeline.cli import run_job
from pipeline.publish import vacuum


def main() -> int:
    """List or delete what nothing needs any more."""
    parser = ArgumentParser(
        description="List the files that no retained version and no live run needs, or delete them."
    )
    parser.add_argument("output", help="directory or URI of the tables")
    parser.add_argument(
        "--retention_hours",
        type=int,
        default=168,
        help="how long a version stays restorable after it was replaced; below 48, clocks that "
        "differ and readers of old versions are on their own",
    )
    parser.add_argument("--delete", type=bool, default=False, help="delete; otherwise only list")
    args = parser.parse_args()
    names = vacuum(storage.to_uri(args.output), args.retention_hours, dry_run=not args.delete)
    for name in names:
        print(name)
    verb = "deleted" if args.delete else "would be deleted (--delete true does it)"
    print(f"{len(names):,} files {verb}")
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main))
