"""Makes steps of the product die at rows with a mark, in every Python process that finds this file.

On PYTHONPATH, Python imports it at its start: in the job, in Ray's workers, in processes that they
start. Nothing in the product knows of it.

Reading dies at rows whose bytes hold ``poison_<what>``; compacting at rows of category
666 (killed), 667 (never ends, and never lets Python run), 668 (takes memory without end),
669 (killed with another of 669 in its image).
"""

from __future__ import annotations

import ctypes
import importlib.abc
import importlib.machinery
import importlib.util
import os
import signal
import sys
import threading
from typing import Any

BY_CATEGORY = {666: "crash", 667: "loop", 668: "memory"}


def die(what: str) -> None:
    """Do it; a test may wait for the file that the environment names."""
    if what and "POISON_SIGN" in os.environ:
        open(os.environ["POISON_SIGN"], "w").close()
    if what == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif what == "loop":
        ctypes.PyDLL(None).pause()  # PyDLL keeps the interpreter's lock
    elif what == "memory":
        hoard = []
        while True:
            hoard.append(b"x" * (32 << 20))


def hold(step: str) -> None:
    """Stop here for ever, if that is what the environment says of this step."""
    if os.environ.get("POISON_HOLD") == step:
        open(os.environ["POISON_SIGN"], "w").close()
        threading.Event().wait()


def poison_compact(module: Any) -> None:
    own = module.compact_unit

    def compact_unit(instances: Any, *arguments: Any) -> Any:
        hold("compact")
        rows = instances.select(["category_id", "image_id"]).to_pylist()
        for row in rows:
            die(BY_CATEGORY.get(row["category_id"], ""))
        pairs = [row["image_id"] for row in rows if row["category_id"] == 669]
        if len(pairs) > len(set(pairs)):
            die("crash")
        return own(instances, *arguments)

    module.compact_unit = compact_unit


def poison_read(module: Any) -> None:
    own = module.read

    def read(part: Any, source: Any, config: Any, id_type: str) -> Any:
        hold("read")
        with open(part.uri.removeprefix("file://"), "rb") as stream:
            data = stream.read()[part.start : part.stop]
        for what in ("crash", "loop", "memory"):
            if f"poison_{what}".encode() in data:
                die(what)
        return own(part, source, config, id_type)

    read.__module__, read.__qualname__ = "pipeline.read", "read"
    module.read = read


PATCHES = {"pipeline.unit": poison_compact, "pipeline.read": poison_read}


class Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name: str, path: Any, target: Any = None) -> Any:
        if name not in PATCHES:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        assert spec is not None
        assert spec.loader is not None
        run = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            run(module)
            PATCHES[name](module)

        spec.loader.exec_module = exec_module
        return spec


sys.meta_path.insert(0, Finder())
