"""COCO AP and boundary AP of what came and of what is kept, by faster-coco-eval.

It holds the masks of the ground truth's images in memory, before and after, on
the driver. Images that the ground truth does not list are left out.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import read, storage
from pipeline.arrow import pc
from pipeline.config import CompactConfig
from pipeline.errors import ConfigError
from pipeline.plan import Plan
from pipeline.records import UnitRecord
from pipeline.stored import coco_counts

KINDS: tuple[Literal["segm"], Literal["boundary"]] = ("segm", "boundary")
"""What is measured: mask AP, and AP by the smaller of mask IoU and boundary IoU."""

_NEEDED = ("image_id", "category_id", "score", "height", "width")


class Truth(NamedTuple):
    """A ground-truth file: where it lies, its content, and the ids of its images."""

    uri: str
    document: dict[str, Any]
    image_ids: frozenset[int | str]


def read_truth(uri: str, flag: str = "--report.ground_truth") -> Truth:
    """Read a COCO annotation file; `flag` is the one that names it, for errors.

    Raises
    ------
    ConfigError
        If it is no such file, or faster-coco-eval is not installed.
    """
    if importlib.util.find_spec("faster_coco_eval") is None:
        raise ConfigError(
            f"{flag} needs faster-coco-eval: install the packages of maskpress[report]"
        )
    uri = storage.to_uri(uri)
    try:
        document = msgspec.json.decode(storage.read_bytes(uri))
    except msgspec.DecodeError as error:
        raise ConfigError(f"{flag}: {uri}: expected JSON: {error}") from error
    parts = ("images", "annotations", "categories")
    if not isinstance(document, dict) or not all(isinstance(document.get(p), list) for p in parts):
        raise ConfigError(
            f"{flag}: {uri}: expected COCO annotations with the lists images, "
            "annotations and categories"
        )
    ids: list[Any] = [
        image.get("id") if isinstance(image, dict) else None for image in document["images"]
    ]
    wrong = [one for one in ids if not isinstance(one, int | str) or isinstance(one, bool)]
    if wrong:
        raise ConfigError(
            f"{flag}: {uri}: expected images with an integer or a string as id, got {wrong[0]!r}"
        )
    return Truth(uri, document, frozenset(ids))


def compare(
    truth: Truth, plan: Plan, records: Sequence[UnitRecord], config: CompactConfig, output: str
) -> dict[str, Any]:
    """Measure AP of the valid input rows and of the kept rows against a ground truth.

    Parameters
    ----------
    truth : Truth
        The file to compare with.
    plan, config, output
        Of the run: its inputs are read again.
    records : sequence of UnitRecord
        Whose files hold what is kept.

    Returns
    -------
    dict
        As ``metrics`` in report.json, see docs/report.md.
    """
    before = list(coco_results(_input_rows(plan, config, truth), truth))
    after = list(coco_results(_kept_rows(records, output), truth))
    found: dict[str, Any] = {
        "ground_truth": truth.uri,
        "images": len(truth.image_ids),
        "rows_before": len(before),
        "rows_after": len(after),
    }
    by_category: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        found[kind] = {}
        for when, rows in (("before", before), ("after", after)):
            total, single = average_precision(truth, rows, kind)
            found[kind][when] = total
            for name, value in single.items():
                by_category.setdefault(name, {}).setdefault(kind, {})[when] = value
        values = [found[kind][when]["ap"] for when in ("before", "after")]
        found[kind]["ap_drop"] = None if None in values else values[0] - values[1]
    found["categories"] = by_category
    return found


def average_precision(
    truth: Truth, results: list[dict[str, Any]], kind: Literal["segm", "boundary"]
) -> tuple[dict[str, float | None], dict[str, float | None]]:
    """Return AP of results (all, at IoU .5, at .75), and AP by category; None where undefined.

    Parameters
    ----------
    truth : Truth
        What is right.
    results : list of dict
        COCO results with RLE masks, of the truth's images.
    kind : {"segm", "boundary"}
        As COCO's ``iouType``. At most 100 results count per image and category.
    """
    from faster_coco_eval import COCO, COCOeval_faster

    labelled = COCO(truth.document, use_deepcopy=True)
    run = COCOeval_faster(
        labelled,
        labelled.loadRes([dict(row) for row in results]),
        iouType=kind,
        print_function=lambda *words: None,
        boundary_cpu_count=1,
        rle_iou_max_workers=1,
    )
    run.params.useCats = int(all("category_id" in row for row in results))
    run.evaluate()
    run.accumulate()
    precision_TRKAM = np.asarray(run.eval["precision"])
    precision_TRK = precision_TRKAM[:, :, :, 0, -1]
    total = {
        "ap": _mean(precision_TRK),
        "ap50": _mean(precision_TRK[0]),
        "ap75": _mean(precision_TRK[5]),
    }
    names = run.params.catIds if run.params.useCats else ["all"]
    single = {str(name): _mean(precision_TRK[:, :, k]) for k, name in enumerate(names)}
    return total, {name: value for name, value in single.items() if value is not None}


def _mean(precision: Any) -> float | None:
    defined = precision[precision > -1]
    return float(defined.mean()) if defined.size else None


def _input_rows(plan: Plan, config: CompactConfig, truth: Truth) -> Iterator[pa.Table]:
    """Read the slices of the input again that may hold an image of the truth."""
    for unit in plan.read_units:
        for part in unit.slices:
            low, high = part.min_image_id, part.max_image_id
            if low is not None and any(_between(low, one, high) for one in truth.image_ids):
                found = read.read(part, plan.contexts[part.uri], config.read, plan.id_type)
                yield found.instances.select([*_NEEDED, "counts"])


def _between(low: Any, value: Any, high: Any) -> bool:
    return type(low) is type(value) and low <= value <= high


def _kept_rows(records: Sequence[UnitRecord], output: str) -> Iterator[pa.Table]:
    for record in records:
        for file in record.files:
            if file.table != "compacted":
                continue
            with storage.open_input(storage.join(output, "compacted", file.name)) as stream:
                rows = pq.ParquetFile(stream).read()
            counts = coco_counts(rows)
            yield rows.select(list(_NEEDED)).append_column("counts", counts)


def coco_results(tables: Iterable[pa.Table], truth: Truth) -> Iterator[dict[str, Any]]:
    """Yield the rows of the truth's images as COCO results; a row without a score has 1.0."""
    for table in tables:
        wanted = pa.array(
            [one for one in truth.image_ids if _is_of(table, one)],
            table.schema.field("image_id").type,
        )
        for row in table.filter(pc.is_in(table["image_id"], wanted)).to_pylist():
            yield {
                "image_id": row["image_id"],
                **({} if row["category_id"] is None else {"category_id": row["category_id"]}),
                "score": 1.0 if row["score"] is None else row["score"],
                "segmentation": {
                    "size": [row["height"], row["width"]],
                    "counts": row["counts"].decode("ascii"),
                },
            }


def _is_of(table: pa.Table, image_id: int | str) -> bool:
    is_int = pa.types.is_integer(table.schema.field("image_id").type)
    return is_int == (isinstance(image_id, int) and not isinstance(image_id, bool))
