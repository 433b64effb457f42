"""The images and categories that an annotation file lists: sizes by id, known ids."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.errors import InputError
from pipeline.read.image_ids import INT64_MAX, INT64_MIN, convert_id
from pipeline.read.text import TextFile, read_range

_BYTE = re.compile(r"\(byte (\d+)\)")


class _Image(msgspec.Struct, gc=False):
    id: Any
    height: Any = None
    width: Any = None


class _Category(msgspec.Struct, gc=False):
    id: Any


class ImageTable(NamedTuple):
    """G images, sorted by id.

    Attributes
    ----------
    ids : pa.Array
        int64 or large_string, ascending, distinct.
    size_hw_G2 : int64 (G, 2)
        Height and width, pixels; -1, -1 where the file states none.
    """

    ids: pa.Array
    size_hw_G2: NDArray[np.int64]

    def sizes_of(self, image_id: pa.Array) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Return the size of each row's image, int64 (N, 2), and which are listed, bool (N,)."""
        if len(self.ids) == 0:
            return np.full((len(image_id), 2), -1, np.int64), np.zeros(len(image_id), np.bool_)
        if pa.types.is_integer(image_id.type):
            wanted_N, ids_G = image_id.to_numpy(), self.ids.to_numpy()
            place_N = np.minimum(np.searchsorted(ids_G, wanted_N), len(ids_G) - 1)
            is_known_N = ids_G[place_N] == wanted_N
        else:
            place_of = {text: place for place, text in enumerate(self.ids.to_pylist())}
            found = [place_of.get(text, -1) for text in image_id.to_pylist()]
            place_N = np.array(found, np.int64)
            is_known_N = place_N >= 0
        sizes_N2 = np.where(is_known_N[:, None], self.size_hw_G2[place_N], -1)
        return sizes_N2, is_known_N


def read_image_table(
    file: TextFile, where: tuple[int, int], id_type: str, id_mode: str
) -> ImageTable:
    """Read the ``images`` of an annotation file.

    Parameters
    ----------
    file : TextFile
        The file.
    where : tuple of int
        Byte range of the array.
    id_type, id_mode : str
        As for the rows.

    Raises
    ------
    InputError
        For JSON that is none, and for an id that comes twice with two sizes.
    """
    images: list[_Image] = _decode(file, where, list[_Image], "images")
    size_of: dict[int | str, tuple[int, int]] = {}
    for image in images:
        image_id = convert_id(image.id, id_type, id_mode)
        if image_id is None:
            continue
        size = _read_size(image)
        known = size_of.setdefault(image_id, size)
        if known != size:
            raise InputError(
                f"{file.uri}: images: expected one size for image {image_id!r}, got "
                f"{known[0]}x{known[1]} and {size[0]}x{size[1]} (height x width); keep one of the "
                "two entries"
            )
    ordered: Any = sorted(size_of)
    sizes = np.array([size_of[image_id] for image_id in ordered], np.int64).reshape(-1, 2)
    dtype = pa.int64() if id_type == "int" else pa.large_string()
    return ImageTable(pa.array(ordered, dtype), sizes)


def read_category_ids(file: TextFile, where: tuple[int, int]) -> NDArray[np.int64] | None:
    """Return the ids of the ``categories`` of an annotation file, sorted; None for none at all.

    Raises
    ------
    InputError
        For JSON that is none.
    """
    listed: list[_Category] = _decode(file, where, list[_Category], "categories")
    ids = {category.id for category in listed if type(category.id) is int}
    usable = [category_id for category_id in ids if INT64_MIN <= category_id <= INT64_MAX]
    return np.array(sorted(usable), np.int64) if listed else None


def malformed(uri: str, error: Exception, data: bytes, start: int, what: str) -> InputError:
    """Return the error for text of a file that is no JSON, or not of the expected shape.

    Parameters
    ----------
    error : Exception
        From msgspec, about `data`.
    data : bytes
        What was decoded.
    start : int
        Byte offset of ``data[0]`` in the file.
    what : str
        What was expected there.
    """
    if isinstance(error, msgspec.ValidationError):
        return InputError(f"{uri}: byte {start}: expected {what}, got another shape: {error}")
    found = _BYTE.search(str(error))
    place = int(found[1]) if found else len(data)
    excerpt = ascii(data[place : place + 24].decode("utf-8", "replace"))
    reason = _BYTE.sub("", str(error)).strip().rstrip(".")
    return InputError(
        f"{uri}: byte {start + place}: expected {what}, got {excerpt} ({reason}); the file is "
        "damaged: copy or write it again"
    )


def _decode(file: TextFile, where: tuple[int, int], kind: Any, what: str) -> Any:
    data = read_range(file, *where)
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise malformed(
            file.uri, error, data, where[0], f"'{what}' as a list of objects"
        ) from error


def _read_size(image: _Image) -> tuple[int, int]:
    sides: list[Any] = [
        int(side) if isinstance(side, float) and side.is_integer() else side
        for side in (image.height, image.width)
    ]
    for side in sides:
        if type(side) is not int or not INT64_MIN <= side <= INT64_MAX:
            return -1, -1
    return sides[0], sides[1]
