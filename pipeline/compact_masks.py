"""The stage for other people's pipelines: a detector's rows in, compacted images out.

It stands behind a detector in Ray Data, in one process with it or in actors of its own,
and knows nothing of Ray::

    ds.map_batches(pipeline.CompactMasks({"encode": {"encoding": "crack"}}), batch_size=16)

    ds.map_batches(
        pipeline.CompactMasks,
        fn_constructor_kwargs={"config": {"dedup": {"threshold": 0.9}}},
        concurrency=2,
        num_gpus=0.5,
    )

What rows it takes is said in `pipeline.detections`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
from collections.abc import Mapping
from typing import Any, Literal, get_args, get_origin, get_type_hints

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import backend
from pipeline.backend import Kernels
from pipeline.columns import from_ragged, one_chunk, rejected_rows
from pipeline.config import FORMAT_VERSION, KERNEL_VERSION, CompactConfig
from pipeline.detections import Detected, read_detections
from pipeline.errors import ConfigError, StorageError
from pipeline.records import SourceCounts, UnitRecord
from pipeline.unit import UnitResult, compact_unit

TABLES = ("compacted", "lineage", "rejects")
"""The columns of the result that hold rows, each by the schema of that name in `schemas`."""

STEPS = ("read", "clean", "filter", "dedup", "encode", "run", "device")


class CompactMasks:
    """Deduplicate and encode the masks of the images of a batch, as the main job does.

    Parameters
    ----------
    config : CompactConfig or mapping, optional
        Settings by step as in the job's YAML: ``{"dedup": {"threshold": 0.9}}``, of the steps
        read, clean, filter, dedup and encode, and ``run.backend`` and ``device``. Default:
        the job's.
    source : str
        What ``source`` says in the rows of the result.

    Raises
    ------
    ConfigError
        For settings that are none, or that make no sense for rows in memory.
    """

    def __init__(
        self,
        config: CompactConfig | Mapping[str, Any] | None = None,
        *,
        source: str = "detections",
    ) -> None:
        self.config = _to_config(config)
        self.source = source
        if self.config.dedup.across and self.config.dedup.source_column is None:
            raise ConfigError(
                "--dedup.across: expected --dedup.source_column beside it, since all rows of a "
                "detector are of one source; name the column that tells the sources apart"
            )
        backend.decide(self.config, has_gpu=self.config.device == "cuda" or _has_gpu(self.config))
        self._kernels: Kernels | None = None
        self.__name__ = type(self).__name__  # Ray Data names its stages by their functions.

    def __call__(self, batch: Mapping[str, Any]) -> pa.Table:
        """Compact a batch of whole images.

        Parameters
        ----------
        batch : mapping of str to array or list
            Rows of a detector, see `pipeline.detections`. All instances of an image must be
            in one batch: always so with a row per image; with a row per instance after
            ``ds.groupby("image_id").map_groups(...)``.

        Returns
        -------
        pa.Table
            A row per image, in order of appearance: ``image_id``; how many rows were
            ``n_read``, ``n_kept``, ``n_merged``, ``n_filtered`` and ``n_rejected``; and the
            lists ``compacted``, ``lineage`` and ``rejects``, whose entries are rows by
            `schemas`. ``source_row`` is an instance's place in its image.

        Raises
        ------
        SchemaError, InputError
            As `pipeline.detections.read_detections`.
        ConfigError
            For ``device`` cuda where this process sees no GPU.
        """
        if self._kernels is None:
            self._kernels = backend.choose(self.config, has_gpu=_has_gpu(self.config))
        detected = read_detections(batch, self.source, self.config, self._kernels)
        record = UnitRecord(0, name_settings(self.config))
        record.sources[self.source] = SourceCounts(read=len(detected.image_N))
        result = compact_unit(
            detected.instances,
            detected.rejects,
            record,
            self.config,
            0.0,
            lambda _, rows: [detected.row_bytes(row) for row in rows],
            self._kernels,
        )
        return _to_images(detected, result)

    def __repr__(self) -> str:
        return f"CompactMasks(source={self.source!r})"


def unnest(images: Any, name: str = "compacted") -> pa.Table:
    """Return the rows of one of the lists of a result of `CompactMasks` as a table.

    Parameters
    ----------
    images : pa.Table
        What `CompactMasks` gave, also after it went through Ray
        (``map_batches(pipeline.unnest, batch_format="pyarrow")``).
    name : str
        ``compacted``, ``lineage`` or ``rejects``.

    Raises
    ------
    ConfigError
        For another name, or a table without that column.
    """
    if name not in TABLES or not isinstance(images, pa.Table) or name not in images.column_names:
        got = images.column_names if isinstance(images, pa.Table) else type(images).__name__
        raise ConfigError(
            f"expected a table with the column {name!a}, one of {', '.join(TABLES)} "
            f"(batch_format='pyarrow'), got {got}"
        )
    column: Any = one_chunk(images[name])
    return pa.Table.from_struct_array(column.flatten())


def name_settings(config: CompactConfig) -> str:
    """Return what ``run_id`` says: equal for the same settings, format and kernels."""
    data = msgspec.json.encode([config.decisive(), FORMAT_VERSION, KERNEL_VERSION], order="sorted")
    return hashlib.blake2b(data, digest_size=8).hexdigest()


def _to_config(config: CompactConfig | Mapping[str, Any] | None) -> CompactConfig:
    """Return the job's configuration; inputs and output are never looked at."""
    if isinstance(config, CompactConfig):
        return config
    if not isinstance(config, Mapping | None):  # pyright: ignore
        raise ConfigError(f"expected settings as a mapping or CompactConfig, got {config!r}")
    given = dict(config or {})
    unknown = sorted(set(given) - set(STEPS))
    if unknown:
        raise ConfigError(f"expected settings of {', '.join(STEPS)}, got {unknown}")
    types = {field.name: field.default_factory for field in dataclasses.fields(CompactConfig)}
    for step, values in given.items():
        if step == "device" or not isinstance(values, Mapping):
            continue
        make: Any = types[step]
        known = [field.name for field in dataclasses.fields(make)]
        wrong = sorted(set(values) - set(known))
        if wrong:
            raise ConfigError(f"{step}: expected settings among {', '.join(known)}, got {wrong}")
        given[step] = make(**values)
    made = CompactConfig(inputs=("detections",), output="none", **given)
    for step in STEPS:
        _require_choices(step, getattr(made, step))
    _require_choices("", made)
    return made


def _require_choices(step: str, settings: Any) -> None:
    """Refuse a word that is none of a setting's choices; on a command line the parser does."""
    if not dataclasses.is_dataclass(settings):
        return
    for name, hint in get_type_hints(type(settings)).items():
        value, choices = getattr(settings, name), get_args(hint)
        if get_origin(hint) is Literal and value not in choices:
            flag = ".".join(filter(None, (step, name)))
            raise ConfigError(f"--{flag}: expected one of {', '.join(choices)}, got {value!r}")


def _has_gpu(config: CompactConfig) -> bool:
    """Return whether this process may use a GPU; torch is imported only where it might be used."""
    if config.run.backend == "numba" or config.device == "cpu":
        return False
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


def _to_images(detected: Detected, result: UnitResult) -> pa.Table:
    """Return a row per image from the tables of a unit whose source rows are places."""
    n_images = len(detected.image_id)
    tables = {"compacted": result.compacted, "lineage": result.lineage, "rejects": result.rejects}
    columns: dict[str, Any] = {"image_id": detected.image_id}
    counts = {"n_read": np.bincount(detected.image_N, minlength=n_images)}
    counts |= _fates(detected, tables)
    fates = sum(counts[f"n_{fate}"] for fate in ("kept", "merged", "filtered", "rejected"))
    if not np.array_equal(counts["n_read"], fates):
        raise StorageError(f"expected every row to be kept, merged, filtered or rejected: {counts}")
    columns |= {name: pa.array(values.astype(np.int64)) for name, values in counts.items()}
    for name, table in tables.items():
        columns[name] = _nested(table, detected, n_images)
    return pa.table(columns)


def _fates(detected: Detected, tables: dict[str, pa.Table]) -> dict[str, NDArray[np.int64]]:
    """Count by image what became of its rows."""
    n_images = len(detected.image_id)
    images = {name: _images(table, detected) for name, table in tables.items()}
    is_merged_M = tables["lineage"]["kept_instance_id"].is_valid().to_numpy()
    parts = {
        "n_kept": images["compacted"],
        "n_merged": images["lineage"][is_merged_M],
        "n_filtered": images["lineage"][~is_merged_M],
        "n_rejected": _images(rejected_rows(tables["rejects"]), detected),
    }
    return {name: np.bincount(own, minlength=n_images) for name, own in parts.items()}


def _images(table: pa.Table, detected: Detected) -> NDArray[np.int64]:
    return detected.image_N[table["source_row"].to_numpy()]


def _nested(table: pa.Table, detected: Detected, n_images: int) -> pa.Array:
    """Return the rows of a table as one list per image, with places in the image for rows."""
    image_M = _images(table, detected)
    order_M = np.argsort(image_M, kind="stable")
    table = table.take(pa.array(order_M)).combine_chunks()
    for name in ("source_row", "linked_source_row"):
        place = table.schema.get_field_index(name)
        if place >= 0:
            table = table.set_column(
                place, table.schema.field(place), _places(table[name], detected.place_N)
            )
    offsets_G1 = np.concatenate([[0], np.cumsum(np.bincount(image_M, minlength=n_images))])
    structs: Any = table.replace_schema_metadata(None).to_struct_array()
    return from_ragged(one_chunk(structs), offsets_G1)


def _places(rows: Any, place_N: NDArray[np.int64]) -> pa.Array:
    values: Any = one_chunk(rows)
    is_null_M = ~values.is_valid().to_numpy(zero_copy_only=False)
    row_M = values.fill_null(0).to_numpy()
    found_M = place_N[row_M] if len(place_N) else row_M
    return pa.array(found_M, mask=is_null_M)
