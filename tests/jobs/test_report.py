"""The page made again from the command line."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import report, storage
from tests.published import publish_run, run_name
from tests.scene import make_report, rectangles

ROOT = Path(__file__).resolve().parents[2]


def job(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "jobs" / "report.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture
def output(tmp_path: Path) -> Path:
    """Output of a run whose report was written, but not its page."""
    uri = storage.to_uri(str(tmp_path / "out"))
    publish_run(uri, 1)
    document, result = make_report(rectangles())
    report.write(uri, document | {"run_id": run_name(1)}, [result.record])
    return tmp_path / "out"


def test_page_of_the_live_run_is_made_again(output: Path) -> None:
    done = job(str(output))
    assert done.returncode == 0, done.stderr
    page = output / "reports" / run_name(1) / "report.html"
    assert done.stdout.strip() == str(page)
    assert "Where the bytes went" in page.read_text()


def test_absent_report_exits_2(output: Path) -> None:
    done = job(str(output), "--run", run_name(2))
    assert done.returncode == 2
    assert "no such report" in done.stderr


def test_figures_are_numbers_by_name(output: Path) -> None:
    folder = output / "reports" / run_name(1)
    document = json.loads((folder / "report.json").read_text())
    lines = [json.loads(line) for line in (folder / "figures.jsonl").read_text().splitlines()]
    found = {line["figure"]: line["value"] for line in lines}
    assert found["rows.kept"] == document["rows"]["kept"]
    assert found["estimate.choices.lower_threshold.merged"] >= document["estimate"]["merged"]
    assert {line["run_id"] for line in lines} == {run_name(1)}
    assert all(isinstance(line["value"], int | float) for line in lines)


def test_page_without_its_packages_is_said_and_no_failure(
    output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    for name in ("page", "html"):
        monkeypatch.delitem(sys.modules, f"pipeline.report.{name}", raising=False)
        monkeypatch.delattr(report, name, raising=False)
    assert "maskpress[report]" in report.render(storage.to_uri(str(output)), run_name(1))
