"""Run a detector over images, compact what it finds: python jobs/predict_and_compact.py IMAGE..."""

from __future__ import annotations

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jsonargparse import ArgumentParser, set_parsing_settings

from pipeline import predict, storage, terminal
from pipeline.cli import run_job
from pipeline.config import CompactConfig
from pipeline.detector import DetectConfig

DESCRIPTION = (
    "Run a detector over images with Ray Data, compact its masks before any of them touches a "
    "disk, and publish the tables of compact.py. The detector is any callable that maps a list of "
    "images to their instances (pipeline/detector.py); pipeline.interop.detectron2:Predictor is "
    "detectron2's."
)
USAGE = (
    "predict_and_compact.py IMAGE... --output URI --detect.callable MODULE:CALLABLE "
    "[--config FILE] [--step.field VALUE ...] [--dry_run]"
)


def build_parser() -> ArgumentParser:
    """Return the command line: that of compact.py, and the detector."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog="predict_and_compact.py", usage=USAGE, description=DESCRIPTION, allow_abbrev=False
    )
    parser.add_argument("--config", action="config", help="YAML file with any of these settings.")
    parser.add_class_arguments(DetectConfig, "detect")
    skipped = {"inputs", "dry_run", "report"}
    parser.add_class_arguments(CompactConfig, as_group=False, skip=skipped)
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
        metavar="IMAGE",
        help="Images: files, directories, globs or URIs (file://, s3://).",
    )
    return parser


def parse(arguments: list[str] | None = None) -> tuple[CompactConfig, DetectConfig]:
    """Return the configurations that a command line asks for."""
    parser = build_parser()
    values = vars(parser.instantiate(parser.parse_args(arguments)))
    del values["config"]
    detect = values.pop("detect")
    return CompactConfig(**(values | {"inputs": tuple(values["inputs"])})), detect


def main(arguments: list[str] | None = None) -> int:
    """Run the job; return its exit code."""
    config, detect = parse(arguments)
    # Modules of the present folder, here and in the workers of a local Ray.
    sys.path.insert(0, os.getcwd())
    paths = [os.getcwd(), *filter(None, [os.environ.get("PYTHONPATH")])]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    output = storage.to_uri(config.output)
    with terminal.RunProgress() as progress:
        outcome = predict.run(config, detect, progress)
    if outcome.state == "already":
        print(f"run {outcome.run_id} has already landed in {output}: nothing to do")
    elif outcome.state == "planned" and outcome.plan is not None:
        n_images, n_units = len(outcome.plan.inventory), outcome.plan.n_units
        print(f"dry run {outcome.run_id}: nothing was written")
        print(f"  {n_images:,} images in {n_units:,} units of work for {detect.callable}")
        print(f"  would replace the tables in {output}")
    else:
        terminal.print_summary(outcome.report, outcome.versions, output, outcome.page)
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main))
