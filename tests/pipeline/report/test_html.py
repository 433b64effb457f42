"""Templates are compiled once a user, and a page is made wherever that cannot be kept."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from jinja2 import Environment

from pipeline.report import page
from pipeline.report.html import FOLDER
from tests.scene import make_report, rectangles


def make_page() -> str:
    document, result = make_report(rectangles(3))
    return page.make_page(document | {"time": FIXED}, result.record.samples)


FIXED = {
    "wall_s": 1.0,
    "driver_stage_s": {"execute": 1.0},
    "worker_stage_s": {"read": 1.0},
    "masks_per_s": 1.0,
    "worker_masks_per_s": {"read": 1.0},
    "worker_input_bytes_per_s": {"read": 1.0},
    "core_hours": 1.0,
    "gpu_hours": 0.0,
    "report_share": 0.5,
    "protection_share": 0.5,
}


@pytest.fixture
def compiled(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Sources that are compiled from here on."""
    found: list[str] = []
    original = Environment.compile

    def compile_it(self: Environment, source: str, name: str, filename: str) -> object:
        found.append(name)
        return original(self, source, name, filename)

    monkeypatch.setattr(Environment, "compile", compile_it)
    return found


def test_a_template_is_compiled_once_until_it_changes(
    tmp_path: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    first = make_page()
    assert compiled == ["page.html.j2"]
    assert make_page() == first
    assert compiled == ["page.html.j2"]
    folder = tmp_path / "cache" / "maskpress" / "templates"
    assert folder.stat().st_mode & 0o077 == 0
    # The same file in the same place, with other words.
    shutil.copytree(FOLDER, tmp_path / "other")
    monkeypatch.setattr("pipeline.report.html.FOLDER", tmp_path / "other")
    make_page()
    template = tmp_path / "other" / "page.html.j2"
    template.write_text(template.read_text().replace("</html>", "<!-- changed --></html>"))
    assert "<!-- changed -->" in make_page()
    assert compiled == ["page.html.j2"] * 3


def test_a_page_is_made_where_nothing_can_be_kept(
    tmp_path: Path, compiled: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(in_the_way))
    first = make_page()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    folder = tmp_path / "maskpress" / "templates"
    folder.mkdir(parents=True)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", refuse)
    assert make_page() == first
    assert list(folder.iterdir()) == []
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setattr(Path, "home", nobody)
    assert make_page() == first
    assert len(compiled) == 3


def refuse(*values: object, **options: object) -> None:
    raise OSError("no space left on device")


def nobody() -> Path:
    raise RuntimeError("Could not determine home directory.")
