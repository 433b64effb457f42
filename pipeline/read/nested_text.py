"""JSON with an object per image: the instances of each as rows of COCO results.

An instance becomes a row by writing its image's id and size in front of its own
keys. So all that is known about rows (their types, faults, repairs) holds for
it, and the row that is rejected can be given back as an input.

Worked example, with the instances under ``annotations``::

    [{"image_id": 7, "height": 4, "width": 5, "annotations": [{"category_id": 1}]}]

becomes the row ``{"image_id":7,"height":4,"width":5,"category_id": 1}``.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import msgspec

from pipeline.read.image_table import malformed


class Nesting(NamedTuple):
    """How the images of a format hold their instances.

    Attributes
    ----------
    format : str
        Name of the format.
    list_key : str
        Key of the list of instances.
    image_key : str
        Key of the object with the image's id and size; "" where they are beside the list.
    is_single : bool
        Whether the file is one image, not a list of them.
    """

    format: str
    list_key: str
    image_key: str = ""
    is_single: bool = False


class FlatRows(NamedTuple):
    """The instances of some images as rows.

    Attributes
    ----------
    text : bytes
        The rows, with commas between them.
    spans : list of tuple
        Where each row lies in `text`.
    offsets : list of int
        Byte offset in the file at which each instance starts.
    counts : list of int
        Instances of each image.
    image_ids : list of object
        As decoded, of each image; None without one.
    """

    text: bytes
    spans: list[tuple[int, int]]
    offsets: list[int]
    counts: list[int]
    image_ids: list[Any]


def flatten(text: bytes, nesting: Nesting, uri: str, start: int) -> FlatRows:
    """Write the instances of images as rows.

    Parameters
    ----------
    text : bytes
        Images as the elements of one JSON array, brackets included.
    nesting : Nesting
        How they hold their instances.
    uri : str
        The file, for messages.
    start : int
        Byte offset of ``text[0]`` in the file.

    Raises
    ------
    InputError
        If the text is no JSON, or an image no object with such a list.
    """
    what = f"images as objects with a list under {nesting.list_key!a}"
    try:
        images: list[dict[str, msgspec.Raw]] = _IMAGES.decode(text)
        lists = [_LIST.decode(image.get(nesting.list_key, _EMPTY)) or [] for image in images]
        facts = [
            _FACTS.decode(image[nesting.image_key]) if nesting.image_key in image else image
            for image in images
        ]
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise malformed(uri, error, text, start, what) from error
    out = bytearray()
    spans: list[tuple[int, int]] = []
    offsets: list[int] = []
    place = 0
    for image_facts, instances in zip(facts, lists, strict=True):
        front = _front(image_facts)
        for instance in instances:
            data = bytes(instance)
            place = text.index(data, place)
            offsets.append(start + place)
            place += len(data)
            out += b"," if spans else b""
            begin = len(out)
            out += _with_front(front, data)
            spans.append((begin, len(out)))
    counts = [len(instances) for instances in lists]
    ids = [_decode_id(image_facts.get("image_id")) for image_facts in facts]
    return FlatRows(bytes(out), spans, offsets, counts, ids)


def _front(facts: dict[str, msgspec.Raw]) -> bytes:
    keys = [key for key in _IMAGE_KEYS if key in facts]
    return b",".join(b'"%b":%b' % (key.encode(), bytes(facts[key])) for key in keys)


def _with_front(front: bytes, data: bytes) -> bytes:
    """Return an object with keys put in front of its own; other values as they are.

    What the instance itself says of its image is left out: the image counts.
    """
    if data[:1] != b"{":
        return data
    if b'"image_id"' in data:
        data = _without_image_keys(data)
    rest = data[1:].lstrip()
    separator = b"" if rest.startswith(b"}") or not front else b","
    return b"{" + front + separator + rest


def _without_image_keys(data: bytes) -> bytes:
    try:
        own: dict[str, Any] = _FACTS.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        own = json.loads(data.decode("utf-8", "replace"))
    return msgspec.json.encode({key: own[key] for key in own if key not in _IMAGE_KEYS})


def _decode_id(value: msgspec.Raw | None) -> Any:
    if value is None:
        return None
    try:
        return msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


_IMAGE_KEYS = ("image_id", "height", "width")
_EMPTY = msgspec.Raw(b"[]")
_IMAGES = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])
_LIST = msgspec.json.Decoder(list[msgspec.Raw] | None)
_FACTS = msgspec.json.Decoder(dict[str, msgspec.Raw])
