"""Rows of the images with the smallest hashes: the same ones whatever the files' order.

Every slice of the input is read once; what is held is the sample and one slice.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import read, storage, tasks
from pipeline.arrow import pc
from pipeline.config import CompactConfig
from pipeline.dedup import image_seeds, mix
from pipeline.errors import CompactionError, ConfigError
from pipeline.evaluate import Truth
from pipeline.order import OrderedRows
from pipeline.plan import Plan, make_plan, parse_extras
from schemas.instances import instances_schema


class Sample(NamedTuple):
    """The images that the settings are tried on.

    Attributes
    ----------
    instances : pa.Table
        Their valid rows, as they came.
    n_images : int
        Images in the sample.
    n_images_seen : int or None
        Images of the input, or of the ground truth; None where not all were told apart.
    truth : Truth or None
        The ground truth of these images alone.
    """

    instances: pa.Table
    n_images: int
    n_images_seen: int | None
    truth: Truth | None


def read_sample(config: CompactConfig, n_images: int, truth: Truth | None) -> Sample:
    """Read the rows of `n_images` images.

    Parameters
    ----------
    config : CompactConfig
        `inputs` and `read` are used.
    n_images : int
        Images to take, those with the smallest hashes of their ids.
    truth : Truth or None
        Where given, only its images are taken.

    Raises
    ------
    ConfigError
        If no valid row is left to look at.
    CompactionError
        For inputs that cannot be read.
    """
    inventory = storage.list_inputs(config.inputs)
    scans = [tasks.try_scan(file, config.read, config.run.unit_bytes) for file in inventory]
    for error in scans:
        if isinstance(error, CompactionError):
            raise error
    found = [scan for scan in scans if not isinstance(scan, CompactionError)]
    plan = make_plan(inventory, found, config)
    schema = instances_schema(plan.id_type, parse_extras(plan.extras))
    if truth is None:
        parts, n_seen = _smallest(_slices(plan, config, None), n_images)
    else:
        truth, n_seen = _of_images(truth, n_images), len(truth.image_ids)
        parts = list(_rows_of(_slices(plan, config, truth), truth))
    instances = pa.concat_tables([schema.empty_table(), *parts], promote_options="default")
    instances = instances.select(schema.names).cast(schema).combine_chunks()
    if not len(instances):
        where = f"on the images of {truth.uri}" if truth else "in the inputs"
        raise ConfigError(f"expected masks {where}, found none: nothing to tune")
    n_taken = len(truth.image_ids) if truth else pc.count_distinct(instances["image_id"]).as_py()
    return Sample(instances, n_taken, n_seen, truth)


def _slices(plan: Plan, config: CompactConfig, truth: Truth | None) -> Iterator[pa.Table]:
    """Read the slices of the input that may hold an image that is wanted."""
    for unit in plan.read_units:
        for part in unit.slices:
            low, high = part.min_image_id, part.max_image_id
            is_wanted = truth is None or any(
                type(low) is type(one) is type(high) and low <= one <= high  # pyright: ignore
                for one in truth.image_ids
            )
            if is_wanted and low is not None:
                yield read.read(part, plan.contexts[part.uri], config.read, plan.id_type).instances


def _smallest(slices: Iterator[pa.Table], n_images: int) -> tuple[list[pa.Table], int]:
    """Return the rows of the images with the smallest hashes, and how many images there were."""
    held: list[tuple[pa.Table, NDArray[np.uint64]]] = []
    hash_S = np.zeros(0, np.uint64)
    seen_S = np.zeros(0, np.uint64)
    for table in slices:
        if not len(table):
            continue
        own_U, hash_N = _hashes(table["image_id"])
        seen_S = np.union1d(seen_S, own_U)
        hash_S = np.union1d(hash_S, own_U)[:n_images]
        held.append((table, hash_N))
        held = [
            (part.filter(pa.array(part_N <= hash_S[-1])), part_N[part_N <= hash_S[-1]])
            for part, part_N in held
        ]
    return [part for part, _ in held], len(seen_S)


def _hashes(image_id: pa.ChunkedArray) -> tuple[NDArray[np.uint64], NDArray[np.uint64]]:
    """Return the hash of every distinct image_id, and of every row."""
    encoded = image_id.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    table = pa.table({"image_id": encoded.dictionary})
    hash_U = mix(image_seeds(OrderedRows(table, np.arange(len(table) + 1))).astype(np.uint64))
    return hash_U, hash_U[encoded.indices.to_numpy(zero_copy_only=False)]


def _of_images(truth: Truth, n_images: int) -> Truth:
    """Return the ground truth of `n_images` of its images."""
    ids = sorted(truth.image_ids, key=str)
    numbers = [one for one in ids if isinstance(one, int)]
    kinds = [pa.array(numbers), pa.array([one for one in ids if one not in set(numbers)])]
    by_hash: list[tuple[int, int | str]] = []
    for array in kinds:
        if len(array):
            hash_N = _hashes(pa.chunked_array([array]))[1]
            by_hash += zip(hash_N.tolist(), array.to_pylist(), strict=True)
    kept = frozenset(one for _, one in sorted(by_hash, key=lambda pair: pair[0])[:n_images])
    document = truth.document | {
        "images": [image for image in truth.document["images"] if image["id"] in kept],
        "annotations": [
            row for row in truth.document["annotations"] if row.get("image_id") in kept
        ],
    }
    return Truth(truth.uri, document, kept)


def _rows_of(slices: Iterator[pa.Table], truth: Truth) -> Iterator[pa.Table]:
    for table in slices:
        is_int = pa.types.is_integer(table.schema.field("image_id").type)
        own = [one for one in truth.image_ids if isinstance(one, int) == is_int]
        wanted = pa.array(own, table.schema.field("image_id").type)
        yield table.filter(pc.is_in(table["image_id"], wanted))
