"""The part of an image that a picture shows, as data to put into the page.

Needs the packages of ``maskpress[report]``. An image that is missing, broken or other
than its masks say is a note below the picture, never a failure.
"""

from __future__ import annotations

import base64
import io
import re
import warnings
from typing import Any, NamedTuple

from pipeline import storage
from pipeline.errors import CompactionError
from pipeline.records import GroupSample
from pipeline.report import names
from pipeline.report.names import ImageFolder
from pipeline.report.outline import Window

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF")
"""What is decoded; formats that run programs of their own (EPS) are not."""

FILE_BYTES = 256 << 20
"""Largest file that is read."""

PIXELS = 120_000_000
"""Largest image that is decoded."""

SIDE = 480
"""Pixels along the longer side of what goes into the page, at most."""


class Backdrop(NamedTuple):
    """What lies behind the outlines: an image as a ``data:`` URI, or why there is none."""

    data: str
    note: str


def backdrop(folder: ImageFolder, group: GroupSample, view: Window) -> Backdrop:
    """Return the part of a group's image that a window shows.

    Parameters
    ----------
    folder : ImageFolder
        Nothing outside of it is opened.
    group : GroupSample
        Its image is looked for by `pipeline.report.names.candidates`.
    view : Window
        The part.
    """
    tried = names.candidates(group, folder.pattern)
    note = "no file name for the image"
    for name in tried:
        shown = name if len(name) < 80 else name[:77] + "..."
        reason = names.why_unsafe(name)
        if not reason:
            reason = _why_outside(folder.uri, name)
        if reason:
            note = f"the image {shown!r} was not opened: {reason}"
            continue
        try:
            uri = storage.join(folder.uri, name)
            if not storage.exists(uri):
                note = f"no image {shown!r} in the folder"
                continue
            n_bytes = storage.file_bytes(uri)
            if n_bytes > FILE_BYTES:
                return Backdrop("", f"the image {shown!r} is too large ({n_bytes:,} bytes)")
            data = storage.read_bytes(uri)
        except CompactionError as error:
            return Backdrop("", f"the image {shown!r} could not be read: {error.message}")
        return _crop(data, shown, group, view)
    if len(tried) > 1:
        note = f"no image {tried[0]!r} in the folder, nor {len(tried) - 1} other usual names"
    return Backdrop("", note)


def _why_outside(folder: str, name: str) -> str:
    """Return why what a name leads to may not be opened: outside of the folder, or no file."""
    if not storage.is_local(folder):
        return "it needs an address of its own" if re.search(r"[?#%]", name) else ""
    root = storage.local_path(folder).resolve()
    path = (root / name).resolve()
    if not path.is_relative_to(root):
        return "it leads out of the folder"
    return "it is no regular file" if path.exists() and not path.is_file() else ""


def _crop(data: bytes, name: str, group: GroupSample, view: Window) -> Backdrop:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _decode(data, name, group, view)
    except ModuleNotFoundError:
        return Backdrop(
            "", "images are shown where the packages of maskpress[report] are installed"
        )
    except Exception as error:
        # Decoders of damaged images raise whatever they like; the page does without.
        return Backdrop("", f"the image {name!r} is damaged: {type(error).__name__}: {error}")


def _decode(data: bytes, name: str, group: GroupSample, view: Window) -> Backdrop:
    from PIL import Image, ImageOps  # most pages need it not, and it takes a while to import

    opened: Any = Image.open(io.BytesIO(data), formats=FORMATS)
    width, height = opened.size
    if width * height > PIXELS:
        return Backdrop("", f"the image {name!r} is too large ({width} x {height} px)")
    wanted = (group.width, group.height)
    upright: Any = ImageOps.exif_transpose(opened)
    image = next((one for one in (upright, opened) if one.size == wanted), None)
    if image is None:
        return Backdrop(
            "", f"the image {name!r} has {width} x {height} px, its masks {wanted[0]} x {wanted[1]}"
        )
    right = min(view.x + view.columns * view.step, image.size[0])
    bottom = min(view.y + view.rows * view.step, image.size[1])
    image = image.crop((view.x, view.y, right, bottom))
    if image.mode[0] in "IF":
        image = _eight_bits(image)
    image = image.convert("RGB")
    image.thumbnail((SIDE, SIDE))
    out = io.BytesIO()
    image.save(out, "JPEG", quality=82)
    return Backdrop("data:image/jpeg;base64," + base64.b64encode(out.getvalue()).decode(), "")


def _eight_bits(image: Any) -> Any:
    """Return an image of deeper pixels with its range stretched over 8 bits."""
    low, high = image.convert("F").getextrema()
    scale = 255 / (high - low) if high > low else 0.0
    return image.convert("F").point(lambda value: value * scale - low * scale).convert("L")
