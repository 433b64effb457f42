"""Maskpress: compaction of instance-segmentation datasets.

``pipeline.load(OUT)`` iterates over the images of a published table.
``pipeline.CompactMasks`` is the stage for other pipelines, `pipeline.unnest` opens its result.
"""

from typing import Any


def __getattr__(name: str) -> Any:
    """Import what is public only when it is asked for: workers need none of it."""
    if name == "load":
        from pipeline.dataset import load

        return load
    if name in ("CompactMasks", "unnest"):
        from pipeline import compact_masks

        return getattr(compact_masks, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
