"""Whole runs over made-up files against the slow model: policies x encodings x filters x clean."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import publish
from pipeline.config import (
    CleanConfig,
    CompactConfig,
    DedupConfig,
    EncodeConfig,
    FilterConfig,
    RunConfig,
)
from pipeline.stored import coco_counts
from pipeline.verify import verify
from tests import model, oracle
from tests.outputs import run_inline
from tests.strategies import bitmaps_of

QUICK, LONG = 12, 150
SIZES = ((9, 12), (5, 7), (1, 14))
FLOOR = 0.9


@st.composite
def files(draw: st.DrawFn) -> list[list[dict[str, Any]]]:
    """One to three results files, with rows of three images in any order, many of them alike."""
    rows: list[dict[str, Any]] = []
    for image, size_hw in enumerate(SIZES[: draw(st.integers(1, len(SIZES)))], start=1):
        shapes = draw(st.lists(bitmaps_of(size_hw), min_size=1, max_size=3))
        for _ in range(draw(st.integers(1, 7))):
            mask = draw(st.sampled_from(shapes)).copy()
            for y, x in draw(st.lists(st.tuples(*(st.integers(0, n - 1) for n in size_hw)))):
                mask[y, x] ^= True
            rows.append(
                {
                    "image_id": image,
                    "category_id": draw(st.integers(1, 2)),
                    "score": draw(st.sampled_from([0.25, 0.5, 0.75])),
                    "bbox": [0.0, 0.0, 1.5, 2.0],
                    "segmentation": {
                        "size": list(size_hw),
                        "counts": oracle.encode(mask).decode(),
                    },
                }
            )
    rows = draw(st.permutations(rows))
    n_files = draw(st.integers(1, 3))
    return [own for own in (rows[n::n_files] for n in range(n_files)) if own]


@st.composite
def choices(draw: st.DrawFn) -> dict[str, Any]:
    """The settings of a run, by step."""
    is_across = draw(st.booleans())
    return {
        "dedup": DedupConfig(
            threshold=draw(st.sampled_from([0.3, 0.5, 0.8, 1.0])),
            overlap=draw(st.sampled_from(["iou", "ios"])),
            group=draw(st.sampled_from(["leader", "component", "none"])),
            merge=draw(st.sampled_from(["best", "union", "vote"])),
            vote_fraction=draw(st.sampled_from([0.34, 0.5, 1.0])),
            per_category=draw(st.booleans()),
            across=is_across,
        ),
        "filter": FilterConfig(
            min_score=draw(st.sampled_from([None, 0.5])), min_area=draw(st.sampled_from([0, 4]))
        ),
        "encode": EncodeConfig(
            encoding=draw(st.sampled_from(["rle", "crack", "polygon"])), fidelity=FLOOR
        ),
        "clean": CleanConfig(
            min_part_area=draw(st.sampled_from([0, 0, 3])),
            max_hole_area=draw(st.sampled_from([0, 0, 2])),
        ),
        "run": RunConfig(backend="numba", unit_bytes=draw(st.sampled_from([250, 1 << 20]))),
    }


def parts(is_in: model.Mask, reach: tuple[tuple[int, int], ...]) -> list[list[tuple[int, int]]]:
    """Return the connected parts of a mask's pixels, each a list of (y, x)."""
    left = {(int(y), int(x)) for y, x in np.argwhere(is_in)}
    found: list[list[tuple[int, int]]] = []
    while left:
        queue, own = deque([left.pop()]), list[tuple[int, int]]()
        while queue:
            y, x = queue.popleft()
            own.append((y, x))
            near = {(y + dy, x + dx) for dy, dx in reach} & left
            left -= near
            queue.extend(near)
        found.append(own)
    return found


FOUR = ((0, 1), (1, 0), (0, -1), (-1, 0))
EIGHT = (*FOUR, (1, 1), (1, -1), (-1, 1), (-1, -1))


def cleaned(mask: model.Mask, config: CleanConfig) -> model.Mask:
    """Return a mask without small parts, then with small holes filled, pixel by pixel."""
    mask = mask.copy()
    for own in parts(mask, EIGHT):
        if len(own) < config.min_part_area:
            mask[tuple(np.array(own).T)] = False
    height, width = mask.shape
    for own in parts(~mask, FOUR):
        is_hole = all(0 < y < height - 1 and 0 < x < width - 1 for y, x in own)
        if is_hole and len(own) <= config.max_hole_area:
            mask[tuple(np.array(own).T)] = True
    return mask


def expected_of(paths: list[Path], steps: dict[str, Any]) -> model.Outcome:
    """Return what the model says, from the cleaned rows of all files."""
    dedup, clean = steps["dedup"], steps["clean"]
    rows = [row for path in paths for row in model.load_results(path, f"file://{path}")]
    rows = [replace(row, mask=oracle.encode(cleaned(row.dense(), clean))) for row in rows]
    policy = model.Policy(
        threshold=dedup.threshold,
        overlap=dedup.overlap,
        group=dedup.group,
        merge=dedup.merge,
        vote_fraction=dedup.vote_fraction,
        per_category=dedup.per_category,
        across=dedup.across,
        min_score=steps["filter"].min_score,
        min_area=steps["filter"].min_area or None,
    )
    return model.run(rows, policy)


def check(output: Path, expected: model.Outcome) -> None:
    """Compare kept rows with their masks, and lineage with its leaders; then verify."""
    found = {
        name: table.to_pyarrow_dataset().to_table().combine_chunks()
        for name, table in publish.open_tables(f"file://{output}").items()
    }
    kept = found["compacted"].to_pylist()
    masks = coco_counts(found["compacted"]).to_pylist()
    assert len(kept) == len(expected.kept)
    copied = ("image_id", "category_id", "score", "n_merged", "source", "source_row")
    for row, counts, wanted in zip(kept, masks, expected.kept, strict=True):
        assert [row[name] for name in copied] == [wanted[name] for name in copied]
        size_hw = (row["height"], row["width"])
        stored, true = oracle.decode(size_hw, counts), oracle.decode(size_hw, wanted["mask"])
        assert row["area"] == stored.sum()
        assert model.overlap(stored, true, "iou") == row["fidelity"] >= FLOOR
        if row["encoding"] != "polygon":
            assert counts == wanted["mask"]
    leader_of = {row["instance_id"]: (row["source"], row["source_row"]) for row in kept}
    keys = ("reason", "iou", "ios")
    assert {
        (row["source"], row["source_row"]): (
            *(row[name] for name in keys),
            leader_of.get(row["kept_instance_id"]),
        )
        for row in found["lineage"].to_pylist()
    } == {
        (row["source"], row["source_row"]): (*(row[name] for name in keys), row["leader"])
        for row in expected.lineage
    }
    assert found["rejects"].num_rows == len(expected.rejects) == 0
    assert isinstance(found["rejects"], pa.Table)
    assert verify(str(output), is_all=True).problems == []


def compare(made: list[list[dict[str, Any]]], steps: dict[str, Any]) -> None:
    folder = Path(tempfile.mkdtemp(prefix="whole-"))
    try:
        paths = [folder / "in" / f"{number}.json" for number in range(len(made))]
        paths[0].parent.mkdir()
        for path, rows in zip(paths, made, strict=True):
            path.write_text(json.dumps(rows))
        inputs = tuple(str(path) for path in paths)
        run_inline(CompactConfig(inputs=inputs, output=str(folder / "out"), **steps))
        check(folder / "out", expected_of(paths, steps))
    finally:
        shutil.rmtree(folder)


@given(made=files(), steps=choices())
@settings(max_examples=QUICK)
def test_some_runs_equal_the_model(made: list[list[dict[str, Any]]], steps: dict[str, Any]) -> None:
    compare(made, steps)


@pytest.mark.long
@given(made=files(), steps=choices())
@settings(max_examples=LONG)
def test_many_runs_equal_the_model(made: list[list[dict[str, Any]]], steps: dict[str, Any]) -> None:
    compare(made, steps)
