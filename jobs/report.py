"""Make the page of a run again: python jobs/report.py OUT [--run RUN_ID]."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jsonargparse import ArgumentParser

from pipeline import publish, report, storage
from pipeline.cli import run_job
from pipeline.config import ReportConfig


def main(arguments: list[str] | None = None) -> int:
    """Run the job; return its exit code."""
    parser = ArgumentParser(
        prog="report.py",
        description="Make report.html again from report.json and samples.json of a run.",
        allow_abbrev=False,
    )
    parser.add_argument("output", type=str, metavar="OUT", help="Output of the main job.")
    parser.add_argument(
        "--run",
        type=str,
        metavar="RUN_ID",
        default=None,
        help="The run; default the one that is published. A run that a gate stopped has one too.",
    )
    parser.add_argument(
        "--images", type=str, default=None, help="As --report.images of the main job."
    )
    parser.add_argument(
        "--image_names", type=str, default=None, help="As --report.image_names of the main job."
    )
    given = parser.parse_args(arguments)
    wanted = ReportConfig(images=given.images, image_names=given.image_names)
    images = report.find_folder(wanted)
    output = storage.to_uri(given.output)
    run_id = given.run or next(
        entry["run_id"] for entry in publish.history(output) if entry["is_live"]
    )
    print(report.render(output, run_id, images).removeprefix("file://"))
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main))
