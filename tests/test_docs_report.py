"""docs/report.md explains every key of report.json, and no other."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pipeline.config import DedupConfig, EncodeConfig, GateConfig
from pipeline.report import REPORT_VERSION
from tests.scene import make_report, rectangles

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "report.md").read_text()

NAMED_BY_DATA = (
    "config",
    "versions",
    "sources",
    "reasons",
    "rejects",
    "rows",
    "counters",
    "backend",
    "category_names",
    "bytes.output_files",
    "encodings",
    "categories.*.masks",
    "categories.*.stored_bytes",
    "estimate.encoded_bytes",
    "time.driver_stage_s",
    "time.worker_stage_s",
    "time.worker_masks_per_s",
    "time.worker_input_bytes_per_s",
    "plan.skipped_files",
)
"""Objects whose own keys are names: of files, codes, stages, encodings."""


def rows() -> dict[str, str]:
    """The table of keys: what is in backquotes left and right."""
    table = TEXT.split("\n## report.json")[1].split("\n## ")[0]
    found = re.findall(r"^\| (.+?) \| (.+) \|$", table, re.MULTILINE)
    keys = {key: explained for left, explained in found for key in re.findall(r"`([^`]+)`", left)}
    return keys


def keys_of(value: Any, path: str = "") -> Iterator[str]:
    if path and not isinstance(value, dict):
        yield path
        return
    if path in NAMED_BY_DATA or not value:
        yield path
        return
    for key, inner in value.items():
        own = "*" if path in ("categories", "estimate.choices") else key
        yield from keys_of(inner, f"{path}.{own}".lstrip("."))


def is_explained(path: str, known: dict[str, str]) -> bool:
    """Whether the table has the key, or a key above it whose text names the rest."""
    keys = path.split(".")
    for n in range(len(keys), 0, -1):
        explained = known.get(".".join(keys[:n]))
        if explained is not None:
            return all(f"`{key}`" in explained for key in keys[n:] if key != "*")
    return False


def test_every_key_is_explained() -> None:
    document, _ = make_report(
        rectangles(),
        dedup=DedupConfig(threshold=0.6),
        encode=EncodeConfig(encoding="polygon"),
        gate=GateConfig(max_merged_fraction=1),
    )
    document = json.loads(json.dumps(document))
    known = rows()
    assert len(known) > 40
    missing = [path for path in sorted(set(keys_of(document))) if not is_explained(path, known)]
    assert missing == []
    for gate in document["gates"]:
        assert all(f"`{key}`" in known["gates"] for key in gate)


def test_no_key_is_explained_that_is_not_there() -> None:
    document, _ = make_report(rectangles())
    for key in rows():
        value: Any = document
        for part in key.split("."):
            assert part in value, key
            value = value[part]


def test_version_is_the_one_that_is_explained() -> None:
    assert rows()["report_version"].endswith(f": {REPORT_VERSION}")
