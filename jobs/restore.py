"""What was published to an output, and the way back to it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jsonargparse import ArgumentParser

from pipeline import storage
from pipeline.cli import run_job
from pipeline.publish import history, restore


def main() -> int:
    """List the publications, or make one of them live again."""
    parser = ArgumentParser(
        description="List what was published to an output, newest first, or roll back to it."
    )
    parser.add_argument("output", help="directory or URI of the tables")
    parser.add_argument("--version", type=int, help="version of `compacted` to make live again")
    parser.add_argument("--list", action="store_true", help="list the versions (the default)")
    args = parser.parse_args()
    output_uri = storage.to_uri(args.output)
    if args.version is not None:
        version = restore(output_uri, args.version)
        print(f"version {args.version} is live, as version {version}")
    if args.version is None or args.list:
        print_history(output_uri)
    return 0


def print_history(output_uri: str) -> None:
    """Print one line per publication."""
    print(f"{'version':>7}  {'published (UTC)':19}  {'run_id':16}  {'rows':>12}")
    for entry in history(output_uri):
        restored = entry["restored_from"]
        notes = ["live"] if entry["is_live"] else []
        notes += [f"restored from {restored}"] if restored is not None else []
        print(
            f"{entry['version']:>7}  {entry['timestamp'][:19]}  {entry['run_id']:16}  "
            f"{entry['rows']:>12,}  {', '.join(notes)}".rstrip()
        )


if __name__ == "__main__":
    sys.exit(run_job(main))
