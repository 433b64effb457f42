"""Bounds on what a file may ask for; beyond them a value is refused before it is decoded."""

from __future__ import annotations

MAX_VALUE_BYTES = 64 << 20
"""Longest row of a JSON file, or value of a Parquet file; longer: VALUE_TOO_LARGE."""
