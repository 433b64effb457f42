"""Files written by torch.save, as JSON text: the only module here that knows torch.

Loading is restricted to plain values and tensors (``weights_only``): a file that
holds anything else is refused, and none of it is run.
"""

from __future__ import annotations

import io
import zipfile
from typing import Any

import msgspec

from pipeline import storage
from pipeline.errors import ConfigError, InputError, SchemaError

MAX_FILE_BYTES = 4 << 30
"""Such a file cannot be read in parts; a larger one, or one that grows to more, is refused."""


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
        reason = str(error).splitlines()[0][:200]
        raise SchemaError(
            f"{uri}: UNSAFE_TYPE: expected a torch file of plain values, got one that is damaged "
            f"or holds objects, which may run code when they are loaded ({type(error).__name__}: "
            f"{reason}); give coco_instances_results.json of the same run"
        ) from error
    try:
        return msgspec.json.encode(value, enc_hook=_encode)
    except (TypeError, NotImplementedError, RecursionError) as error:
        raise SchemaError(
            f"{uri}: expected the predictions of detectron2's evaluators, got other values: {error}"
        ) from error


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
    if size > MAX_FILE_BYTES:
        raise InputError(
            f"{uri}: VALUE_TOO_LARGE: expected at most {MAX_FILE_BYTES >> 30} GB, got {size} "
            "bytes; give coco_instances_results.json of the same run, which is read in parts"
        )


def _encode(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if hasattr(value, "tolist"):
        return value.tolist()
    raise NotImplementedError(f"a value of type {type(value).__name__}")
