"""What will be done, decided before any mask is read: inventory, units, partitions, run_id.

A unit of work holds whole images. Where the slices of the inputs lie in disjoint
ranges of image_id, a unit is a run of slices and nothing is shuffled. Otherwise
rows meet through one shuffle on `partition`: the index of the range between
quantile bounds of image_id that a row's image falls into.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline.config import FORMAT_VERSION, KERNEL_VERSION, CompactConfig
from pipeline.errors import SchemaError
from pipeline.read.category_space import check_category_spaces
from pipeline.read.slices import FileScan, Slice, SourceContext
from pipeline.storage import InputFile

SAMPLE_FRACTION = 0.02
"""Share of the images on which estimates are made."""

SAMPLE_IMAGES = 200
"""Images on which estimates are made at least, where there are so many."""


UNIT_SLICES = 2_000
"""Slices that a unit has at most: what opening a small file costs is not in its bytes."""


class ReadUnit(msgspec.Struct, frozen=True):
    """Slices that one read task reads; in a run without a shuffle also a unit of work."""

    unit: int
    slices: list[Slice]


class SkippedFile(msgspec.Struct, frozen=True):
    """A file that could not be read and was left out, as ``--read.skip_bad_files`` asks."""

    file: InputFile
    error: str


class Plan(msgspec.Struct, frozen=True):
    """Everything that workers and the commit need to know of a run.

    Attributes
    ----------
    run_id : str
        Hash of the inventory and of all that decides the result; 16 hex digits.
    inventory : list of InputFile
        The input files.
    formats : dict of str to str
        By URI: the reader.
    contexts : dict of str to SourceContext
        By URI: what its slices need.
    id_type : str
        ``"int"`` or ``"string"``.
    extras : bytes
        Arrow IPC schema of the extra columns of the output.
    read_units : list of ReadUnit
        In order of image_id where nothing is shuffled.
    bounds : list of int or str, or None
        Partition p holds the image ids in [bounds[p-1], bounds[p]); None: no shuffle.
    n_rows : int
        Rows of all inputs.
    sample_fraction : float
        Share of the images on which estimates are made.
    skipped : list of SkippedFile
        Files that were left out; part of the run_id, not of the inventory.
    largest_unit_bytes : int
        About how many bytes of input the largest unit of work reads, decompressed; 0: not known.
    is_published : bool
        The run is live: its files are written anew as they were, or not at all.
    """

    run_id: str
    inventory: list[InputFile]
    formats: dict[str, str]
    contexts: dict[str, SourceContext]
    id_type: str
    extras: bytes
    read_units: list[ReadUnit]
    bounds: list[int | str] | None
    n_rows: int
    sample_fraction: float
    skipped: list[SkippedFile] = []
    largest_unit_bytes: int = 0
    is_published: bool = False

    @property
    def n_units(self) -> int:
        """Units of work: partitions where rows are shuffled, else read units."""
        return len(self.read_units) if self.bounds is None else len(self.bounds) + 1

    @property
    def input_bytes(self) -> int:
        """Bytes of all input files."""
        return sum(file.file_bytes for file in self.inventory)

    @property
    def read_bytes(self) -> int:
        """Bytes that reading all inputs takes, about, decompressed."""
        return sum(part.read_bytes for unit in self.read_units for part in unit.slices)


def name_run(inventory: Sequence[InputFile], config: CompactConfig) -> str:
    """Return the run_id: equal for the same files, settings, format and kernels.

    Resources, device and output are left out; so are modification times.
    """
    parts = [
        [(file.uri, file.file_bytes, file.tag) for file in inventory],
        config.decisive(),
        FORMAT_VERSION,
        KERNEL_VERSION,
    ]
    data = msgspec.json.encode(parts, order="sorted")
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def make_plan(
    inventory: Sequence[InputFile],
    scans: Sequence[FileScan],
    config: CompactConfig,
    skipped: Sequence[SkippedFile] = (),
) -> Plan:
    """Decide units of work from what the scans of the input files found.

    Parameters
    ----------
    inventory : sequence of InputFile
        The input files, sorted by URI.
    scans : sequence of FileScan
        One per file, in the same order.
    config : CompactConfig
        `run.unit_bytes` sizes the units.
    skipped : sequence of SkippedFile
        Files that are left out.

    Raises
    ------
    SchemaError
        If files disagree on the type of image_id or of an extra column, or on what their
        category ids mean.
    """
    check_category_spaces(inventory, scans)
    id_type = choose_id_type(inventory, scans, config.read.id_mode)
    slices = [part for scan in scans for part in scan.slices if part.n_rows]
    groups = _disjoint_groups(slices, config.run.unit_bytes)
    bounds = None
    if groups is None:
        total = sum(part.read_bytes for part in slices)
        bounds = quantile_bounds(scans, max(1, -(-total // config.run.unit_bytes)))
        groups = [[part] for part in slices]
    packs = _pack(groups, config.run.unit_bytes)
    everything = sorted([*inventory, *(bad.file for bad in skipped)], key=lambda file: file.uri)
    return Plan(
        run_id=name_run(everything, config),
        inventory=list(inventory),
        formats={file.uri: scan.format for file, scan in zip(inventory, scans, strict=True)},
        contexts={file.uri: scan.source for file, scan in zip(inventory, scans, strict=True)},
        id_type=id_type,
        extras=_serialize(merge_extras(inventory, scans)),
        read_units=[ReadUnit(n, pack) for n, pack in enumerate(packs)],
        bounds=bounds,
        n_rows=sum(part.n_rows for part in slices),
        sample_fraction=_sample_fraction(scans),
        skipped=list(skipped),
        largest_unit_bytes=_largest_bytes(packs, scans, bounds),
    )


def choose_id_type(inventory: Sequence[InputFile], scans: Sequence[FileScan], id_mode: str) -> str:
    """Return the type of image_id: the one that is asked for, or the one all files have."""
    if id_mode != "auto":
        return id_mode
    first: dict[str, str] = {}
    for file, scan in zip(inventory, scans, strict=True):
        if scan.id_type is not None:
            first.setdefault(scan.id_type, file.uri)
    if len(first) > 1:
        raise SchemaError(
            f"image_id: expected one type in all inputs, got integers in {first['int']} and "
            f"strings in {first['string']}; choose one with --read.id_mode int|string"
        )
    return next(iter(first), "int")


def merge_extras(inventory: Sequence[InputFile], scans: Sequence[FileScan]) -> pa.Schema:
    """Return the extra columns of all files together, sorted by name, nullable.

    Raises
    ------
    SchemaError
        If two files have an extra column of one name and two types.
    """
    fields: dict[str, tuple[pa.Field, str]] = {}
    for file, scan in zip(inventory, scans, strict=True):
        for field in parse_extras(scan.source.extras):
            known, uri = fields.setdefault(field.name, (field, file.uri))
            if known.type != field.type:
                raise SchemaError(
                    f"column {field.name!r}: expected one type in all inputs, got {known.type} "
                    f"in {uri} and {field.type} in {file.uri}; cast one of them"
                )
    return pa.schema([fields[name][0].with_nullable(True) for name in sorted(fields)])


def parse_extras(data: bytes) -> pa.Schema:
    """Return the schema that `SourceContext.extras` or `Plan.extras` holds; empty for no bytes."""
    return pa.ipc.read_schema(pa.py_buffer(data)) if data else pa.schema([])


def partition_rows(image_id: pa.ChunkedArray, bounds: list[int | str]) -> NDArray[np.int64]:
    """Return the partition of every row, int64 (N,): how many bounds are <= its image_id.

    Strings compare by their UTF-8 bytes.
    """
    if pa.types.is_integer(image_id.type):
        return np.searchsorted(np.array(bounds, np.int64), image_id.to_numpy(), side="right")
    encoded = image_id.combine_chunks().dictionary_encode()
    keys = [str(bound).encode() for bound in bounds]
    names = [text.encode() for text in encoded.dictionary.to_pylist()]
    place_D = np.array([bisect_right(keys, name) for name in names], np.int64)
    return place_D[encoded.indices.to_numpy(zero_copy_only=False)]


def quantile_bounds(scans: Sequence[FileScan], n_partitions: int) -> list[int | str]:
    """Return at most n_partitions - 1 ascending image ids that cut the rows into equal parts.

    Every file's sample weighs as much as the bytes it stands for.
    """
    pairs = _weighed_ids(scans)
    cumulative = np.cumsum([weight for _, weight in pairs])
    if not len(cumulative):
        return []
    targets = np.arange(1, n_partitions) * cumulative[-1] / n_partitions
    chosen = [pairs[place][0] for place in np.searchsorted(cumulative, targets)]
    bounds = sorted(set(chosen), key=_sort_key)
    return bounds[1:] if bounds and bounds[0] == pairs[0][0] else bounds


def _weighed_ids(scans: Sequence[FileScan]) -> list[tuple[int | str, float]]:
    """Return the sampled image ids in order, each with the bytes that it stands for."""
    pairs: list[tuple[int | str, float]] = []
    for scan in scans:
        weight = sum(part.read_bytes for part in scan.slices) / max(len(scan.image_id_sample), 1)
        pairs += [(value, weight) for value in scan.image_id_sample]
    return sorted(pairs, key=lambda pair: _sort_key(pair[0]))


def _largest_bytes(
    packs: Sequence[Sequence[Slice]], scans: Sequence[FileScan], bounds: list[int | str] | None
) -> int:
    """Return the bytes of the largest unit: of its slices, or of the samples in its range."""
    largest = max((sum(part.read_bytes for part in pack) for pack in packs), default=0)
    if bounds is None:
        return largest
    keys = [_sort_key(bound) for bound in bounds]
    weights = [0.0] * (len(bounds) + 1)
    for value, weight in _weighed_ids(scans):
        weights[bisect_right(keys, _sort_key(value))] += weight
    return max(largest, int(max(weights)))


def _disjoint_groups(slices: Sequence[Slice], unit_bytes: int) -> list[list[Slice]] | None:
    """Return slices grouped so that no image lies in two groups, or None if a group grows large.

    A slice without any usable row goes with the first group.
    """
    idle = [part for part in slices if part.min_image_id is None]
    ranged = [part for part in slices if part.min_image_id is not None]
    ranged.sort(key=lambda part: (_sort_key(part.min_image_id), part.uri, part.first_row))
    groups: list[list[Slice]] = []
    reach = None
    for part in ranged:
        if reach is None or _sort_key(part.min_image_id) > reach:
            groups.append([])
        groups[-1].append(part)
        top = _sort_key(part.max_image_id)
        reach = top if reach is None else max(reach, top)
    limit = 4 * unit_bytes
    if any(len(group) > 1 and sum(p.read_bytes for p in group) > limit for group in groups):
        return None
    if idle:
        groups = [[*idle, *groups[0]], *groups[1:]] if groups else [idle]
    return groups


def _pack(groups: Sequence[Sequence[Slice]], unit_bytes: int) -> list[list[Slice]]:
    """Return consecutive groups joined until a unit has about the bytes, or slices, it may have."""
    packs: list[list[Slice]] = []
    size = 0
    for group in groups:
        group_bytes = sum(part.read_bytes for part in group)
        is_full = not packs or len(packs[-1]) + len(group) > UNIT_SLICES
        if is_full or size + group_bytes > unit_bytes:
            packs.append([])
            size = 0
        packs[-1].extend(group)
        size += group_bytes
    return packs


def _sample_fraction(scans: Sequence[FileScan]) -> float:
    """Return the share of images for estimates: 2 %, or what 200 images are of those known."""
    n_images = sum(scan.n_images or 0 for scan in scans)
    if any(scan.n_images is None for scan in scans) or n_images == 0:
        return SAMPLE_FRACTION
    return min(1.0, max(SAMPLE_FRACTION, SAMPLE_IMAGES / n_images))


def _sort_key(value: int | str | None) -> Any:
    assert value is not None
    return value.encode() if isinstance(value, str) else value


def _serialize(schema: pa.Schema) -> bytes:
    return schema.serialize().to_pybytes() if len(schema) else b""
