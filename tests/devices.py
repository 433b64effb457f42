"""The devices that tests of torch run on, and what they ask of one."""

from __future__ import annotations

import weakref
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

torch.set_num_threads(1)  # more of them would wait for each other on the cores of other tests

CUDA = (
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device"),
)
DEVICES = ["cpu", pytest.param("cuda", marks=CUDA)]


class Calls(TorchDispatchMode):
    """Count what is asked of the device, and how many bytes of its memory that takes at once.

    What a call itself needs inside is not seen. Tensors that were there before are not counted.
    """

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
