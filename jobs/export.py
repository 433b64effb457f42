"""Write a published table in another format: python jobs/export.py OUT --to coco --output FILE."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import get_args

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jsonargparse import ArgumentParser

from pipeline import export, storage
from pipeline.cli import run_job
from pipeline.config import EncodeConfig, Encoding
from pipeline.errors import ConfigError
from pipeline.records import TABLES

JSON = ("coco", "results", "detectron2")
DESCRIPTION = (
    "Write the kept masks as COCO annotations (coco), as a COCO results list (results), as "
    "detectron2 dataset dicts (detectron2), or as one Parquet file with the masks re-encoded "
    "(rle, crack, polygon)."
)


def build_parser() -> ArgumentParser:
    """Return the command line of the job."""
    parser = ArgumentParser(prog="export.py", description=DESCRIPTION, allow_abbrev=False)
    parser.add_argument("out", metavar="OUT", help="What was --output of the run.")
    parser.add_argument(
        "--to", required=True, choices=[*JSON, *get_args(Encoding)], help="What to write."
    )
    parser.add_argument("--output", required=True, help="File to write; it must not exist yet.")
    parser.add_argument("--version", type=int, default=None, help="Of the table; default newest.")
    parser.add_argument(
        "--like",
        default=None,
        metavar="FILE",
        help="coco, detectron2: annotation JSON to take images (file names), categories, info "
        "and licenses from; else images have id and size, categories their id as name.",
    )
    parser.add_argument(
        "--fidelity",
        type=float,
        default=None,
        help="polygon: lowest IoU with the table's mask (default 0.98).",
    )
    return parser


def encode_config(encoding: Encoding, fidelity: float | None) -> EncodeConfig:
    """Return the settings of masks that are written anew."""
    if fidelity is None:
        return EncodeConfig(encoding=encoding)
    return EncodeConfig(encoding=encoding, fidelity=fidelity)


def main(arguments: list[str] | None = None) -> int:
    """Run the job; return its exit code."""
    asked = build_parser().parse_args(arguments)
    if asked.like and asked.to not in ("coco", "detectron2"):
        raise ConfigError(f"--like {asked.like}: goes with --to coco or detectron2, not {asked.to}")
    if asked.fidelity is not None and asked.to != "polygon":
        raise ConfigError(f"--fidelity {asked.fidelity}: goes with --to polygon, not {asked.to}")
    encoding = EncodeConfig() if asked.to in JSON else encode_config(asked.to, asked.fidelity)
    uri = storage.to_uri(asked.output)
    for table in TABLES:
        if storage.is_inside(uri, storage.join(storage.to_uri(asked.out), table)):
            raise ConfigError(f"--output {asked.output}: lies inside a table; name another place")
    if storage.exists(uri):
        raise ConfigError(f"--output {asked.output}: exists already; remove it or name another")
    with storage.open_output(uri) as stream:
        if asked.to in JSON:
            like = storage.to_uri(asked.like) if asked.like else None
            count = export.export_json(asked.out, asked.to, stream, asked.version, like)
        else:
            count = export.export_parquet(asked.out, encoding, stream, asked.version)
    print(f"{count:,} masks written to {asked.output}")
    return 0


if __name__ == "__main__":
    sys.exit(run_job(main))
