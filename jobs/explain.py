"""Say where a mask went: python jobs/explain.py OUT --source FILE --row N, or --image_id ID."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jsonargparse import ArgumentParser

from pipeline import storage
from pipeline.cli import run_job
from pipeline.errors import ConfigError
from pipeline.explain import Fate, explain_image, explain_row, filtered_rows, own_mask
from pipeline.report import drawing


def main(arguments: list[str] | None = None) -> int:
    """Run the job; return its exit code."""
    given = build_parser().parse_args(arguments)
    output = storage.to_uri(given.output)
    if (given.image_id is None) == (given.source is None or given.row is None):
        raise ConfigError("expected either --source FILE with --row N, or --image_id ID")
    if given.image_id is not None:
        print_image(output, given.image_id)
        return 0
    print_row(output, explain_row(output, given.source, given.row), given.png)
    return 0


def build_parser() -> ArgumentParser:
    """Return the command line of the job."""
    parser = ArgumentParser(
        prog="explain.py",
        description="Say where a row of the input went, with which overlap, and draw the mask that "
        "was kept; the row's own outline needs the source as the run read it.",
        allow_abbrev=False,
    )
    parser.add_argument("output", type=str, metavar="OUT", help="Output of the main job.")
    parser.add_argument("--source", type=str, default=None, help="Input file, path or URI.")
    parser.add_argument("--row", type=int, default=None, help="Number of the row in it, from 0.")
    parser.add_argument("--image_id", type=str, default=None, help="List all rows of an image.")
    parser.add_argument("--png", type=str, default=None, help="Draw into this file as well.")
    return parser


def print_row(output: str, fate: Fate, png: str | None) -> None:
    """Print what became of a row, and draw it."""
    print(f"row {fate.source_row} of {fate.source}: {tell(fate)}")
    kept = fate.kept
    if kept is None:
        return
    texts = [kept["counts"]]
    if fate.fate != "kept":
        print(f"  kept instead: {facts_of(kept)}")
    own, why = own_mask(output, fate)
    if own:
        texts.append(own)
    else:
        print(f"  {why}")
    size = (kept["height"], kept["width"])
    print(drawing.draw_text(texts, *size))
    print("  █ both   ▓ the kept mask alone   ░ the row's own mask alone")
    if png is not None:
        Path(png).write_bytes(drawing.draw_png(texts, *size))
        print(f"  drawn into {png}")


def tell(fate: Fate) -> str:
    """Return in words what became of a row."""
    facts = fate.facts
    if fate.fate == "kept":
        return f"kept as {facts_of(facts)}"
    if fate.fate == "rejected":
        return f"rejected, {facts['code']} in {facts['field']}: {facts['message']}"
    if fate.kept is None:
        return f"filtered by {fate.fate}"
    words = {"merged": "merged", "exact_duplicate": "an exact duplicate, merged"}[fate.fate]
    text = (
        f"{words} into instance {facts['kept_instance_id']}, IoU {facts['iou']:.4f}, "
        f"intersection over the smaller {facts['ios']:.4f}"
    )
    if facts["linked_source"] is not None:
        text += f", linked through row {facts['linked_source_row']} of {facts['linked_source']}"
    return text


def facts_of(kept: dict[str, Any]) -> str:
    """Return a kept row in words."""
    return (
        f"instance {kept['instance_id']} of image {kept['image_id']} (row {kept['source_row']} of "
        f"{kept['source']}), category {kept['category_id']}, score {kept['score']}, "
        f"area {kept['area']} px, stands for {kept['n_merged']} more"
    )


def print_image(output: str, image_id: str) -> None:
    """Print the kept rows of an image, and below each the rows that it stands for."""
    for kept, merged in explain_image(output, image_id):
        print(facts_of(kept))
        for row in merged:
            print(
                f"  {row['reason']}: row {row['source_row']} of {row['source']}, "
                f"category {row['category_id']}, score {row['score']}, IoU {row['iou']:.4f}"
            )
    for row in filtered_rows(output, image_id):
        print(f"filtered by {row['reason']}: row {row['source_row']} of {row['source']}")


if __name__ == "__main__":
    sys.exit(run_job(main))
