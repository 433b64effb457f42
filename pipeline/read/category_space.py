"""Whether the category ids of a file are its dataset's own, or detectron2's contiguous ones.

detectron2 numbers the categories of a dataset anew while it trains, from 0, in
the order of their ids. Its results JSON has the dataset's ids again; its
``.pth`` and dataset dicts have the contiguous ones. The same number means
different things in the two, so they never meet unless one is mapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatch
from typing import Any

import msgspec

from pipeline import storage
from pipeline.config import ReadConfig
from pipeline.errors import ConfigError, SchemaError
from pipeline.read.slices import FileScan
from pipeline.storage import InputFile

CONTIGUOUS_FORMATS = ("detectron2_predictions", "detectron2_dicts")


class _Category(msgspec.Struct):
    id: int


class _Dataset(msgspec.Struct):
    categories: list[_Category] | None = None
    thing_dataset_id_to_contiguous_id: dict[str, int] | None = None


def resolve_category_space(
    uri: str, format: str, config: ReadConfig
) -> tuple[str, tuple[int, ...]]:
    """Return which ids a file has once it is read, and the map to get there.

    Parameters
    ----------
    uri, format : str
        The file.
    config : ReadConfig
        ``--read.category_space``.

    Returns
    -------
    space : str
        ``"dataset"`` or ``"contiguous"``.
    category_map : tuple of int
        Contiguous id -> dataset id; empty where ids stay as they are.

    Raises
    ------
    ConfigError
        If the file that is to map them cannot be read so.
    """
    stated = [value for key, value in config.category_space.items() if _matches(uri, key)]
    if not stated:
        return ("contiguous" if format in CONTIGUOUS_FORMATS else "dataset"), ()
    if stated[0] in ("dataset", "contiguous"):
        return stated[0], ()
    return "dataset", _read_map(storage.to_uri(stated[0]))


def check_category_spaces(inventory: Sequence[InputFile], scans: Sequence[FileScan]) -> None:
    """Refuse inputs whose category ids mean different things.

    Raises
    ------
    SchemaError
        Naming a file of each kind.
    """
    first: dict[str, str] = {}
    for file, scan in zip(inventory, scans, strict=True):
        if scan.source.has_category and scan.slices:
            first.setdefault(scan.category_space, file.uri)
    if len(first) > 1:
        raise SchemaError(
            f"expected category ids of one kind in all inputs, got detectron2's contiguous ids in "
            f"{first['contiguous']} and dataset ids in {first['dataset']}; map them with "
            '--read.category_space, for example {"*.pth": "instances_val2017.json"}, or say of '
            'each what it has: {"*.pth": "contiguous", "*.json": "contiguous"}'
        )


def _matches(uri: str, pattern: str) -> bool:
    return fnmatch(uri, pattern) or fnmatch(uri.rsplit("/", 1)[-1], pattern)


def _read_map(uri: str) -> tuple[int, ...]:
    hint = (
        "give the dataset's annotation JSON, or metadata with thing_dataset_id_to_contiguous_id "
        '(a file of its own: {"thing_dataset_id_to_contiguous_id": {"1": 0, ...}})'
    )
    try:
        found: Any = msgspec.json.decode(storage.read_bytes(uri), type=_Dataset)
        pairs = found.thing_dataset_id_to_contiguous_id
        ids = [category.id for category in found.categories or []]
        if pairs is not None:
            place_of = {place: int(dataset_id) for dataset_id, place in pairs.items()}
            ids = [place_of[place] for place in range(len(place_of))]
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError, KeyError) as error:
        raise ConfigError(
            f"--read.category_space: {uri}: expected categories, got: {error}; {hint}"
        ) from error
    if not ids:
        raise ConfigError(f"--read.category_space: {uri}: expected categories, got none; {hint}")
    return tuple(ids if pairs is not None else sorted(ids))
