"""Which kernels group, merge and encode masks: compiled for the CPU, or torch on a device.

Both give the same rows, byte for byte; the choice is one of speed. Torch is
imported only where it is used.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pipeline.config import CompactConfig
from pipeline.errors import CompactionError, ConfigError
from pipeline.masks import contour, dense, group, group_merge
from pipeline.masks.batch import CocoStrings, MaskBatch
from pipeline.masks.contour import CrackBatch
from pipeline.masks.group import Grouping
from pipeline.masks.group_merge import Merged

INSTALL = "pip install 'maskpress[gpu]'"


class Choice(NamedTuple):
    """What a run uses, and why, in words for a person.

    Attributes
    ----------
    name : str
        ``numba`` or ``torch``.
    device : str
        ``cpu`` or ``cuda``.
    reason : str
        Half a sentence.
    """

    name: str
    device: str
    reason: str


class Kernels(NamedTuple):
    """The kernels that a step calls; signatures as in `pipeline.masks`.

    Attributes
    ----------
    name, device : str
        As in `Choice`.
    group_masks : callable
        `pipeline.masks.group.group_masks`.
    group_and_merge : callable
        `pipeline.masks.group_merge.group_and_merge`.
    from_bitmaps, from_roi : callable
        `pipeline.masks.dense.from_bitmaps` and `from_roi`.
    encode_crack : callable
        `pipeline.masks.contour.encode_crack`.
    """

    name: str
    device: str
    group_masks: Callable[..., Grouping]
    group_and_merge: Callable[..., tuple[Grouping, Merged]]
    from_bitmaps: Callable[..., MaskBatch]
    from_roi: Callable[..., MaskBatch]
    encode_crack: Callable[[MaskBatch], CrackBatch]


NUMBA = Kernels(
    "numba",
    "cpu",
    group.group_masks,
    group_merge.group_and_merge,
    dense.from_bitmaps,
    dense.from_roi,
    contour.encode_crack,
)
"""The compiled kernels; they need nothing that is not installed."""


def decide(config: CompactConfig, *, has_gpu: bool) -> Choice:
    """Decide what a run uses.

    Parameters
    ----------
    config : CompactConfig
        ``--run.backend`` and ``--device`` are read.
    has_gpu : bool
        Whether the workers have a GPU.

    Raises
    ------
    ConfigError
        If a device is asked for that is not there or that the backend cannot use,
        or torch is asked for and not installed.
    """
    backend, device = config.run.backend, config.device
    has_torch = importlib.util.find_spec("torch") is not None
    if device == "cuda" and not has_gpu:
        raise ConfigError(
            "--device cuda: expected a GPU for the workers, found none; "
            "use --device auto or cpu, or add a node with a GPU"
        )
    if (backend == "torch" or device == "cuda") and not has_torch:
        flag = "--run.backend torch" if backend == "torch" else "--device cuda"
        raise ConfigError(f"{flag}: expected torch to be installed, found none; {INSTALL}")
    if backend == "numba" or (backend == "auto" and device == "cpu"):
        return Choice("numba", "cpu", "asked for")
    if device == "cpu":
        return Choice("torch", "cpu", "asked for")
    if not has_gpu:
        reason = "no GPU is there"
        return Choice("torch" if backend == "torch" else "numba", "cpu", reason)
    if not has_torch:
        return Choice("numba", "cpu", f"a GPU is there, but torch is not installed: {INSTALL}")
    return Choice("torch", "cuda", "asked for" if device == "cuda" else "a GPU is there")


def choose(config: CompactConfig, *, has_gpu: bool) -> Kernels:
    """Return the kernels that `decide` names; imports torch where it is them.

    Parameters
    ----------
    config : CompactConfig
        ``--run.backend`` and ``--device`` are read.
    has_gpu : bool
        Whether this worker has a GPU.

    Raises
    ------
    ConfigError
        As `decide`, and if torch finds no GPU where there is one.
    """
    choice = decide(config, has_gpu=has_gpu)
    if choice.name == "numba":
        return NUMBA
    from pipeline.masks import torch_backend, torch_contour, torch_dense

    if choice.device == "cuda":
        _require_cuda()
    group_masks = _on(choice.device, torch_backend.group_masks)
    vote = _on(choice.device, torch_backend.vote)
    return Kernels(
        choice.name,
        choice.device,
        group_masks,
        functools.partial(_group_then_merge, group_masks, vote),
        _on(choice.device, torch_dense.from_bitmaps),
        _on(choice.device, torch_dense.from_roi),
        _on(choice.device, torch_contour.encode_crack),
    )


def _require_cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        why = "it finds no driver" if torch.backends.cuda.is_built() else "it is built without CUDA"
        raise ConfigError(
            f"--device cuda: expected torch to use the GPU of this worker, but torch "
            f"{torch.__version__} cannot: {why}; install a torch that can, or take --device cpu"
        )


def _on(device: str, kernel: Callable[..., Any]) -> Callable[..., Any]:
    """Return a kernel that works on a device, and says what to do where its memory is full."""
    import torch

    @functools.wraps(kernel)
    def call(*arrays: Any, **options: Any) -> Any:
        try:
            return kernel(*arrays, **options, device=device)
        except torch.OutOfMemoryError as error:
            raise CompactionError(
                f"--device {device}: expected its memory to hold a stretch of images, or the one "
                f"image that is larger, got: {str(error).splitlines()[0]} Let fewer processes "
                "share a GPU (--run.workers), or take --device cpu"
            ) from error

    return call


def _group_then_merge(
    group_masks: Callable[..., Grouping],
    vote: Callable[..., MaskBatch],
    strings: CocoStrings,
    size_hw_N2: NDArray[np.int32],
    *rows: Any,
    vote_fraction: float,
    **policy: Any,
) -> tuple[Grouping, Merged]:
    """Do as `pipeline.masks.group_merge.group_and_merge` in two steps."""
    group_merge.check_fraction(vote_fraction)
    found = group_masks(strings, size_hw_N2, *rows, **policy)
    merged = group_merge.merge_groups(strings, size_hw_N2, found.leader_N, vote_fraction, vote)
    return found, merged
