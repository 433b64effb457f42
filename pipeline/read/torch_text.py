"""Files written by torch.save, as JSON text: the only module here that knows torch.

Loading is restricted to plain values and tensors (``weights_only``): a file that
holds anything else is refused, and none of it is run. A small file can still
stand for much, since a value may be repeated without being written again; so
the length of the text is bounded before there is one.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Iterable
from itertools import chain
from typing import Any, NamedTuple

import msgspec

from pipeline import storage
from pipeline.errors import ConfigError, InputError, SchemaError

MAX_FILE_BYTES = 4 << 30
"""Such a file cannot be read in parts; a larger one, or one that grows to more, is refused."""

MAX_RATIO = 20
"""Text may be this many times as long as the file, beyond `FREE_BYTES`."""

FREE_BYTES = 64 << 20

_MAX_DEPTH = 200
_NUMBER_CHARS = 24
_NONFINITE = msgspec.Raw(b"1e999")
"""What a reader takes for a number that is not finite; JSON has no word for it."""


def torch_to_json(uri: str) -> bytes:
    """Return what a torch file holds as JSON.

    Parameters
    ----------
    uri : str
        The file, for example detectron2's ``instances_predictions.pth``.

    Raises
    ------
    ConfigError
        If torch is not installed.
    InputError
        If the file is damaged or too large.
    SchemaError
        If it holds objects, or values that are no JSON.
    """
    try:
        import torch
    except ImportError as error:
        raise ConfigError(
            f"{uri}: expected torch to be installed, which reads this file: "
            "pip install 'maskpress[gpu]'; or give coco_instances_results.json of the same run"
        ) from error
    data = storage.read_bytes(uri)
    _check_size(uri, data)
    try:
        value: Any = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception as error:  # whatever a damaged or refused pickle raises in torch
        reason = (str(error).splitlines() or ["no reason"])[0][:200]
        raise SchemaError(
            f"{uri}: UNSAFE_TYPE: expected a torch file of plain values, got one that is damaged "
            f"or holds objects, which may run code when they are loaded ({type(error).__name__}: "
            f"{reason}); give coco_instances_results.json of the same run"
        ) from error
    try:
        found = _measure(value, {}, 0)
        if found.n_chars > max(FREE_BYTES, MAX_RATIO * len(data)):
            raise _too_large(uri, f"{len(data)} bytes that stand for {found.n_chars} characters")
        return msgspec.json.encode(value if found.is_json else _to_json(value))
    except (TypeError, NotImplementedError, RecursionError) as error:
        raise SchemaError(
            f"{uri}: expected the predictions of detectron2's evaluators, got other values "
            f"({str(error)[:200]}); give coco_instances_results.json of the same run"
        ) from error


class _Measure(NamedTuple):
    """How long a value is as JSON, about, and whether it is written as what it is."""

    n_chars: int
    is_json: bool


def _measure(value: Any, known: dict[int, _Measure], depth: int) -> _Measure:
    """Measure a value; what is repeated in it is looked at once, and counted each time."""
    if value is None or type(value) in (bool, int):
        return _Measure(_NUMBER_CHARS, True)
    if type(value) is float:
        return _Measure(_NUMBER_CHARS, math.isfinite(value))
    if type(value) in (str, bytes):
        return _Measure(len(value) + 2, type(value) is str)
    if id(value) in known:
        return known[id(value)]
    if depth > _MAX_DEPTH:
        raise RecursionError(f"lists and dicts nested deeper than {_MAX_DEPTH}")
    if isinstance(value, dict):
        parts: Iterable[Any] = chain(value.keys(), value.values())
    elif isinstance(value, list | tuple):
        parts = value
    else:
        found = _measure_tensor(value)
        known[id(value)] = found
        return found
    n_chars, is_json = 2, True
    for part in parts:
        own = _measure(part, known, depth + 1)
        n_chars += own.n_chars + 1
        is_json &= own.is_json
    known[id(value)] = _Measure(n_chars, is_json)
    return known[id(value)]


def _measure_tensor(value: Any) -> _Measure:
    if not (hasattr(value, "numel") and hasattr(value, "tolist")) or value.is_complex():
        raise NotImplementedError(f"a value of type {type(value).__name__}")
    # A tensor may be far larger than what is stored of it.
    return _Measure(_NUMBER_CHARS * (value.numel() + 1), False)


def _to_json(value: Any) -> Any:
    """Return a copy in plain values, with numbers that are not finite as a reader sees them."""
    if type(value) is float:
        return value if math.isfinite(value) else _NONFINITE
    if isinstance(value, dict):
        return {key: _to_json(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_to_json(inner) for inner in value]
    if isinstance(value, bytes):
        return value.decode("latin-1")
    return _to_json(value.tolist()) if hasattr(value, "tolist") else value


def _check_size(uri: str, data: bytes) -> None:
    size = len(data)
    if data.startswith(b"PK"):
        try:
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                size = sum(member.file_size for member in archive.infolist())
        except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError) as error:
            raise InputError(
                f"{uri}: expected a torch file, got a damaged archive: {error}; copy it again"
            ) from error
    # torch never compresses: members that are larger than the file were made by somebody else.
    if size > min(MAX_FILE_BYTES, 2 * len(data)):
        raise _too_large(uri, f"{size} bytes in a file of {len(data)}")


def _too_large(uri: str, got: str) -> InputError:
    return InputError(
        f"{uri}: VALUE_TOO_LARGE: expected at most {MAX_FILE_BYTES >> 30} GB, and not much more "
        f"than the file's size, got {got}; give coco_instances_results.json of the same run, which "
        "is read in parts"
    )
