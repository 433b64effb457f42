"""What runs on workers of `jobs/predict_and_compact.py`: images in, INSTANCES out.

A *detector* is named by its import path, ``module:callable``. A class is called once in
each worker, with ``--detect.arguments``, and gives the callable; a function is taken as
it is. It is called with a list of images, uint8 (H, W, 3) in the order red, green,
blue, and returns as many results: dicts by the names of `pipeline.detections` (``masks``,
``scores``, ``category_ids``, ``boxes``, …; neither image_id nor size), or what a model of
detectron2 returns, whose ``Instances`` are read by their fields.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import io
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pipeline import storage
from pipeline.detections import read_detections
from pipeline.errors import CompactionError, ConfigError, InputError
from pipeline.tasks import ReadNotes, UnitContext
from pipeline.transfer import message, to_ipc
from schemas.instances import instances_schema
from schemas.rejects import rejects_schema

Detector = Callable[[Sequence[NDArray[np.uint8]]], Sequence[Any]]

FIELDS = {
    "masks": "pred_masks",
    "scores": "scores",
    "category_ids": "pred_classes",
    "boxes": "pred_boxes",
}
"""Our column -> the field of detectron2's Instances."""


@dataclass(frozen=True, kw_only=True)
class DetectConfig:
    """What finds the instances, and how images are shared out to it."""

    callable: str
    """Import path module:callable of the detector (pipeline/detector.py says how it is called)."""

    arguments: dict[str, Any] = field(default_factory=dict[str, Any])
    """Keyword arguments of a detector that is a class, as JSON or YAML."""

    batch_images: int = 8
    """Images that the detector is given at once."""

    unit_images: int = 512
    """Images of one unit of work, which becomes one file."""

    workers: int = 1
    """Actors that hold the detector."""

    gpus: float | None = None
    """GPUs of each; default all of the cluster's, shared out, and none with --device cpu."""

    def __post_init__(self) -> None:
        module, separator, name = self.callable.partition(":")
        if not (module and separator and name):
            raise ConfigError(
                f"--detect.callable: expected an import path module:callable, got {self.callable!r}"
            )
        for flag in ("batch_images", "unit_images", "workers"):
            if getattr(self, flag) < 1:
                raise ConfigError(f"--detect.{flag}: expected >= 1, got {getattr(self, flag)}")
        if self.gpus is not None and self.gpus < 0:
            raise ConfigError(f"--detect.gpus: expected >= 0, got {self.gpus}")


class ImageUnit(msgspec.Struct):
    """A unit of work: images by URI and id, in order of their ids."""

    unit: int
    uris: list[str]
    image_ids: list[int | str]


def load_detector(config: DetectConfig) -> Detector:
    """Import the detector, and construct it where it is a class.

    Raises
    ------
    ConfigError
        If there is no such callable, or it does not take the arguments.
    """
    module, _, name = config.callable.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise ConfigError(
            f"--detect.callable {config.callable}: expected something to import, got "
            f"{type(error).__name__}: {error}; modules are looked for in the present folder too"
        ) from error
    if not isinstance(found, type):
        if config.arguments:
            raise ConfigError(
                f"--detect.arguments: expected none beside the function {config.callable}; only a "
                "class is constructed with them"
            )
        if not callable(found):
            raise ConfigError(f"--detect.callable {config.callable}: expected a callable")
        function: Any = found
        return function
    constructor: Any = found
    try:
        inspect.signature(constructor).bind(**config.arguments)
    except TypeError as error:
        raise ConfigError(
            f"--detect.arguments: expected arguments of {config.callable}, got {error}"
        ) from error
    return constructor(**config.arguments)


def read_image(uri: str) -> NDArray[np.uint8]:
    """Return the pixels of an image file, uint8 (H, W, 3), upright as its EXIF says.

    Raises
    ------
    InputError
        If it is none that Pillow can decode.
    ConfigError
        If Pillow is not installed.
    """
    if importlib.util.find_spec("PIL") is None:
        raise ConfigError(
            "expected Pillow to be installed, which decodes images; pip install Pillow"
        )
    from PIL import Image, ImageOps

    data = storage.read_bytes(uri)
    try:
        with Image.open(io.BytesIO(data)) as image:
            return np.array(ImageOps.exif_transpose(image).convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{uri}: expected an image, got: {error}; mend it or leave it out"
        ) from error


class DetectUnits:
    """Find the instances of units of work; one instance lives in each actor."""

    def __init__(self, context: UnitContext, config: DetectConfig) -> None:
        self.context = context
        self.config = config
        self.detector = load_detector(config)

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        """Yield a message per unit, as `pipeline.tasks.read_units` does."""
        names = ("partition", "unit", "instances", "rejects", "notes")
        for data in table["task"].to_pylist():
            yield message([self._detect(msgspec.json.decode(data, type=ImageUnit))], names)

    def _detect(self, unit: ImageUnit) -> dict[str, object]:
        started = time.perf_counter()
        instances = [instances_schema(self.context.id_type).empty_table()]
        rejects = [rejects_schema().empty_table()]
        notes = ReadNotes({}, {}, 0.0, 0)
        step = self.config.batch_images
        for first in range(0, len(unit.uris), step):
            uris = unit.uris[first : first + step]
            batch, n_bytes = self._run(uris, unit.image_ids[first : first + step])
            found = read_detections(batch, "", self.context.config)
            for tables, table in ((instances, found.instances), (rejects, found.rejects)):
                tables.append(_with_source(table, uris, found.image_N, found.place_N))
            counts = np.bincount(found.image_N, minlength=len(uris)).tolist()
            notes.sources |= dict(zip(uris, counts, strict=True))
            notes.read_bytes += n_bytes
            for name, count in found.counters.items():
                notes.counters[name] = notes.counters.get(name, 0) + count
        notes.read_s = time.perf_counter() - started
        return {
            "partition": unit.unit,
            "unit": unit.unit,
            "instances": to_ipc(pa.concat_tables(instances)),
            "rejects": to_ipc(pa.concat_tables(rejects)),
            "notes": msgspec.json.encode(notes),
        }

    def _run(
        self, uris: Sequence[str], image_ids: Sequence[int | str]
    ) -> tuple[dict[str, Any], int]:
        """Return what the detector finds in some images, as columns, and the images' bytes."""
        images = [read_image(uri) for uri in uris]
        try:
            found = self.detector(images)
        except CompactionError:
            raise
        except Exception as error:
            raise CompactionError(
                f"{uris[0]} to {uris[-1]}: {self.config.callable} failed: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not isinstance(found, list | tuple) or len(found) != len(uris):
            got = len(found) if isinstance(found, list | tuple) else type(found).__name__
            raise InputError(
                f"{self.config.callable}: expected a list of {len(uris)} results, one for each "
                f"image, got {got}"
            )
        rows = [to_row(one, uri) for one, uri in zip(found, uris, strict=True)]
        for row, uri in zip(rows, uris, strict=True):
            if set(row) != set(rows[0]):
                raise InputError(
                    f"{uri}: expected results of the same names for all images, got "
                    f"{sorted(row)} and {sorted(rows[0])}"
                )
        batch: dict[str, Any] = {name: [row[name] for row in rows] for name in rows[0]}
        batch["image_id"] = list(image_ids)
        batch["height"] = [image.shape[0] for image in images]
        batch["width"] = [image.shape[1] for image in images]
        return batch, sum(image.nbytes for image in images)


def to_row(result: Any, uri: str) -> dict[str, Any]:
    """Return the result for one image as a dict by the names of `pipeline.detections`.

    Raises
    ------
    InputError
        If it is neither a dict with ``masks`` nor of detectron2's kind.
    """
    if isinstance(result, dict) and "instances" in result:
        result = result["instances"]
    fields_of: Any = getattr(result, "get_fields", None)
    if fields_of is not None:
        fields = fields_of()
        result = {ours: fields[theirs] for ours, theirs in FIELDS.items() if theirs in fields}
        if "boxes" in result:
            result["boxes"] = getattr(result["boxes"], "tensor", result["boxes"])
    if not isinstance(result, dict) or "masks" not in result:
        got = sorted(result) if isinstance(result, dict) else type(result).__name__
        raise InputError(
            f"{uri}: expected of the detector a dict with 'masks', or detectron2's Instances with "
            f"pred_masks, got {got}"
        )
    return {name: value for name, value in result.items() if name not in ("height", "width")}


def _with_source(
    table: pa.Table, uris: Sequence[str], image_N: NDArray[np.int64], place_N: NDArray[np.int64]
) -> pa.Table:
    """Name the image file as a row's source, and its place in the image as its row."""
    row_M = table["source_row"].to_numpy()
    dtype = table.schema.field("source").type
    sources = pa.array(uris, dtype).take(pa.array(image_N[row_M]))
    columns = {"source": sources, "source_row": pa.array(place_N[row_M])}
    for name, values in columns.items():
        place = table.schema.get_field_index(name)
        table = table.set_column(place, table.schema.field(place), values)
    return table
