"""Images behind the pictures: the right part of the right file, or a note."""

from __future__ import annotations

import base64
import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.records import GroupSample
from pipeline.report.images import SIDE, Backdrop, backdrop
from pipeline.report.names import ImageFolder
from pipeline.report.outline import Window
from tests.pipeline.report.test_names import group

VIEW = Window(10, 20, 30, 20, 2)


def look(folder: Path, one: GroupSample, view: Window = VIEW) -> Backdrop:
    return backdrop(ImageFolder(f"file://{folder}", None), one, view)


def pixels(found: Backdrop) -> np.ndarray:
    assert found.note == ""
    data = base64.b64decode(found.data.removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image).astype(int)


def ramp(height: int = 80, width: int = 100) -> np.ndarray:
    values = np.zeros((height, width, 3), np.uint8)
    values[..., 0] = np.arange(width)[None, :] * 2
    values[..., 1] = np.arange(height)[:, None] * 3
    return values


@pytest.fixture
def one() -> GroupSample:
    return group(height=80, width=100, file_name="x.png")


def test_part_that_the_window_shows(tmp_path: Path, one: GroupSample) -> None:
    Image.fromarray(ramp()).save(tmp_path / "x.png")
    found = pixels(look(tmp_path, one))
    assert found.shape == (40, 60, 3)
    assert np.abs(found[..., :2] - ramp()[20:60, 10:70, :2]).max() < 24  # JPEG
    # A window may end in squares that reach beyond the image.
    assert pixels(look(tmp_path, one, Window(90, 0, 4, 4, 3))).shape == (12, 10, 3)


def test_large_parts_are_made_small(tmp_path: Path) -> None:
    Image.fromarray(ramp(900, 1200)).save(tmp_path / "x.png")
    large = group(height=900, width=1200, file_name="x.png")
    assert pixels(look(tmp_path, large, Window(0, 0, 134, 100, 9))).shape == (360, SIDE, 3)


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "CMYK", "I;16", "1", "LA"])
def test_every_kind_of_pixel(tmp_path: Path, one: GroupSample, mode: str) -> None:
    plain = Image.fromarray(ramp())
    image = Image.fromarray(np.zeros((80, 100), np.uint16)) if mode == "I;16" else None
    (image or plain.convert(mode)).save(tmp_path / "x.tiff")
    named = group(height=80, width=100, file_name="x.tiff")
    assert pixels(look(tmp_path, named)).shape == (40, 60, 3)


def test_turned_by_its_camera(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(ramp()).save(tmp_path / "x.jpg", exif=exif)
    upright = group(height=100, width=80, file_name="x.jpg")
    as_stored = group(height=80, width=100, file_name="x.jpg")
    assert look(tmp_path, upright).data != look(tmp_path, as_stored).data
    assert look(tmp_path, upright).note == look(tmp_path, as_stored).note == ""


def test_other_size_than_the_masks(tmp_path: Path, one: GroupSample) -> None:
    Image.fromarray(ramp(50, 60)).save(tmp_path / "x.png")
    found = look(tmp_path, one)
    assert found == Backdrop("", "the image 'x.png' has 60 x 50 px, its masks 100 x 80")


def test_missing_and_damaged_are_notes(tmp_path: Path, one: GroupSample) -> None:
    assert look(tmp_path, one).note == "no image 'x.png' in the folder"
    assert "nor 5 other usual names" in look(tmp_path, group(height=80, width=100)).note
    (tmp_path / "x.png").write_bytes(b"no image at all")
    assert "is damaged" in look(tmp_path, one).note
    Image.fromarray(ramp()).save(tmp_path / "whole.png")
    (tmp_path / "x.png").write_bytes((tmp_path / "whole.png").read_bytes()[:200])
    assert "is damaged" in look(tmp_path, one).note
    (tmp_path / "x.png").unlink()
    (tmp_path / "x.png").mkdir()
    assert "it is no regular file" in look(tmp_path, one).note


def test_formats_that_run_programs_are_refused(tmp_path: Path) -> None:
    text = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 80\n"
    (tmp_path / "x.eps").write_bytes(text)
    assert "is damaged" in look(tmp_path, group(height=80, width=100, file_name="x.eps")).note


def test_nothing_outside_of_the_folder_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    Image.fromarray(ramp()).save(tmp_path / "secret.png")
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(folder / "pipe.png")
    for name, reason in (
        ("../secret.png", "no plain path"),
        (str(tmp_path / "secret.png"), "no plain path"),
        (f"file://{tmp_path}/secret.png", "no plain path"),
        ("link.png", "leads out of the folder"),
        ("pipe.png", "no regular file"),
    ):
        found = look(folder, group(height=80, width=100, file_name=name))
        assert found.data == ""
        assert "was not opened" in found.note
        assert reason in found.note


def test_images_too_large_to_decode(tmp_path: Path, one: GroupSample) -> None:
    # A header that promises 2**30 pixels a side, and nothing behind it.
    header = b"BM" + (54).to_bytes(4, "little") + bytes(4) + (54).to_bytes(4, "little")
    header += (40).to_bytes(4, "little") + (30_000).to_bytes(4, "little") * 2
    header += (1).to_bytes(2, "little") + (24).to_bytes(2, "little") + bytes(24)
    (tmp_path / "x.png").write_bytes(header)
    note = look(tmp_path, one).note
    assert "too large" in note or "DecompressionBomb" in note
