"""The steps of a run as Ray's workers do them, with a worker that is killed at some of the calls.

A step's calls are counted over all workers, by files beside the output. What takes the place of a
step in the driver travels to the workers by its name.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa
import pytest

from pipeline import storage, tasks
from pipeline.steps import UnitContext

ONCE = ("1",)
"""The second call of each step."""

EVERY_FIFTH = tuple(str(number) for number in range(2, 1000, 5))
"""The third call of each step, and every fifth after it."""

_REAL = (tasks.read_units, tasks.CompactUnits, tasks.write_units)


@contextmanager
def dying(output: str, *steps: str, calls: tuple[str, ...]) -> Generator[Callable[[], int]]:
    """Kill the worker at these calls of the steps of runs into an output; give their count."""
    folder = _folder(storage.to_uri(output))
    folder.mkdir()
    (folder / "steps").write_text(" ".join(steps))
    (folder / "calls").write_text(" ".join(calls))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "read_units", read_units)
        patch.setattr(tasks, "CompactUnits", CompactUnits)
        patch.setattr(tasks, "write_units", write_units)
        yield lambda: len(list(folder.glob("death-*")))


def read_units(table: pa.Table, context: UnitContext) -> Iterator[pa.Table]:
    """Read; die amid what was read."""
    is_due = _is_due("read", context)
    for message in _REAL[0](table, context):
        yield message
        if is_due:
            _die()


class CompactUnits(tasks.CompactUnits):
    """Compacts; dies when a unit of the batch is done."""

    def __call__(self, table: pa.Table) -> Iterator[pa.Table]:
        is_due = _is_due("compact", self.context)
        for message in super().__call__(table):
            if is_due:
                _die()
            yield message


def write_units(table: pa.Table, context: UnitContext) -> Iterator[pa.Table]:
    """Write; die amid the bytes of the last file of a unit, when others of it are there."""
    if _is_due("write", context):
        storage.open = _half  # pyright: ignore
    yield from _REAL[2](table, context)


def _half(path: Any, mode: str) -> Any:
    return _Half(path) if "w" in mode and "/rejects/" in str(path) else open(path, mode)


class _Half:
    """A file whose writer dies when half of it is written."""

    def __init__(self, path: Any) -> None:
        self._path = path

    def __enter__(self) -> _Half:
        return self

    def __exit__(self, *error: object) -> None:
        raise AssertionError("nobody lives to see this")

    def write(self, data: Any) -> NoReturn:
        Path(self._path).write_bytes(memoryview(data)[: len(data) // 2])
        _die()


def _is_due(step: str, context: UnitContext) -> bool:
    folder = _folder(context.output)
    if step not in (folder / "steps").read_text().split():
        return False
    number = _count(folder, step)
    is_due = str(number) in (folder / "calls").read_text().split()
    if is_due:
        (folder / f"death-{step}-{number}").touch()
    return is_due


def _count(folder: Path, step: str) -> int:
    for number in range(10_000):
        try:
            os.close(os.open(folder / f"call-{step}-{number}", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            continue
        return number
    raise AssertionError("no test calls a step so often")


def _folder(output: str) -> Path:
    path = storage.local_path(output)
    return path.with_name(f"{path.name}-deaths")


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("SIGKILL cannot be survived")
