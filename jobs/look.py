"""Say what an input is, without writing anything: python jobs/look.py INPUT..."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import msgspec
from jsonargparse import ArgumentParser, set_parsing_settings
from rich.console import Console
from rich.table import Table

from pipeline.cli import run_job
from pipeline.config import (
    CleanConfig,
    CompactConfig,
    DedupConfig,
    EncodeConfig,
    FilterConfig,
    ReadConfig,
    WriteConfig,
)
from pipeline.look import Forecast, Look, Masks, look
from pipeline.report.words import human_bytes, percent, seconds

STEPS: dict[str, type] = {
    "read": ReadConfig,
    "clean": CleanConfig,
    "filter": FilterConfig,
    "dedup": DedupConfig,
    "encode": EncodeConfig,
    "write": WriteConfig,
}
"""Settings of the main job that its forecast takes over."""

SKIPPED = 3
"""Exit code where some files cannot be read, as of a run that leaves them out."""


def main(arguments: list[str] | None = None) -> int:
    """Run the job; return its exit code."""
    given = vars(build_parser().parse_args(arguments))
    steps = {name: kind(**vars(given[name])) for name, kind in STEPS.items()}
    config = CompactConfig(inputs=tuple(given["inputs"]), output="look", **steps)
    found = look(config, given["part_bytes"], given["part_rows"])
    if given["json"]:
        print(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        print_look(found)
    return SKIPPED if any(problem.kind == "file" for problem in found.problems) else 0


def build_parser() -> ArgumentParser:
    """Return the command line of the job."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog="look.py",
        usage="look.py INPUT... [--json true] [--part_bytes N] [--part_rows N] "
        "[--step.field VALUE ...]",
        description="Say what an input is: formats, images, masks, categories, sizes, scores, "
        "what a run would merge and how long it would take, and what is wrong with it. Every "
        "file is scanned and a part of them is read; nothing is written.",
        allow_abbrev=False,
    )
    parser.add_argument("inputs", type=str, nargs="+", metavar="INPUT", help="As for the main job.")
    parser.add_argument(
        "--json", type=bool, nargs="?", const=True, default=False, help="Print JSON, for machines."
    )
    parser.add_argument(
        "--part_bytes", type=int, default=64 << 20, help="Input bytes that are read, about."
    )
    parser.add_argument(
        "--part_rows", type=int, default=20_000, help="Rows that are compared, about."
    )
    for name, kind in STEPS.items():
        parser.add_class_arguments(kind, name)
    return parser


def print_look(found: Look) -> None:
    """Print what was found, for people."""
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, pad_edge=False, show_header=False)
    formats = ", ".join(f"{n:,} of {name}" for name, n in sorted(found.formats.items()))
    add_rows(
        table,
        ("files", f"{found.n_files:,}, {human_bytes(found.input_bytes)}: {formats}"),
        ("rows", f"{found.rows:,}"),
        (
            "images",
            "not known without reading all" if found.images is None else f"{found.images:,}",
        ),
        ("image_id", {"int": "integers", "string": "strings"}[found.id_type]),
    )
    if found.masks is not None:
        add_masks(table, found.masks, found.part.valid_rows)
    if found.forecast is not None:
        add_forecast(table, found.forecast, found)
    console.print(table)
    print_problems(console, found)


def add_rows(table: Table, *rows: tuple[str, str]) -> None:
    """Add rows of a name and plain text, in which nothing is markup."""
    for name, text in rows:
        table.add_row(name, printable(text))


def add_masks(table: Table, masks: Masks, n_rows: int) -> None:
    """Add what the masks are like."""
    categories = [f"{'none' if one is None else one} ({n:,})" for one, n in masks.top_categories]
    sizes = [f"{height}x{width} ({n:,})" for height, width, n in masks.top_sizes]
    score = "none" if not masks.score else spread(masks.score, 3)
    if masks.score and masks.without_score:
        score += f"; {masks.without_score:,} without"
    add_rows(
        table,
        ("masks read", f"{n_rows:,}; {masks.crowds:,} crowds, {masks.empty:,} empty"),
        ("categories", f"{masks.categories:,}: {shorten(categories, masks.categories)}"),
        ("height x width", f"{masks.sizes:,}: {shorten(sizes, masks.sizes)}"),
        ("area, px", spread(masks.area)),
        ("runs", spread(masks.runs)),
        ("bytes as COCO", spread(masks.string_bytes)),
        ("scores", score),
    )
    if masks.extras:
        add_rows(table, ("more columns", ", ".join(masks.extras)))


def add_forecast(table: Table, forecast: Forecast, found: Look) -> None:
    """Add what a run would give."""
    part = found.part
    about = "" if part.is_all else "about "
    where = "all rows" if part.is_all else f"{part.rows:,} rows of {part.images:,} images"
    least = "" if part.has_whole_images else " at least: the images read are not whole"
    work = "one shuffle" if forecast.is_shuffled else "no shuffle"
    ratio = "" if forecast.ratio is None else f", {forecast.ratio:.2f} of the input"
    add_rows(
        table,
        ("compared", where),
        ("would merge", f"{percent(forecast.merged_fraction, 1)} of the valid rows{least}"),
        ("would filter", f"{percent(forecast.filtered_fraction, 1)} of the valid rows"),
        ("would reject", f"{percent(forecast.rejected_fraction, 1)} of the rows"),
        ("would keep", f"{about}{forecast.kept_rows:,} masks"),
        ("result", f"{about}{human_bytes(forecast.compacted_bytes)}{ratio}"),
        ("lineage", f"{about}{human_bytes(forecast.lineage_bytes)}"),
        (
            "time",
            f"about {seconds(forecast.time_s)} on {forecast.cpus} CPUs, {forecast.units:,} units "
            f"of work ({work}); starting Ray, where it is needed, not counted",
        ),
    )


def print_problems(console: Console, found: Look) -> None:
    """Print what is wrong, or that nothing was found."""
    if not found.problems:
        where = (
            "all rows" if found.part.read_rows == found.rows else f"{found.part.read_rows:,} rows"
        )
        console.print(f"no problem found in {where}")
        return
    console.print("problems:")
    for problem in found.problems:
        what = f"{problem.kind} {problem.what}"
        if problem.kind in ("reject", "counted"):
            what += f": {problem.count:,} of {found.part.read_rows:,} rows read"
        console.print(printable(f"  {what}"), markup=False)
        if problem.message:
            console.print(printable(f"    {problem.message}"), markup=False)


def spread(quantiles: Sequence[float], digits: int = 0) -> str:
    """Return the least, the median and the largest of `QUANTILES`."""
    low, middle, high = quantiles[0], quantiles[3], quantiles[-1]
    return f"{low:,.{digits}f} to {high:,.{digits}f}, median {middle:,.{digits}f}"


def shorten(texts: Sequence[str], n_all: int) -> str:
    """Return the first of many, and that there are more."""
    return ", ".join(texts) + (", ..." if n_all > len(texts) else "")


def printable(text: str) -> str:
    """Return text that does nothing to a terminal: control characters are shown by number."""
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)


if __name__ == "__main__":
    sys.exit(run_job(main))
