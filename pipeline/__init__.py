"""Maskpress: compaction of instance-segmentation datasets.

``pipeline.load(OUT)`` iterates over the images of a published table.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import what is public only when it is asked for: workers need none of it."""
    if name == "load":
        from pipeline.dataset import load

        return load
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
