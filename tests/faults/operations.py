"""Every file-system operation of a run in this process, counted, so that one of them can fail.

The calls of `pipeline.storage` and of Delta's client go through one function, which a test
gives: it may do the operation, do half of it, refuse, or end the run there. A run that is ended
does nothing afterwards, not even its own clean-up: as after SIGKILL.
"""

from __future__ import annotations

import builtins
import errno
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from deltalake import DeltaTable
from fsspec.implementations.local import LocalFileSystem

from pipeline import storage
from pipeline.publish import commit, log

CHANGES = ("open", "write", "sync", "rename", "mkdir", "unlink", "delete", "create", "commit")
"""Operations that change what is stored; the others only look."""

STORES = ("open", "write", "sync", "mkdir", "create", "commit")
"""Changes that need room on the disk."""

_LOOKS = ("exists", "info", "cat_file", "open", "ls", "isfile", "isdir", "find", "glob")


class Dead(BaseException):
    """The process has ended: no handler of an Exception may run."""


class Operation(msgspec.Struct):
    """One call: what it is, of which file, and how it is done wholly or by half."""

    verb: str
    path: str
    do: Callable[[], Any]
    do_half: Callable[[], Any] | None = None

    @property
    def is_change(self) -> bool:
        """Return whether it changes what is stored."""
        return self.verb in CHANGES


Handler = Callable[[int, Operation], Any]
"""Gets the number and the operation, does it, and returns what it returned."""


class Death:
    """Ends the run before an operation or amid it; counts and names all of them until then."""

    def __init__(self, number: int | None = None, is_amid: bool = False) -> None:
        self.number = number
        self.is_amid = is_amid
        self.is_dead = False
        self.seen: list[Operation] = []

    def __call__(self, number: int, operation: Operation) -> Any:
        if self.is_dead:
            raise Dead
        self.seen.append(operation)
        if number == self.number:
            self.is_dead = True
            if self.is_amid and operation.do_half is not None:
                operation.do_half()
            raise Dead
        return operation.do()


class Meanwhile:
    """Lets something else happen once, before an operation; counts all of them."""

    def __init__(self, number: int | None = None, act: Callable[[], Any] = lambda: None) -> None:
        self.number = number
        self.act = act
        self.result: Any = None
        self.seen: list[Operation] = []

    def __call__(self, number: int, operation: Operation) -> Any:
        self.seen.append(operation)
        if number == self.number:
            self.result = self.act()
        return operation.do()


class Full:
    """Refuses to store anything from an operation on, once or for good: the disk is full."""

    def __init__(self, number: int, is_lasting: bool) -> None:
        self.number = number
        self.is_lasting = is_lasting
        self.refused: list[Operation] = []

    def __call__(self, number: int, operation: Operation) -> Any:
        is_due = number >= self.number and (self.is_lasting or not self.refused)
        if is_due and operation.verb in STORES:
            self.refused.append(operation)
            if operation.do_half is not None:
                operation.do_half()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), operation.path)
        return operation.do()


class _Counter:
    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.number = 0
        self.lock = threading.Lock()
        self.inside = threading.local()

    def perform(self, operation: Operation) -> Any:
        """Number an operation and hand it on; what it calls itself is part of it."""
        if getattr(self.inside, "yes", False):
            return operation.do()
        with self.lock:
            number = self.number
            self.number += 1
        self.inside.yes = True
        try:
            return self.handler(number, operation)
        finally:
            self.inside.yes = False


@contextmanager
def handled(handler: Handler) -> Iterator[None]:
    """Let every file-system operation of this process's runs go through a handler."""
    counter = _Counter(handler)
    with pytest.MonkeyPatch.context() as patch:
        _patch_python(patch, counter)
        _patch_fsspec(patch, counter)
        _patch_delta(patch, counter)
        yield


def _patch_python(patch: pytest.MonkeyPatch, counter: _Counter) -> None:
    class Os:
        """The functions of `os` that touch files are operations; the rest is as it was."""

        def __getattr__(self, name: str) -> Any:
            return getattr(os, name)

        def fsync(self, descriptor: int) -> None:
            counter.perform(Operation("sync", "", lambda: None))  # no test pulls the plug

        def replace(self, source: Any, target: Any) -> None:
            counter.perform(Operation("rename", str(target), lambda: os.replace(source, target)))

        def stat(self, path: Any) -> Any:
            return counter.perform(Operation("stat", str(path), lambda: os.stat(path)))

    class Folder(type(Path())):
        """A path whose changes are operations."""

        def mkdir(self, *args: Any, **options: Any) -> None:
            real = Path(self)
            counter.perform(Operation("mkdir", str(self), lambda: real.mkdir(*args, **options)))

        def unlink(self, missing_ok: bool = False) -> None:
            real = Path(self)
            counter.perform(Operation("unlink", str(self), lambda: real.unlink(missing_ok)))

    def open_file(path: Any, mode: str = "r") -> Any:
        verb = "open" if "w" in mode else "read"
        do = partial(builtins.open, path, mode)
        stream = counter.perform(Operation(verb, str(path), do))
        return _Stream(stream, str(path), counter) if "w" in mode else stream

    patch.setattr(storage, "os", Os())
    patch.setattr(storage, "Path", Folder)
    patch.setattr(storage, "open", open_file, raising=False)


class _Stream:
    """A file that is written: what is written is there at once, and half of it can be."""

    def __init__(self, stream: Any, path: str, counter: _Counter) -> None:
        self.stream, self.path, self.counter = stream, path, counter

    def __enter__(self) -> _Stream:
        return self

    def __exit__(self, *error: object) -> None:
        self.stream.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, data: Any) -> int:
        def put(part: Any) -> int:
            n_bytes = self.stream.write(part)
            self.stream.flush()
            return n_bytes

        half = memoryview(data)[: len(data) // 2]
        return self.counter.perform(
            Operation("write", self.path, lambda: put(data), lambda: put(half))
        )


def _patch_fsspec(patch: pytest.MonkeyPatch, counter: _Counter) -> None:
    def wrap(name: str, verb: str) -> None:
        real = getattr(LocalFileSystem, name)

        def call(self: Any, path: Any, *args: Any, **options: Any) -> Any:
            def do() -> Any:
                return real(self, path, *args, **options)

            return counter.perform(Operation(verb, str(path), do))

        patch.setattr(LocalFileSystem, name, call)

    for name in _LOOKS:
        wrap(name, "read" if name == "open" else name)
    wrap("rm_file", "delete")


def _patch_delta(patch: pytest.MonkeyPatch, counter: _Counter) -> None:
    create, overwrite = commit.create_table_with_add_actions, DeltaTable.create_write_transaction

    def create_first(table_uri: str, *args: Any, **options: Any) -> Any:
        def do() -> Any:
            return create(table_uri, *args, **options)

        return counter.perform(Operation("create", table_uri, do))

    def commit_next(self: DeltaTable, *args: Any, **options: Any) -> Any:
        def do() -> Any:
            return overwrite(self, *args, **options)

        return counter.perform(Operation("commit", self.table_uri, do))

    def open_table(table_uri: str, **options: Any) -> Any:
        def do() -> Any:
            return DeltaTable(table_uri, **options)

        return counter.perform(Operation("load", table_uri, do))

    patch.setattr(commit, "create_table_with_add_actions", create_first)
    patch.setattr(DeltaTable, "create_write_transaction", commit_next)
    patch.setattr(log, "DeltaTable", open_table)
