"""report.html as text and in a real browser."""

from __future__ import annotations

import http.server
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.config import DedupConfig, GateConfig
from pipeline.records import GroupSample
from pipeline.report import page
from pipeline.report.images import SIDE
from pipeline.report.names import ImageFolder
from pipeline.report.words import human_bytes
from pipeline.samples import KINDS, PER_KIND, first_samples
from tests import oracle
from tests.browser import look_at
from tests.pipeline.report.test_names import group
from tests.scene import make_report, rectangles

HOSTILE = "</script><img src=x onerror=\"console.error('run')\">"


def make(hostile: str = "", **steps: Any) -> tuple[str, dict[str, Any]]:
    """Return a page, and its document, with a text wherever a text of the input can go."""
    rows = rectangles()
    if hostile:
        rows = [replace(r, source=hostile, image_id=f"{r.image_id}{hostile}") for r in rows]
    document, result = make_report(rows, **steps)
    if hostile:
        document["rejects"] = {hostile: 1}
        document["counters"] = {hostile: 1}
        document["categories"][hostile] = next(iter(document["categories"].values()))
        document["config"]["read"]["columns"] = {hostile: hostile}
    return page.make_page(document, first_samples(result.record.samples)), document


class Text(HTMLParser):
    """Collects the words, the tags and the attributes of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str]] = []
        self._is_style = False
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._is_style = tag == "style"
        self.tags.add(tag)
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        if not self._is_style:
            self.words += data.split()

    @property
    def text(self) -> str:
        return " ".join(self.words)


def test_page_says_what_the_report_says() -> None:
    html, d = make(dedup=DedupConfig(threshold=0.6))
    text = Text(html).text
    rows, sizes = d["rows"], d["bytes"]
    for expected in (
        f"{rows['read']:,} masks in, {rows['kept']:,} kept",
        f"{rows['merged']:,} rows",
        f"{d['mean_iou']:.3f}",
        human_bytes(sizes["input_files"]),
        human_bytes(sizes["merged_masks"]),
        f"merged {d['reasons']['merged']}",
        f"{d['pairs']['candidate']:,} pairs were worth a look",
    ):
        assert expected in text
    for choice in d["estimate"]["choices"].values():
        assert f"{choice['flag']} " in text
        assert f"{choice['merged']:,} merged" in text
    for name, size in d["estimate"]["encoded_bytes"].items():
        assert name in text
        assert f"{size / d['estimate']['encoded_masks']:.1f} B per mask" in text
    for name, row in d["categories"].items():
        mean = "\N{EN DASH}" if row["mean_iou"] is None else f"{row['mean_iou']:.3f}"
        line = f"{name} {row['kept']:,} {row['merged']:,} {row['filtered']:,} {mean}"
        assert line in text


def test_every_bar_of_a_histogram_says_its_count() -> None:
    html, d = make(dedup=DedupConfig(threshold=0.6))
    titles = re.findall(r"<title>([^<]*)</title>", html)
    merged = [int(t.rsplit(" ", 1)[1]) for t in titles if re.fullmatch(r"[\d.]+ to [\d.]+: \d+", t)]
    assert merged == d["histograms"]["merged_iou"][60:]
    near = [int(t.split()[-2]) for t in titles if t.endswith(" pairs")]
    assert near == d["histograms"]["near_miss"]


def test_page_loads_and_runs_nothing() -> None:
    html, _ = make(HOSTILE)
    parsed = Text(html)
    assert parsed.tags.isdisjoint({"script", "img", "iframe", "object", "embed", "form", "base"})
    assert [n for n, _ in parsed.attributes if n.startswith("on") or n in ("src", "style")] == []
    assert {value for name, value in parsed.attributes if name == "href"} == {"data:,"}
    assert "url(" not in html
    assert "@import" not in html
    assert "default-src 'none'; style-src 'sha256-" in html
    assert len(html) < 3_000_000


def test_hostile_text_is_text() -> None:
    html, _ = make(HOSTILE)
    assert "<img" not in html
    assert Text(html).text.count(" ".join(HOSTILE.split())) >= 6


def test_broken_gate_is_on_the_page() -> None:
    html, d = make(gate=GateConfig(max_merged_fraction=0.001))
    text = Text(html).text
    assert "Gate broken, nothing was published" in text
    assert f"merged_fraction is {d['merged_fraction']:.4f}" in text


@pytest.mark.parametrize("group", ["none", "component"])
def test_other_policies_have_a_page(group: Any) -> None:
    html, _ = make(dedup=DedupConfig(group=group, threshold=0.05))
    assert "What each encoding gives" in html


def test_empty_run_has_a_page() -> None:
    document, result = make_report([])
    html = page.make_page(document, result.record.samples)
    assert "0 masks in, 0 kept" in html


@pytest.fixture
def served(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """Address of a hostile page on loopback, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.end_headers()
            self.wfile.write(make(HOSTILE)[0].encode())

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/report.html", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_browser_would_tell(tmp_path: Path) -> None:
    html = "<script>console.error('told')</script>"
    assert "told" in "".join(look_at(f"data:text/html,{html}", tmp_path / "profile").console)


def test_browser_shows_it_without_a_word_and_asks_for_nothing_else(
    served: tuple[str, list[str]], tmp_path: Path
) -> None:
    url, asked = served
    seen = look_at(url, tmp_path / "profile")
    assert seen.console == []
    assert asked == ["/report.html"]
    assert "<img" not in seen.dom
    assert "&lt;/script&gt;&lt;img" in seen.dom
    assert "Where the bytes went" in seen.dom


def test_metrics_are_on_the_page() -> None:
    document, result = make_report(rectangles())
    before = {"ap": 0.5, "ap50": 0.75, "ap75": None}
    ap = {"before": before, "after": before | {"ap": 0.4321}}
    document["metrics"] = {
        "ground_truth": "file:///truth.json",
        "images": 3,
        "rows_before": 1234,
        "rows_after": 1000,
        "segm": ap,
        "boundary": ap,
        "categories": {},
    }
    text = Text(page.make_page(document, result.record.samples)).text
    assert "Mask AP 0.5000 0.4321 \N{MINUS SIGN}0.0679" in text
    assert "1,234 valid rows that came, 1,000 that are kept" in text


def test_names_of_the_input_are_shown_as_text_and_cut(tmp_path: Path) -> None:
    document, result = make_report([replace(r, image_id="i" * 1_000_000) for r in rectangles(1)])
    names = {
        "1": HOSTILE,
        "2": "n" * 1_000_000,
        "3": "\N{HEBREW LETTER ALEF}\N{RIGHT-TO-LEFT OVERRIDE}cod.exe",
        "4": "\x1b[31mred\x07",
    }
    one = next(iter(document["categories"].values()))
    document["categories"] = {str(n): one for n in range(1, 800)}
    document["sources"] = {
        f"file:///{n}{'s' * 4000}": r for r in document["sources"].values() for n in range(200)
    }
    document["category_names"] = names
    html = page.make_page(document, first_samples(result.record.samples))
    assert len(html) < 3_000_000
    assert "\x1b" not in html
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in html
    text = Text(html).text
    assert " ".join(HOSTILE.split()) in text
    assert "\N{HEBREW LETTER ALEF}\N{REPLACEMENT CHARACTER}cod.exe" in text
    assert "774 are left out here, report.json has them" in text
    assert "175 are left out here, report.json has them" in text
    (tmp_path / "page.html").write_text(html)
    seen = look_at(f"file://{tmp_path}/page.html", tmp_path / "profile", 400)
    assert seen.console == []
    assert "&lt;/script&gt;&lt;img" in seen.dom


def test_report_of_an_older_run_has_a_page() -> None:
    document, result = make_report(rectangles(2))
    del document["category_names"]
    assert "By category" in page.make_page(document, result.record.samples)


def test_pictures_over_images_are_in_the_page(tmp_path: Path) -> None:
    document, result = make_report(rectangles(), dedup=DedupConfig(threshold=0.6))
    samples = first_samples(result.record.samples)
    folder = tmp_path / "images"
    folder.mkdir()
    shown = {sample.image_id for sample in samples}
    missing = min(shown, key=str)
    noise = np.random.default_rng(0).integers(0, 256, (30, 32, 3)).astype(np.uint8)
    for image_id in shown - {missing}:
        Image.fromarray(noise).save(folder / f"{image_id:03d}.png")
    source = ImageFolder(f"file://{folder}", "{image_id:03d}.png")
    html = page.make_page(document, samples, source)
    n_missing = sum(sample.image_id == missing for sample in samples)
    assert html.count("data:image/jpeg;base64,") == len(samples) - n_missing > 0
    assert html.count(f"no image &#39;{missing:03d}.png&#39; in the folder") == n_missing
    (tmp_path / "page.html").write_text(html)
    seen = look_at(f"file://{tmp_path}/page.html", tmp_path / "profile")
    assert seen.console == []


def test_largest_pictures_leave_the_page_small(tmp_path: Path) -> None:
    size = SIDE * 2
    noise = np.random.default_rng(0).integers(0, 256, (size, size, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "7.png")
    mask = np.zeros((size, size), bool)
    mask[::2, 5:-5] = True
    document, _ = make_report([])
    text = oracle.encode(mask).decode()
    one = group(height=size, width=size, counts=text, stored_counts=text)
    samples = [
        GroupSample(**{f: getattr(one, f) for f in one.__struct_fields__} | {"kind": kind})
        for kind in KINDS
        for _ in range(PER_KIND)
    ]
    html = page.make_page(document, samples, ImageFolder(f"file://{tmp_path}", None))
    assert html.count("data:image/jpeg;base64,") == len(KINDS) * PER_KIND
    assert len(html) < 3_000_000
