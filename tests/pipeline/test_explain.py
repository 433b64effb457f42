"""Every row of an input is told where it went, and drawn as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline import explain, storage
from pipeline.config import DedupConfig, FilterConfig
from pipeline.errors import ConfigError
from tests import model
from tests.scene import rectangles, run_here, write_results

Published = tuple[str, Path, list[model.Row]]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Published:
    folder = tmp_path_factory.mktemp("explain")
    rows = [row for row in rectangles(4) if not row.iscrowd]
    path = write_results(folder / "in.json", rows)
    output = storage.to_uri(str(folder / "out"))
    dedup = DedupConfig(threshold=0.5)
    run_here(path, output, dedup=dedup, filter=FilterConfig(min_area=12))
    return output, path, rows


def test_every_row_is_somewhere_with_its_own_mask(published: Published) -> None:
    output, path, rows = published
    fates: dict[str, int] = {}
    for place, row in enumerate(rows[::7]):
        fate = explain.explain_row(output, str(path), 7 * place)
        fates[fate.fate] = fates.get(fate.fate, 0) + 1
        assert explain.own_mask(output, fate) == (row.mask.decode(), "")
        if fate.fate in ("merged", "exact_duplicate"):
            assert fate.kept is not None
            leader = rows[fate.kept["source_row"]].dense()
            union = (leader | row.dense()).sum()
            assert fate.facts["iou"] == (leader & row.dense()).sum() / union
            assert fate.kept["counts"] == rows[fate.kept["source_row"]].mask.decode()
    assert {"kept", "merged"} <= set(fates)


def test_image_lists_every_row_once(published: Published) -> None:
    output, _, rows = published
    found = explain.explain_image(output, "2")
    listed = [kept["source_row"] for kept, _ in found]
    listed += [row["source_row"] for _, merged in found for row in merged]
    listed += [row["source_row"] for row in explain.filtered_rows(output, "2")]
    assert sorted(listed) == [n for n, row in enumerate(rows) if row.image_id == 2]


def test_row_that_is_nowhere(published: Published) -> None:
    output, path, _ = published
    with pytest.raises(ConfigError, match="row 99999 is in none of the published tables"):
        explain.explain_row(output, str(path), 99999)
    with pytest.raises(ConfigError, match="expected an integer, got 'seven'"):
        explain.explain_image(output, "seven")


def test_source_that_is_gone_or_changed_is_said(published: Published) -> None:
    output, path, _ = published
    fate = explain.explain_row(output, str(path), 0)
    text = path.read_text()
    try:
        path.write_text(text + " ")
        assert "is not what the run read" in explain.own_mask(output, fate)[1]
        path.unlink()
        assert "is gone" in explain.own_mask(output, fate)[1]
    finally:
        path.write_text(text)
