"""Every number of the page against the queries: section by section, in the order of reading."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Any

from pipeline import report
from pipeline.records import GroupSample
from pipeline.report import page
from pipeline.report.words import DASH, MINUS, human_bytes, seconds
from tests.figure_runs import FRACTION, HW, Run, open_tables

UNCHECKED = ("Time", "Settings and versions")
"""Sections whose numbers are clocks and settings."""


class Sections(HTMLParser):
    """The words of a page below each heading; what stands before the first is ``""``."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text: dict[str, str] = {"": ""}
        self._place, self._tag = "", ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        if tag in ("h2", "head"):
            self._place = tag
            self.text[tag] = ""

    def handle_data(self, data: str) -> None:
        if self._tag == "style" or not data.strip():
            return
        if self._tag == "h2":
            name = data.strip()
            self._place = f"{name} 2" if name in self.text else name
        elif self._tag in ("h1", "p") and self._place == "head":
            self._place = ""
        self.text[self._place] = self.text.get(self._place, "") + " " + data.strip()


def numbers(text: str) -> list[str]:
    """Return the numbers of a text, with their signs, in order."""
    return re.findall(rf"[+{MINUS}±]?\d+(?:,\d{{3}})*(?:\.\d+)?", text)


class Asked:
    """The figures that queries gave, by dotted name; 0 where a query gives nothing."""

    def __init__(self, run: Run) -> None:
        self.of = run.expected

    def __call__(self, *path: str) -> Any:
        key = tuple(path) if len(path) > 1 else tuple(path[0].split("."))
        return self.of.get(key) or 0

    def names(self, *path: str) -> list[str]:
        return sorted({key[len(path)] for key in self.of if key[: len(path)] == path})


def share(part: float, whole: float) -> str:
    value = 100 * part / whole
    return f"{value:.2f}" if 0 < value < 1 else f"{value:.1f}"


def signed(value: float) -> str:
    return f"{100 * value:+.3f}".replace("-", MINUS)


def read(run: Run) -> dict[str, str]:
    document, samples = report.read(run.output, run.document["run_id"])
    return Sections(page.make_page(document, samples)).text


def expected_head(run: Run, q: Asked) -> str:
    d = run.document
    before, after = q("bytes.input_files"), q("bytes.output_files.compacted")
    gates = f"0.9 {q('merged_fraction'):.4f} 0.6 {q('mean_iou'):.4f}"
    fidelity = q("mean_fidelity")
    return (
        f"{q('rows.read'):,} {q('rows.kept'):,} {before / after:.1f} {q('files.input')} "
        f"{q('images'):,} {d['run_id']} {seconds(d['time']['wall_s'])} {gates} "
        f"{share(q('rows.merged'), q('rows.read'))} {q('rows.merged'):,} {human_bytes(after)} "
        f"{human_bytes(before)} {q('mean_iou'):.3f} 1 {fidelity:.4f}"
    )


def expected_waterfall(q: Asked) -> str:
    came = q("bytes.input_masks")
    unfiltered = came - q("bytes.filtered_masks")
    levels = [came, unfiltered, unfiltered - q("bytes.merged_masks"), q("bytes.stored_masks")]
    levels.append(q("bytes.output_files.compacted"))
    before = q("bytes.input_files")
    parts = [f"{q('files.input')} {q('row_groups.input')} {human_bytes(before)}"]
    for level in levels:
        sign = MINUS if level < before else "+"
        change = f"{sign}{human_bytes(abs(level - before))}" if level != before else "0"
        parts.append(f"{human_bytes(level)} {change}")
        before = level
    parts.append(f"{q('files.compacted')} {q('row_groups.compacted')} {human_bytes(before)}")
    return " ".join(parts)


def expected_fates(q: Asked) -> str:
    reasons = {
        "merged": ("merged", "exact_duplicate"),
        "filtered": ("min_score", "min_area", "empty"),
    }
    parts: list[str] = []
    for fate in ("kept", "merged", "filtered", "rejected"):
        below = [q("reasons", name) for name in reasons.get(fate, ())]
        if fate == "rejected":
            below = [q("rejects", name) for name in q.names("rejects")]
        parts += [f"{count:,}" for count in below if count]
        parts.append(f"{q('rows', fate):,} {share(q('rows', fate), q('rows.read'))}")
    for name in q.names("counters"):
        parts.append(str(q("counters", name)))
    return " ".join(parts)


def expected_knobs(run: Run, q: Asked) -> str:
    n_images, whole = q("estimate.sample_images"), q("estimate.sample_rows")
    parts = [f"{q('estimate.merged'):,}"]
    for name, choice in run.document["estimate"]["choices"].items():
        more = q("estimate", "choices", name, "more_rows_merged")
        merged = q("estimate", "choices", name, "merged")
        parts.append(f"{choice['flag']} {abs(more):,.0f} {merged:,}")
    return " ".join([*parts, f"{whole:,} {n_images:,} {q('images'):,}"])


def expected_encodings(run: Run, q: Asked) -> str:
    n_masks = q("estimate.encoded_masks")
    sizes = [q("estimate", "encoded_bytes", name) for name in ("crack", "polygon", "rle")]
    parts = [f"{size / n_masks:.1f}" for size in sizes]
    parts.append(f"{n_masks:,} {run.steps['encode'].fidelity}")
    for name in q.names("encodings"):
        count, size = q("encodings", name, "masks"), q("encodings", name, "bytes")
        parts.append(f"{count:,} {size / count:.1f}")
    return " ".join(parts)


def by_kept(q: Asked) -> list[str]:
    return sorted(q.names("categories"), key=lambda name: (-q("categories", name, "kept"), name))


def expected_categories(q: Asked) -> str:
    parts: list[str] = []
    for name in by_kept(q):
        kept, merged, filtered = (
            q("categories", name, fate) for fate in ("kept", "merged", "filtered")
        )
        mean = f"{q('categories', name, 'mean_iou'):.3f}" if merged else DASH
        came = q("categories", name, "input_bytes") / (kept + merged + filtered)
        parts.append(f"{name} {kept:,} {merged:,} {filtered:,} {mean} {came:.1f}")
        stored = q.names("categories", name, "masks")
        for encoding in stored:
            count = q("categories", name, "masks", encoding)
            size = q("categories", name, "stored_bytes", encoding) / count
            parts.append(f"{size:.1f} {count if len(stored) > 1 else ''}")
    return " ".join(parts)


def expected_fidelity(q: Asked) -> str:
    parts: list[str] = []
    for name in by_kept(q):
        parts.append(f"{name} {q('categories', name, 'kept'):,}")
        for key in ("mean_fidelity", "min_fidelity", "mean_boundary_iou", "min_boundary_iou"):
            has = "boundary" not in key or q("categories", name, "boundary_masks")
            parts.append(f"{q('categories', name, key):.4f}" if has else DASH)
        parts.append(signed(q("categories", name, "area_drift")))
        parts.append(f"±{100 * q('categories', name, 'max_area_drift'):.3f}")
    return " ".join(parts)


def expected_sources(q: Asked) -> str:
    fates = ("read", "kept", "merged", "filtered", "rejected")
    parts: list[str] = []
    for source in q.names("sources"):
        parts += [source, *(f"{q('sources', source, fate):,}" for fate in fates)]
    return " ".join(parts)


def counts_of(titles: str, words: str) -> list[int]:
    """Return the counts that the titles of bars tell."""
    return [int(n.replace(",", "")) for n in re.findall(rf": ([\d,]+){words}", titles)]


def test_histograms(run: Run) -> None:
    q, text = Asked(run), read(run)
    fine = run.expected["histograms", "merged_iou"]
    shown = counts_of(text["IoU of merged rows with the kept one"], "")
    first = min(fine) // 10 * 10
    assert first >= 50
    assert shown == [fine.get(n, 0) for n in range(first, 100)]
    near = counts_of(text["Near misses"], " pairs")
    assert near == [run.expected["histograms", "near_miss"].get(n, 0) for n in range(10)]
    sizes = counts_of(text["Rows per kept mask"], " kept masks")
    assert sizes == [run.expected["histograms", "group_size"].get(n, 0) for n in range(len(sizes))]
    assert sum(sizes) == q("rows.kept")
    for name, heading, mean in (
        ("fidelity", "Fidelity of what is stored", "mean_fidelity"),
        ("boundary", "Boundary IoU of what is stored", "mean_boundary_iou"),
    ):
        assert (heading in text) == (q(mean) < 1)
        if heading in text:
            fine = run.expected["histograms", name]
            low = sum(count for n, count in fine.items() if n < 90)
            expected = [low, *(fine.get(n, 0) for n in range(90, 100))]
            assert counts_of(text[heading], " masks") == expected
            assert f"{q(mean):.4f}" in text[heading]


def test_numbers_of_every_section(run: Run) -> None:
    q, text = Asked(run), read(run)
    sections = {
        "": expected_head(run, q),
        "Where the bytes went": expected_waterfall(q),
        "What became of the rows": expected_fates(q),
        "If you turn the knob": expected_knobs(run, q),
        "What each encoding gives": expected_encodings(run, q),
        "By category": expected_categories(q),
        "By input file": expected_sources(q),
    }
    if q("mean_fidelity") < 1:
        sections["Fidelity by category"] = expected_fidelity(q)
    for heading, expected in sections.items():
        assert numbers(text[heading]) == numbers(expected), heading
    charts = {name for name in text if "IoU" in name or "idelity" in name or "misses" in name}
    pictures = {name for name in text if "roups" in name or "Worst" in name}
    known = {*sections, *charts, *pictures, *UNCHECKED, "Rows per kept mask", "head", "h2"}
    assert set(text) <= known, "a section without a check"


def test_groups_are_those_of_the_tables(run: Run) -> None:
    tables = open_tables(run.output)
    kept = {row["instance_id"]: row for row in tables["compacted"].to_pylist()}
    lineage = {(row["source"], row["source_row"]): row for row in tables["lineage"].to_pylist()}
    _, samples = report.read(run.output, run.document["run_id"])
    assert {"largest", "least_certain", "near_miss"} <= {one.kind for one in samples}
    for one in samples:
        row = kept[one.instance_id]
        for name in ("image_id", "category_id", "score", "source", "source_row", "fidelity"):
            assert getattr(one, name) == row[name]
        assert (one.height, one.width, one.n_members) == (*HW, row["n_merged"])
        if one.kind == "near_miss":
            continue
        own = [lineage[member.source, member.source_row] for member in one.members]
        assert [(r["kept_instance_id"], r["iou"], r["score"]) for r in own] == [
            (one.instance_id, member.iou, member.score) for member in one.members
        ]
    ranked = [one for one in samples if one.kind == "largest"]
    by_size = sorted(kept.values(), key=lambda row: (-row["n_merged"], row["instance_id"]))
    assert [one.instance_id for one in ranked] == [row["instance_id"] for row in by_size[:3]]


def test_numbers_of_pictures_are_those_of_their_groups(run: Run) -> None:
    text = read(run)
    _, samples = report.read(run.output, run.document["run_id"])
    for heading, kind in (
        ("Largest groups", "largest"),
        ("Least certain groups", "least_certain"),
        ("Near misses 2", "near_miss"),
        ("Worst fidelity", "worst_fidelity"),
        ("Worst boundaries", "worst_boundary"),
    ):
        groups = [one for one in samples if one.kind == kind]
        assert (heading in text) == bool(groups)
        if groups:
            expected = " ".join(picture_text(one) for one in groups)
            assert numbers(text[heading]) == numbers(expected), heading


def picture_text(one: GroupSample) -> str:
    title = {
        "largest": f"{one.n_members:,}",
        "worst_fidelity": f"{one.fidelity:.4f}",
        "worst_boundary": f"{one.boundary_iou or 0:.4f}",
    }.get(one.kind, f"{one.overlap or 0:.4f}")
    parts = [f"{one.image_id} {title} {one.source_row} {HW[0]} {HW[1]}"]
    if one.fidelity < 1:
        parts.append(f"{one.fidelity:.4f} {signed(one.drift)}")
        if one.boundary_iou is not None:
            parts.append(f"{one.boundary_iou:.4f}")
    parts.append(f"{one.score:.3f} {one.category_id}")
    parts += [f"{m.source_row} {m.iou:.3f} {m.score:.3f}" for m in one.members]
    if one.n_members > len(one.members) and one.kind != "near_miss":
        parts.append(str(one.n_members - len(one.members)))
    return " ".join(parts)


def test_sample_is_named_wherever_it_counts(run: Run) -> None:
    text = read(run)
    q = Asked(run)
    named = f"an estimate, from {q('estimate.sample_images')} of {q('images')} images"
    assert FRACTION < 1
    for heading in ("If you turn the knob", "Near misses"):
        assert named in text[heading]
    assert "an estimate" in text["What each encoding gives"]
