"""A gate in a whole run: what was published before stays, and the report says why."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline import flow, publish
from pipeline.config import CompactConfig, DedupConfig, GateConfig
from pipeline.errors import GateError
from tests.scene import rectangles

pytestmark = pytest.mark.usefixtures("ray_local")


def test_broken_gate_leaves_what_was_published(tmp_path: Path) -> None:
    rows = [
        {
            "image_id": row.image_id,
            "category_id": 1,
            "score": row.score,
            "segmentation": {"size": [row.height, row.width], "counts": row.mask.decode()},
        }
        for row in rectangles()
    ]
    (tmp_path / "in.json").write_text(json.dumps(rows))

    def run(**steps: Any) -> flow.Outcome:
        inputs = (str(tmp_path / "in.json"),)
        return flow.run(CompactConfig(inputs=inputs, output=str(tmp_path / "out"), **steps))

    first = run()
    loose = DedupConfig(threshold=0.3)
    with pytest.raises(GateError, match="merged_fraction of at most 0"):
        run(dedup=loose, gate=GateConfig(max_merged_fraction=0.0))
    uri = f"file://{tmp_path / 'out'}"
    live = publish.open_tables(uri)["compacted"]
    assert live.version() == first.versions["compacted"]
    assert set(live.to_pyarrow_table()["run_id"].to_pylist()) == {first.run_id}
    (stopped,) = {path.name for path in (tmp_path / "out" / "reports").iterdir()} - {first.run_id}
    page = tmp_path / "out" / "reports" / stopped / "report.html"
    assert "Gate broken, nothing was published" in page.read_text()
    assert "What each encoding gives" in page.read_text()
    second = run(dedup=loose, gate=GateConfig(max_merged_fraction=1.0))
    assert second.run_id == stopped
    assert second.versions["compacted"] == first.versions["compacted"] + 1
