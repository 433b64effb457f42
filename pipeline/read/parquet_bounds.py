"""How much a Parquet file decodes to, found out before it is decoded.

A few kilobytes can stand for terabytes: one long value in a dictionary that a
run-length code repeats, or pages of zeros under zstd. The footer tells the
number of values and the size of the pages; a first row tells the dictionary.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.arrow import pc
from pipeline.errors import InputError
from pipeline.read.parquet_footer import Footer, Leaf

MAX_DECODED_BYTES = 512 << 20
"""Decoded size up to which a column of a row group may be anything."""

MAX_PAGES_RATIO = 100
"""Beyond it, pages may decompress to this many times their size in the file."""

MAX_VALUES_RATIO = 16
"""Beyond it, values may decode to this many times their pages."""

_WIDTHS = {"BOOLEAN": 1, "INT32": 4, "FLOAT": 4, "INT64": 8, "DOUBLE": 8, "INT96": 12}
_WIDTHS["BYTE_ARRAY"] = 4  # of a value, one that is null too, an offset at least


def check_sizes(uri: str, footer: Footer, names: list[str]) -> None:
    """Refuse row groups whose pages or values grow too much when they are decoded.

    Parameters
    ----------
    uri : str
        The file.
    footer : Footer
        Its footer.
    names : list of str
        Top-level columns that will be read.

    Raises
    ------
    InputError
        Naming column and row group.
    """
    for group, found in enumerate(footer.row_groups):
        for leaf in found.inside(names):
            pages = leaf.page_bytes
            _check_growth(uri, group, leaf, pages, leaf.packed_bytes, MAX_PAGES_RATIO)
            width = _WIDTHS.get(leaf.physical_type)
            if width is not None:
                decoded = width * leaf.n_values
                _check_growth(uri, group, leaf, decoded, pages, MAX_VALUES_RATIO)


def check_dictionaries(
    uri: str,
    footer: Footer,
    group: int,
    names: list[str],
    reopen: Callable[[list[str]], AbstractContextManager[pq.ParquetFile]],
) -> None:
    """Refuse a row group in which a dictionary's longest value, repeated, grows too much.

    Only where the footer cannot exclude it are dictionaries read, with the
    first row; only where the longest value could be repeated too often is the
    column counted, without decoding it.

    Parameters
    ----------
    uri, footer, names
        As for `check_sizes`.
    group : int
        Row group.
    reopen : callable
        Opens the file again, with these leaf columns left dictionary-encoded.

    Raises
    ------
    InputError
        Naming column and row group.
    """
    doubtful = [
        leaf
        for leaf in footer.row_groups[group].inside(names)
        if leaf.physical_type == "BYTE_ARRAY"
        and leaf.has_dictionary
        and leaf.n_values * leaf.page_bytes > MAX_DECODED_BYTES
    ]
    if not doubtful:
        return
    paths = [leaf.path for leaf in doubtful]
    with reopen(paths) as file:
        for leaf in doubtful:
            first = next(file.iter_batches(1, [group], [leaf.path], use_threads=False))
            longest = max((_longest(part) for part in _dictionaries(first)), default=0)
            pages = leaf.page_bytes
            if longest * leaf.n_values <= max(MAX_DECODED_BYTES, MAX_VALUES_RATIO * pages):
                continue
            total = 0
            batches = file.iter_batches(65_536, [group], [leaf.path], use_threads=False)
            for batch in batches:
                total += sum(_decoded_bytes(part) for part in _dictionaries(batch))
                _check_growth(uri, group, leaf, total, pages, MAX_VALUES_RATIO)


def _check_growth(uri: str, group: int, leaf: Leaf, decoded: int, encoded: int, ratio: int) -> None:
    if decoded > max(MAX_DECODED_BYTES, ratio * encoded):
        raise InputError(
            f"{uri}: row group {group}, column {leaf.path!a}: VALUE_TOO_LARGE: expected "
            f"at most {MAX_DECODED_BYTES >> 20} MB decoded or {ratio} times its size, got "
            f"{decoded} bytes from {encoded}; this looks like a bomb: leave the file out, or write "
            "it again in smaller row groups"
        )


def _dictionaries(batch: pa.RecordBatch) -> list[pa.DictionaryArray]:
    """Return the dictionary-encoded arrays at the leaves of a batch."""
    out: list[Any] = []
    arrays: list[Any] = list(batch.columns)
    while arrays:
        array = arrays.pop()
        if pa.types.is_dictionary(array.type):
            out.append(array)
        elif pa.types.is_struct(array.type) or pa.types.is_list(array.type):
            arrays.extend(array.flatten() if pa.types.is_struct(array.type) else [array.flatten()])
    return out


def _longest(array: Any) -> int:
    return int(pc.max(pc.binary_length(array.dictionary)).as_py() or 0)


def _decoded_bytes(array: Any) -> int:
    lengths = pc.binary_length(array.dictionary).cast(pa.int64())
    return int(pc.sum(lengths.take(array.indices)).as_py() or 0)
