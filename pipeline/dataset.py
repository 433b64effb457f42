"""A published table as a person's code wants it: image by image, masks as COCO strings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import publish, storage
from pipeline.arrow import pc
from pipeline.errors import InputError, MaskError
from pipeline.stored import coco_counts
from schemas.metadata import CONFIG_KEY

_BOX = "xywh"


class ImageMasks(NamedTuple):
    """The kept masks of one image.

    Attributes
    ----------
    image_id : int or str
        The image.
    rows : pa.Table
        Its rows of COMPACTED, best first; ``counts`` holds every mask, whatever its encoding.
    """

    image_id: int | str
    rows: pa.Table

    def annotations(self) -> list[dict[str, Any]]:
        """Return the rows as COCO annotations: ``bbox`` and ``area`` are of the stored mask.

        ``segmentation`` is ``{"size": [h, w], "counts": str}``; ``id`` is the
        instance_id; ``score`` is left out where it is null.
        """
        return to_annotations(self.rows)


def load(output: str, version: int | None = None) -> Iterator[ImageMasks]:
    """Iterate over the images of a published table, in order of image_id.

    Parameters
    ----------
    output : str
        What was ``--output`` of the run: a directory or URI.
    version : int, optional
        Of the table; default the newest.

    Yields
    ------
    ImageMasks
        One per image; a table without rows yields none. Memory: one row group.

    Raises
    ------
    ConfigError
        If nothing is published there.
    InputError
        If a file is damaged.
    """
    for rows in read_row_groups(output, version):
        code_N = rows["image_id"].combine_chunks().dictionary_encode().indices.to_numpy()
        starts = np.flatnonzero(np.diff(code_N, prepend=-1))
        for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
            own = rows.slice(start, stop - start)
            yield ImageMasks(own["image_id"][0].as_py(), own)


def read_row_groups(output: str, version: int | None = None) -> Iterator[pa.Table]:
    """Yield the rows of whole images, in order, with every mask in ``counts``."""
    for uri in file_uris(output, version):
        with storage.open_input(uri) as stream:
            file = pq.ParquetFile(stream)
            for number in range(file.num_row_groups):
                rows = file.read_row_group(number)
                try:
                    counts = coco_counts(rows)
                except MaskError as error:
                    raise InputError(f"{uri}: row group {number}: {error.message}") from error
                place = rows.schema.get_field_index("counts")
                yield rows.set_column(place, "counts", counts)


def file_uris(output: str, version: int | None = None) -> list[str]:
    """Return the live files of the compacted table, in order of image_id."""
    uri = storage.to_uri(output)
    actions = publish.open_tables(uri, version)["compacted"].get_add_actions(flatten=True)
    rows = sorted(pa.table(actions).to_pylist(), key=_first_image)
    return [storage.join(uri, "compacted", row["path"]) for row in rows]


def find_version(output: str, version: int | None = None) -> int:
    """Return the version of the compacted table that is meant: the newest if none is named.

    What reads a table more than once asks for this first: another run may publish meanwhile.
    """
    return publish.open_tables(storage.to_uri(output), version)["compacted"].version()


def read_columns(output: str, columns: list[str], version: int) -> Iterator[pa.Table]:
    """Yield some columns of a table, in the order of its rows; memory: some row groups of them."""
    for uri in file_uris(output, version):
        with storage.open_input(uri) as stream:
            file = pq.ParquetFile(stream)
            for number in range(file.num_row_groups):
                yield file.read_row_group(number, columns=columns)


def read_config(uri: str) -> dict[str, dict[str, Any]]:
    """Return the settings, by step, that decided the rows of a file."""
    with storage.open_input(uri) as stream:
        metadata = pq.read_schema(stream).metadata
    return msgspec.json.decode(metadata[CONFIG_KEY.encode()])


def to_annotations(rows: pa.Table) -> list[dict[str, Any]]:
    """Return rows with ``counts`` as COCO annotations; see `ImageMasks.annotations`."""
    columns = ("instance_id", "image_id", "category_id", "iscrowd", "score", "area")
    values = rows.select([*columns, *(f"bbox_{name}" for name in _BOX)]).to_pylist()
    sizes = zip(rows["height"].to_pylist(), rows["width"].to_pylist(), strict=True)
    counts = pc.cast(rows["counts"], pa.large_string()).to_pylist()
    return [
        {
            "id": row["instance_id"],
            "image_id": row["image_id"],
            "category_id": row["category_id"],
            "segmentation": {"size": list(size), "counts": text},
            "bbox": [row[f"bbox_{name}"] for name in _BOX],
            "area": row["area"],
            "iscrowd": int(row["iscrowd"]),
            **({} if row["score"] is None else {"score": row["score"]}),
        }
        for row, size, text in zip(values, sizes, counts, strict=True)
    ]


def _first_image(action: dict[str, Any]) -> Any:
    first = action["min.image_id"]
    return first.encode() if isinstance(first, str) else first
