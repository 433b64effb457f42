"""Try settings on a sample: python jobs/tune.py INPUT... [--ground_truth FILE]."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jsonargparse import ArgumentParser, set_parsing_settings
from rich.console import Console
from rich.table import Table

from pipeline import evaluate, storage, tune
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
from pipeline.report.words import human_bytes
from pipeline.tune.front import quality

STEPS: dict[str, tuple[type, set[str]]] = {
    "read": (ReadConfig, set()),
    "clean": (CleanConfig, set()),
    "filter": (FilterConfig, set()),
    "dedup": (DedupConfig, {"threshold", "group", "merge", "per_category"}),
    "encode": (EncodeConfig, {"encoding", "fidelity"}),
    "write": (WriteConfig, set()),
}
"""Settings of the main job that a sweep takes over, and those of each step that it tries."""


def main(arguments: list[str] | None = None) -> int:
    """Run the job; return its exit code."""
    given = vars(build_parser().parse_args(arguments))
    steps = {name: kind(**vars(given[name])) for name, (kind, _) in STEPS.items()}
    wanted = tune.SweepConfig(**vars(given["sweep"]))
    config = CompactConfig(inputs=tuple(given["inputs"]), output="tune", **steps)
    settings = tune.list_settings(config, wanted)
    truth = None
    if given["ground_truth"]:
        truth = evaluate.read_truth(given["ground_truth"], "--ground_truth")
    sample = tune.read_sample(config, wanted.images, truth)
    swept = tune.sweep(sample, settings, config)
    choice = tune.choose(swept, wanted)
    flags = " ".join([choice.best.setting.flags, *kept_flags(given)])
    print_choice(sample, swept, choice, flags)
    print(write_page(given["output"], sample, swept, choice, flags))
    return 0


def build_parser() -> ArgumentParser:
    """Return the command line of the job."""
    set_parsing_settings(docstring_parse_attribute_docstrings=True)
    parser = ArgumentParser(
        prog="tune.py",
        usage="tune.py INPUT... [--ground_truth FILE] [--output FILE] [--sweep.field VALUES ...] "
        "[--step.field VALUE ...]",
        description="Try thresholds, policies and encodings on a sample of the images, draw bytes "
        "against AP (or against IoU, without a ground truth), and recommend flags for compact.py.",
        allow_abbrev=False,
    )
    parser.add_argument("inputs", type=str, nargs="+", metavar="INPUT", help="As for the main job.")
    parser.add_argument(
        "--ground_truth",
        type=str,
        default=None,
        help="COCO annotations; the sample is taken from its images, and quality is mask AP.",
    )
    parser.add_argument("--output", type=str, default="tune.html", help="Page to write.")
    parser.add_class_arguments(tune.SweepConfig, "sweep")
    for name, (kind, tried) in STEPS.items():
        parser.add_class_arguments(kind, name, skip=tried)
    return parser


def kept_flags(given: dict[str, Any]) -> list[str]:
    """Return the settings that were given and are not tried, as flags of the main job."""
    found: list[str] = []
    for name, (kind, _) in STEPS.items():
        plain = kind()
        for key, value in vars(given[name]).items():
            if value != getattr(plain, key):
                text = str(value).lower() if isinstance(value, bool) else str(value)
                if isinstance(value, tuple | list):
                    text = "[" + ",".join(map(str, value)) + "]"
                found.append(f"--{name}.{key} {shlex.quote(text)}")
    return found


def print_choice(sample: tune.Sample, swept: tune.Swept, choice: tune.Choice, flags: str) -> None:
    """Print the front as a table, and the recommended flags as the last line but one."""
    console = Console(highlight=False, soft_wrap=True)
    of_all = "" if sample.n_images == sample.n_images_seen else f" of {sample.n_images_seen:,}"
    console.print(
        f"{len(swept.points):,} settings on {swept.n_rows:,} masks of {sample.n_images:,}{of_all} "
        f"images, decided from {swept.n_pairs:,} pairs"
    )
    console.print(front_table(choice))
    if swept.ap_before is not None:
        console.print(f"AP of all rows that came: {swept.ap_before:.4f}")
    if not choice.reaches_floor:
        console.print(f"no setting reaches {choice.floor:.4f}; --sweep.max_drop allows more")
    console.print(f"recommended: {flags}", markup=False)


def front_table(choice: tune.Choice) -> Table:
    """Return the points of the front, smallest first, and the recommended one."""
    name = "AP" if choice.measure == "ap" else "mean IoU"
    heads = ("bytes", "kept", name, "threshold", "group", "merge", "categories", "encoding", "")
    table = Table(*heads, box=None, pad_edge=False)
    for column in table.columns[:4]:
        column.justify = "right"
    for point in sorted({*choice.front, choice.best}, key=lambda one: one.file_bytes):
        dedup, encode = point.setting
        is_merging = dedup.group != "none"
        floor = f" {encode.fidelity:g}" if encode.encoding == "polygon" else ""
        table.add_row(
            human_bytes(point.file_bytes),
            f"{point.n_kept:,}",
            f"{quality(point, choice.measure):.4f}",
            f"{dedup.threshold:g}" if is_merging else "",
            dedup.group,
            dedup.merge if is_merging else "",
            ("within" if dedup.per_category else "across") if is_merging else "",
            encode.encoding + floor,
            "<-" if point is choice.best else "",
        )
    return table


def write_page(
    output: str, sample: tune.Sample, swept: tune.Swept, choice: tune.Choice, flags: str
) -> str:
    """Write the page; return where it is, or why it was not made."""
    try:
        from pipeline.tune import page
    except ModuleNotFoundError:
        return "no page was made: install the packages of maskpress[report]"
    uri = storage.to_uri(output)
    storage.write_bytes(uri, page.make_page(sample, swept, choice, flags).encode())
    return f"page: {uri.removeprefix('file://')}"


if __name__ == "__main__":
    sys.exit(run_job(main))
