"""Parquet that is damaged, encrypted, of types that run code, or a bomb."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet.encryption as pe
import pytest

from pipeline import storage
from pipeline.errors import InputError, SchemaError
from tests.pipeline.read.files import SQUARE, read_whole, write_file
from tests.pipeline.read.parquet_files import N, base, read_columns, write

DAMAGED = {
    "only the start": (b"PAR1", "cut off"),
    "no end": (b"PAR1" + b"x" * 100, "cut off"),
    "no footer": (b"PAR1" + b"x" * 100 + b"PAR1", "cut off"),
    "footer of zeros": (b"PAR1" + b"\0" * 20 + struct.pack("<I", 20) + b"PAR1", "damaged"),
    "encrypted": (b"PAR1" + b"x" * 50 + struct.pack("<I", 40) + b"PARE", "encrypted"),
    "encrypted from the start": (b"PARE" + b"x" * 50 + b"PARE", "encrypted"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_41_damaged_files(tmp_path: Path, name: str) -> None:
    data, message = DAMAGED[name]
    file = write_file(tmp_path, data)
    with pytest.raises(InputError, match=message) as caught:
        read_whole(file)
    assert caught.value.message.startswith(file.uri)


def test_41_encrypted_by_arrow_itself(tmp_path: Path) -> None:
    keys = {"footer": "0123456789012345", "columns": "5432109876543210"}
    for has_plain_footer in (False, True):
        file = write_encrypted(tmp_path, keys, has_plain_footer)
        with pytest.raises(InputError, match=r"encrypted"):
            read_whole(file)


def write_encrypted(
    folder: Path, keys: dict[str, str], has_plain_footer: bool
) -> storage.InputFile:
    class Client(pe.KmsClient):
        """Wraps keys by writing them down."""

        def __init__(self, config: Any) -> None:
            pe.KmsClient.__init__(self)

        def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> bytes:
            return base64.b64encode(key_bytes)

        def unwrap_key(self, wrapped_key: bytes, master_key_identifier: str) -> bytes:
            return base64.b64decode(wrapped_key)

    config = pe.EncryptionConfiguration(
        footer_key="footer",
        column_keys={"columns": ["counts"]},
        plaintext_footer=has_plain_footer,
    )
    connection = pe.KmsConnectionConfig(custom_kms_conf=keys)
    factory = pe.CryptoFactory(Client)
    options = factory.file_encryption_properties(connection, config)
    return write(folder, base(), encryption_properties=options)


def test_41_damaged_pages(tmp_path: Path) -> None:
    file = write(tmp_path, base(counts=[SQUARE * 100] * N), compression="zstd")
    path = tmp_path / "input.parquet"
    data = bytearray(path.read_bytes())
    data[4:-400] = b"\xff" * len(data[4:-400])
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"damaged|readable"):
        read_whole(file)


class Extension(pa.ExtensionType):
    """A type whose construction and values leave a trace."""

    touched = False

    def __init__(self) -> None:
        super().__init__(pa.binary(), "test.extension")

    def __arrow_ext_serialize__(self) -> bytes:
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage_type: Any, serialized: bytes) -> Extension:
        cls.touched = True
        return cls()


@pytest.mark.parametrize("is_registered", [False, True])
@pytest.mark.parametrize("is_nested", [False, True])
def test_43_extension_types_are_not_touched(
    tmp_path: Path, is_registered: bool, is_nested: bool
) -> None:
    column: Any = pa.ExtensionArray.from_storage(Extension(), pa.array([b"x"] * N))
    if is_nested:
        column = pa.StructArray.from_arrays([column], ["inner"])
    file = write(tmp_path, base(extra=column))
    if is_registered:
        pa.register_extension_type(Extension())
    try:
        Extension.touched = False
        with pytest.raises(SchemaError, match="UNSAFE_TYPE"):
            read_whole(file)
        assert not Extension.touched
    finally:
        if is_registered:
            pa.unregister_extension_type("test.extension")


def test_42_dictionary_bomb(tmp_path: Path) -> None:
    # One value of 1 MB, repeated a million times by a run-length code: 1 TB from a few kB.
    column = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(1_000_000, np.int32)), pa.array(["x" * 2**20])
    )
    n = len(column)
    plain = {name: pa.array(np.ones(n, np.int64)) for name in ("image_id", "height", "width")}
    file = write(tmp_path, {**plain, "counts": column}, compression="zstd")
    assert file.file_bytes < 1_000_000
    with pytest.raises(InputError, match=r"'counts': VALUE_TOO_LARGE.*bomb"):
        read_whole(file)
    extra = {**plain, "counts": pa.array(["5"] * n), "extra": column}
    with pytest.raises(InputError, match=r"'extra': VALUE_TOO_LARGE.*bomb"):
        read_whole(write(tmp_path, extra, compression="zstd"))


def test_42_compressed_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.read.parquet_bounds.MAX_DECODED_BYTES", 1 << 20)
    zeros = ["0" * 500_000] * N
    file = write(tmp_path, base(counts=zeros), compression="zstd", use_dictionary=False)
    with pytest.raises(InputError, match="VALUE_TOO_LARGE"):
        read_whole(file)


def test_42_long_value_is_refused_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.read.parquet_rows.MAX_VALUE_BYTES", 100)
    whole = read_columns(tmp_path, counts=[SQUARE, "0" * 200] + [SQUARE] * 4)
    assert whole.fault() == ("VALUE_TOO_LARGE", "counts")
    assert whole.rejects["payload"].to_pylist() == [None]


@pytest.mark.parametrize("is_struct", [False, True])
def test_7_masks_of_text_that_is_no_utf8(tmp_path: Path, is_struct: bool) -> None:
    wrong = pa.array([b"5\x9f2207"] * N, pa.binary())
    text: Any = pa.Array.from_buffers(pa.string(), N, wrong.buffers())
    columns: dict[str, Any] = {"counts": text}
    if is_struct:
        sizes = pa.array([[4, 5]] * N)
        masks = pa.StructArray.from_arrays([sizes, text], ["size", "counts"])
        columns = {"counts": ..., "height": ..., "width": ..., "segmentation": masks}
    rejects = read_columns(tmp_path, **columns).rejects.to_pylist()
    assert [row["code"] for row in rejects] == ["RLE_ALPHABET"] * N
    assert all(b"5\\\\x9f2207" in row["payload"] for row in rejects)
