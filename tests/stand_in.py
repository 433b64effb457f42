"""A stand-in for a CUDA device: the kernels run on it where there is no GPU.

Its tensors say that they are on ``cuda:0``, and hold one of the CPU inside on which every call
is done. Around that it is as strict as CUDA, or stricter, and as careless as CUDA may be:

- A call that mixes its tensors with those of the CPU is refused, but for single numbers, and so
  is ``numpy()`` of one of them.
- What is new has random bytes in it. Of entries written to one place a random one stays, equal
  keys come out of a sort in any order unless it is asked to be stable, division by a number of
  the host is multiplication with its reciprocal, and floating numbers that do not fit come out
  of a conversion to integers as on CUDA.
- Streams: a tensor that was written on one is used on another only after that has waited, and
  is not let go before its own stream knows of all uses (`record_stream`). Pinned memory that a
  copy reads must stay as it is until the host knows that the copy is done.
- It counts how often the host waits for the device, and notes which calls got which dtypes.

What it cannot show: CUDA's own kernels, their limits and speed, and its allocator.
"""

from __future__ import annotations

import threading
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from pipeline.masks import _torch_streams
from tests.stand_in_streams import Memory, Stream, Timeline, patches

aten: Any = torch.ops.aten

WAITS = {
    "_local_scalar_dense",
    "equal",
    "nonzero",
    "masked_select",
    "_unique2",
    "unique_dim",
    "bincount",
}
"""Calls for which the host waits; on CUDA most do so inside."""

TAKES_NUMBERS = {"add", "sub", "mul", "div", "minimum", "maximum", "where", "eq", "ne", "ge", "lt"}
"""Calls that may be given a single number of the CPU beside tensors of the device."""

DIRECTLY: dict[Any, Any] = {
    torch.nonzero: aten.nonzero,
    torch.Tensor.__invert__: aten.bitwise_not,
    torch.Tensor.item: aten._local_scalar_dense,
    torch.Tensor.__int__: lambda one: int(aten._local_scalar_dense(one)),
    torch.Tensor.__index__: lambda one: int(aten._local_scalar_dense(one)),
    torch.Tensor.__bool__: lambda one: bool(aten._local_scalar_dense(one)),
}
"""What Python's own bindings of torch would ask CUDA's driver about first."""

NEW = {"empty", "empty_like", "new_empty", "empty_strided", "new_empty_strided"}


class OnDevice(torch.Tensor):
    """A tensor of the stand-in."""

    inner: torch.Tensor
    memory: Memory

    @staticmethod
    def __new__(cls, inner: torch.Tensor, memory: Memory) -> OnDevice:
        """Make a tensor that has no memory of its own."""
        return torch.Tensor._make_wrapper_subclass(
            cls,
            inner.size(),
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device="cuda:0",
        )

    def __init__(self, inner: torch.Tensor, memory: Memory) -> None:
        self.inner, self.memory = inner, memory

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Refuse: the stand-in does all calls while it is in place."""
        raise RuntimeError(f"{func}: the stand-in is not in place any more")

    def tolist(self) -> Any:
        """Bring the values to the host."""
        return self.cpu().tolist()

    def numpy(self, *, force: bool = False) -> Any:
        """Refuse, as CUDA does."""
        raise TypeError("can't convert cuda:0 device type tensor to numpy")

    def record_stream(self, stream: Stream) -> None:
        """Keep the memory until what is queued on a stream is done."""
        self.memory.recorded.add(stream)


class StandIn(TorchDispatchMode):
    """All calls while it is in place, and what was counted."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # or torch's compiler, which is not used, would be imported: seconds

    def __init__(self) -> None:
        super().__init__()
        self.timeline = Timeline()
        self.waits: Counter[str] = Counter()
        self.seen: set[tuple[str, torch.dtype]] = set()
        self._random = torch.Generator().manual_seed(0)
        self._pinned: dict[int, torch.Tensor] = {}
        self._memories: weakref.WeakValueDictionary[int, Memory] = weakref.WeakValueDictionary()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do one call on what the tensors hold."""
        kwargs = dict(kwargs or {})
        name = func.overloadpacket.__name__
        target = kwargs.get("device")
        ours = [one for one in tree_leaves((args, kwargs)) if isinstance(one, OnDevice)]
        if not ours and (target is None or torch.device(target).type != "cuda"):
            return self._on_host(func, args, kwargs)
        self.timeline.current.tick()
        if name == "_to_copy" and not ours:
            return self._from_host(func, args[0], kwargs)
        if name == "_to_copy" and target is not None and torch.device(target).type == "cpu":
            return self._to_host(func, args[0], kwargs)
        self._require_one_device(name, args, kwargs)
        self.seen.add((name.rstrip("_"), ours[0].dtype if ours else kwargs.get("dtype")))
        written = _written(func, args, kwargs)
        for one in ours:
            one.memory.use(self.timeline.current, is_written=any(one is out for out in written))
        if name in WAITS or (name == "repeat_interleave" and kwargs.get("output_size") is None):
            self._wait(name)
        if target is not None:
            kwargs["device"] = "cpu"
        kwargs.pop("pin_memory", None)
        result = self._do(func, name, *tree_map(_inner, (args, kwargs)))
        if written:
            return written[0] if len(written) == 1 else tuple(written)
        return tree_map(lambda one: self._wrap(one) if _is_tensor(one) else one, result)

    def view(self, tensor: OnDevice, index: Any) -> OnDevice:
        """Return part of a tensor by numbers and slices."""
        if any(map(_is_tensor, index if isinstance(index, tuple) else (index,))):
            raise TypeError("expected numbers and slices as an index, got a tensor")
        return self._wrap(tensor.inner[index])

    def finish(self) -> None:
        """Let the host wait for everything; raise what was wrong with the use of memory."""
        self.timeline.synchronize()
        if self.timeline.faults:
            raise RuntimeError("; ".join(self.timeline.faults))

    def _on_host(self, func: Any, args: Any, kwargs: Any) -> Any:
        is_pinned = kwargs.pop("pin_memory", False)
        result = func(*args, **kwargs)
        if is_pinned:  # it is held on to, so that its address is not another's
            self._pinned[_storage(result)] = result
        return result

    def _from_host(self, func: Any, source: torch.Tensor, kwargs: Any) -> OnDevice:
        if kwargs.pop("non_blocking", False) and _storage(source) in self._pinned:
            self.timeline.copy_from(source)
        else:
            self._wait("copy from pageable memory")
        return self._wrap(func(source, **{**kwargs, "device": "cpu"}).clone())

    def _to_host(self, func: Any, source: OnDevice, kwargs: Any) -> torch.Tensor:
        assert not kwargs.pop("non_blocking", False), "the host would have to wait by itself"
        source.memory.use(self.timeline.current, is_written=False)
        self._wait("copy to the host")
        return func(source.inner, **kwargs).clone()

    def _wait(self, why: str) -> None:
        self.waits[why] += 1
        self.timeline.current.synchronize()

    def _require_one_device(self, name: str, args: Any, kwargs: Any) -> None:
        for one in tree_leaves((args, kwargs)):
            is_of_host = _is_tensor(one) and not isinstance(one, OnDevice)
            if is_of_host and (one.dim() or name.rstrip("_") not in TAKES_NUMBERS):
                raise RuntimeError(
                    f"{name}: expected all tensors on one device, got {tuple(one.shape)} on "
                    f"{one.device} beside cuda:0"
                )

    def _wrap(self, inner: torch.Tensor) -> OnDevice:
        key = _storage(inner)
        memory = self._memories.get(key)
        if memory is None:
            memory = self._memories[key] = Memory(self.timeline.current)
        return OnDevice(inner, memory)

    def _do(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """Call on the CPU, with the freedoms that CUDA has."""
        plain = name.rstrip("_")
        if name in NEW:
            return self._scribbled(func(*args, **kwargs))
        if plain == "sort" and not kwargs.get("stable"):
            return self._sorted(args[0], *args[1:], **kwargs)
        if plain in ("scatter", "index_copy") and _is_tensor(args[3]):
            into, dim, index, source = args[:4]
            assert index.dim() == into.dim() == 1
            order = torch.randperm(len(index), generator=self._random)
            return func(into, dim, index[order], source[order])
        if plain in ("index_put", "_index_put_impl") and not (len(args) > 3 and args[3]):
            assert args[2].dim() == 0, "which of several values stays is not looked at here"
        if plain == "div" and (not _is_tensor(args[1]) or not args[1].dim()):
            return args[0] * (1.0 / args[1])  # of a number of the host CUDA takes the reciprocal
        if name == "_to_copy" and args[0].is_floating_point():
            return _converted(func, args[0], kwargs)
        return func(*args, **kwargs)

    def _scribbled(self, new: torch.Tensor) -> torch.Tensor:
        if new.dtype == torch.bool:
            return new.random_(0, 2, generator=self._random)
        n_bytes = new.untyped_storage().nbytes()
        whole = torch.empty(0, dtype=torch.uint8).set_(new.untyped_storage(), 0, (n_bytes,), (1,))
        whole.random_(0, 256, generator=self._random)
        return new

    def _sorted(self, keys: torch.Tensor, dim: int = -1, descending: bool = False, **_: Any) -> Any:
        assert keys.dim() == 1
        order = torch.randperm(len(keys), generator=self._random)
        values, place = torch.sort(keys[order], dim=dim, descending=descending, stable=True)
        return values, order[place]


@contextmanager
def in_place() -> Iterator[StandIn]:
    """Let there be a CUDA device for a while; not where there is a real one."""
    assert not torch.cuda.is_available()
    device = StandIn()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in patches(device.timeline).items():
            patch.setattr(torch.cuda, name, value)
        patch.setattr(_torch_streams, "_SENDERS", threading.local())
        with _Python(device), device:
            yield device
        device.finish()


class _Python(TorchFunctionMode):
    """What torch would ask CUDA's driver about before it does the call: indexing, and ``cuda``."""

    def __init__(self, device: StandIn) -> None:
        super().__init__()
        self._device = device

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Do these in another way, all others as they are."""
        if func is torch.Tensor.__getitem__ and isinstance(args[0], OnDevice):
            return self._device.view(*args)
        if func is torch.Tensor.__setitem__ and isinstance(args[0], OnDevice):
            into, value = self._device.view(*args[:2]), args[2]
            set_to = aten.copy_.default if _is_tensor(value) else aten.fill_.Scalar
            return self._device.__torch_dispatch__(set_to, (), (into, value))
        func = DIRECTLY.get(func, func)
        if func is torch.Tensor.to:
            args = (args[0], *("cuda:0" if str(one) == "cuda" else one for one in args[1:]))
        return func(*args, **(kwargs or {}))


def _converted(func: Any, source: torch.Tensor, kwargs: Any) -> torch.Tensor:
    """Convert floating numbers; to integers as CUDA does: NaN to 0, others to what is nearest."""
    dtype = kwargs.get("dtype")
    if dtype is None or dtype.is_floating_point or dtype == torch.bool:
        return func(source, **kwargs)
    limits = torch.iinfo(dtype)
    wide = source.double().nan_to_num(0.0, float("inf"), -float("inf"))
    is_high, is_low = wide >= float(limits.max), wide <= float(limits.min)
    found = func(torch.where(is_high | is_low, 0.0, wide), **kwargs)
    return torch.where(is_high, limits.max, torch.where(is_low, limits.min, found)).to(dtype)


def _written(func: Any, args: Any, kwargs: Any) -> list[OnDevice]:
    """Return the tensors that a call writes to, which are what it returns."""
    written: list[OnDevice] = []
    for place, argument in enumerate(func._schema.arguments):
        if argument.alias_info is not None and argument.alias_info.is_write:
            value = args[place] if place < len(args) else kwargs.get(argument.name)
            if isinstance(value, OnDevice):
                written.append(value)
    return written


def _inner(value: Any) -> Any:
    return value.inner if isinstance(value, OnDevice) else value


def _is_tensor(value: Any) -> bool:
    return isinstance(value, torch.Tensor)


def _storage(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata
