"""The devices that tests of torch run on, and what they ask of one."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from functools import partial
from types import ModuleType, SimpleNamespace
from typing import Any, cast

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pipeline import backend
from pipeline.config import CompactConfig, RunConfig
from pipeline.masks import (
    contour,
    dense,
    group,
    group_merge,
    merge,
    rle,
    torch_backend,
    torch_dense,
)

torch.set_num_threads(1)  # more of them would wait for each other on the cores of other tests

CUDA = (
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
)
STAND_IN = (
    pytest.mark.stand_in,
    pytest.mark.long,  # `test_torch_stand_in.py` has what `make test` runs on it
    pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real CUDA device"),
)
DEVICES = [
    "cpu",
    pytest.param("cuda", marks=STAND_IN, id="stand-in"),
    pytest.param("cuda", marks=CUDA),
]


class Calls(TorchDispatchMode):
    """Count what is asked of the device, and how many bytes of its memory that takes at once.

    What a call itself needs inside is not seen. Tensors that were there before are not counted.
    """

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch's compiler, which is not used, would be imported: seconds

    def __init__(self) -> None:
        super().__init__()
        self.n_calls = 0
        self.peak_bytes = 0
        self._live_bytes = 0
        self._users: dict[int, int] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.n_calls += 1
        given = [t.untyped_storage()._cdata for t in tree_leaves((args, kwargs)) if _is_tensor(t)]
        result = func(*args, **(kwargs or {}))
        for tensor in tree_leaves(result):
            if _is_tensor(tensor):
                self._watch(tensor, given)
        return result

    def _watch(self, tensor: torch.Tensor, given: list[int]) -> None:
        storage = tensor.untyped_storage()
        key, n_bytes = storage._cdata, storage.nbytes()
        if key not in self._users:
            if key in given:
                return
            self._users[key] = 0
            self._live_bytes += n_bytes
            self.peak_bytes = max(self.peak_bytes, self._live_bytes)
        self._users[key] += 1
        weakref.finalize(tensor, self._drop, key, n_bytes)

    def _drop(self, key: int, n_bytes: int) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key]
            self._live_bytes -= n_bytes


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


BACKENDS = [
    "compiled",
    "torch on cpu",
    pytest.param("torch on cuda", marks=STAND_IN, id="torch on the stand-in"),
    pytest.param("torch on cuda", marks=CUDA),
]

KERNEL_MODULES = (contour, dense, group, group_merge, merge, rle)


def on_torch(device: str) -> dict[int, Callable[..., Any]]:
    """Return what does the same on a device as each compiled kernel, by the kernel's `id`."""
    kernels = backend.choose(
        CompactConfig(
            inputs=("x",), output="y", run=RunConfig(backend="torch"), device=cast(Any, device)
        ),
        has_gpu=device == "cuda",
    )
    return {
        id(group.group_masks): kernels.group_masks,
        id(group_merge.group_and_merge): kernels.group_and_merge,
        id(contour.encode_crack): kernels.encode_crack,
        id(dense.from_bitmaps): kernels.from_bitmaps,
        id(dense.from_roi): kernels.from_roi,
        id(dense.from_packed): partial(torch_dense.from_packed, device=device),
        id(merge.union): partial(torch_backend.union, device=device),
        id(merge.vote): partial(torch_backend.vote, device=device),
        id(rle.to_coco): partial(torch_backend.to_coco, device=device),
        id(rle.from_coco): partial(torch_backend.from_coco, device=device),
    }


def put_in_place(patch: pytest.MonkeyPatch, module: ModuleType, device: str) -> None:
    """Let a test module find kernels of a device under the names of the compiled ones.

    The kernels themselves keep calling each other: only the module's own names change.
    """
    instead = on_torch(device)
    for name, value in list(vars(module).items()):
        if id(value) in instead:
            patch.setattr(module, name, instead[id(value)])
        elif isinstance(value, ModuleType) and value in KERNEL_MODULES:
            own = {key: instead.get(id(one), one) for key, one in vars(value).items()}
            patch.setattr(module, name, SimpleNamespace(**own))
