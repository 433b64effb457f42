"""How a field says what it is: unit and meaning in its metadata."""

from __future__ import annotations

import pyarrow as pa

FORMAT_KEY = "maskpress.format"
"""Key, in table properties and Parquet footers, that marks a table as ours; holds the version."""

CONFIG_KEY = "maskpress.config"
"""Key, in Parquet footers, of the settings that decided the rows, as JSON."""

IMAGE_ID_TYPES: dict[str, pa.DataType] = {"int": pa.int64(), "string": pa.string()}
"""The two types of image_id; a table has one of them, for ever."""


def make_field(
    name: str, dtype: pa.DataType, meaning: str, *, nullable: bool = False, unit: str = ""
) -> pa.Field:
    """Return a field whose metadata holds its meaning and, where it has one, its unit."""
    metadata = {"meaning": meaning} | ({"unit": unit} if unit else {})
    return pa.field(name, dtype, nullable=nullable, metadata=metadata)
