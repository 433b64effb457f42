"""The parts of input files that read tasks read, and what a scan of a file found."""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import pyarrow as pa


class Slice(msgspec.Struct, frozen=True, omit_defaults=True):
    """A part of one input file that is read in one go.

    Attributes
    ----------
    uri : str
        The file.
    format : str
        The reader: a name of `pipeline.read.FORMATS`.
    first_row, n_rows : int
        Rows of the file that it holds: [first_row, first_row + n_rows).
    start, stop : int
        Where they lie: bytes of a JSON file (from the first byte of a row to
        the end of the last), row groups of a Parquet file.
    read_bytes : int
        About how many bytes reading it takes, decompressed.
    min_image_id, max_image_id : int, str or None
        Smallest and largest image_id of its usable rows; None if it has none.
    """

    uri: str
    format: str
    first_row: int
    n_rows: int
    start: int
    stop: int
    read_bytes: int
    min_image_id: int | str | None
    max_image_id: int | str | None


class SourceContext(msgspec.Struct, frozen=True, omit_defaults=True):
    """What every slice of one file needs beside its own bytes.

    Attributes
    ----------
    extras : bytes
        Arrow IPC schema message of the extra columns that are carried through; empty: none.
    ranges : dict
        Byte ranges of other parts of the file, by name (``images``, ``categories``).
    has_category : bool
        Whether any row has a category; if none has, all rows are of one class.
    compression : str
        ``"gzip"`` or ``"zstd"`` where byte ranges are of the decompressed text.
    file_bytes : int
        Size of the file.
    tag : str
        Names its content, as in the inventory.
    columns : dict of str to str
        ``--read.columns``.
    drop : tuple of str
        ``--read.drop``.
    category_map : tuple of int
        Contiguous category id -> dataset id; empty where ids stay as they are.
    """

    extras: bytes = b""
    ranges: dict[str, tuple[int, int]] = {}
    has_category: bool = True
    compression: str = ""
    file_bytes: int = 0
    tag: str = ""
    columns: dict[str, str] = {}
    drop: tuple[str, ...] = ()
    category_map: tuple[int, ...] = ()


class FileScan(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one look at a file found, before any mask is decoded.

    Attributes
    ----------
    format : str
        A name of `pipeline.read.FORMATS`.
    id_type : str or None
        ``"int"`` or ``"string"``; None where no row says.
    slices : list of Slice
        All rows of the file, in file order.
    image_id_sample : list
        Image ids of rows at even distances (at most 1,000 a file), sorted; quantiles for a shuffle.
    n_images : int or None
        Distinct image ids where the scan saw all of them.
    extras : bytes
        Arrow IPC schema message of the extra columns that are carried through; empty: none.
    context : dict
        Byte ranges that every slice needs beside its own, by name (``images``, ``categories``).
    source : SourceContext
        What `pipeline.read.read` needs beside a slice; holds `extras` and `context` again.
    counters : dict of str to int
        What the scan noticed of the whole file and is worth a number.
    category_space : str
        ``"dataset"`` or ``"contiguous"``: which ids its categories have once it is read.
    """

    format: str
    id_type: str | None
    slices: list[Slice]
    image_id_sample: list[int] | list[str]
    n_images: int | None
    extras: bytes
    context: dict[str, tuple[int, int]] = {}
    source: SourceContext = SourceContext()
    counters: dict[str, int] = {}
    category_space: str = "dataset"


class ReadResult(NamedTuple):
    """What reading one slice gave: rows that are usable and rows that are not.

    Attributes
    ----------
    instances : pa.Table
        By `schemas.instances.instances_schema`.
    rejects : pa.Table
        By `schemas.rejects.rejects_schema`, with run_id "" (the sink fills it in).
    counters : dict of str to int
        Things that are kept but worth a number (``polygon_clipped``, ``score_out_of_range``, ...).
    repairs : pa.Table
        Like `rejects`, for rows of `instances` that were repaired: what was wrong, by which
        repair, the row as it came, and the mask that it has now.
    """

    instances: pa.Table
    rejects: pa.Table
    counters: dict[str, int]
    repairs: pa.Table
