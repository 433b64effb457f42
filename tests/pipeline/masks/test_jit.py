"""Kernels are compiled once per content of the code, wherever the code lies."""

from __future__ import annotations

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from numba.core.dispatcher import Dispatcher

from pipeline.masks import _jit

A_KERNEL = """
from numba import int64
from pipeline.masks._jit import inlined, kernel, part
from pipeline.masks._numba_two import factor

@inlined
def doubled(x):
    return x * 2

@part
def scaled(x):
    return doubled(x) * factor(x)

@kernel
def entry(x):
    return scaled(x) + 1
"""

ITS_IMPORT = """
from pipeline.masks._jit import part

@part
def factor(x):
    return {factor}
"""

CALL = """
import json
from pipeline.masks import _jit
from pipeline.masks._numba_one import entry
value = entry(5)
stats = entry.stats
print(json.dumps([value, sum(stats.cache_hits.values()), sum(stats.cache_misses.values()),
                  str(stats.cache_path), _jit.__file__]))
"""


def upload(folder: Path, factor: int) -> Path:
    """A copy of the code that a submitted job would get, with two small kernels of its own."""
    masks = folder / "pipeline" / "masks"
    masks.mkdir(parents=True)
    (folder / "pipeline" / "__init__.py").touch()
    (masks / "__init__.py").touch()
    (masks / "_jit.py").write_text(Path(_jit.__file__).read_text())
    (masks / "_numba_one.py").write_text(A_KERNEL)
    (masks / "_numba_two.py").write_text(ITS_IMPORT.format(factor=factor))
    return folder


def call(code: Path, cache: Path, **environment: str) -> list[Any]:
    """Value, cache hits and misses, folder of the cache, in a new process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    done = subprocess.run(
        [sys.executable, "-c", CALL],
        env={**kept, "NUMBA_CACHE_DIR": str(cache), "PYTHONPATH": str(code), **environment},
        cwd=code,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    value, hits, misses, folder, file = json.loads(done.stdout)
    assert Path(file).is_relative_to(code)
    return [value, hits, misses, folder]


def test_the_same_code_in_another_folder_does_not_compile_again(tmp_path: Path) -> None:
    assert _jit.IS_KEYED_BY_CONTENT
    cache = tmp_path / "cache"
    first = call(upload(tmp_path / "job_1", 3), cache)
    assert first == [31, 0, 1, first[3]]
    assert Path(first[3]).parent == cache
    assert call(upload(tmp_path / "job_2", 3), cache) == [31, 1, 0, first[3]]
    # The kernel's own file is unchanged here; a file that it imports is not.
    assert call(upload(tmp_path / "job_3", 4), cache)[:3] == [41, 0, 1]
    # Nor does code without bounds checks serve who asked for them.
    checked = call(tmp_path / "job_1", cache, NUMBA_BOUNDSCHECK="1")
    assert checked[:3] == [31, 0, 1]


GROUP = """
import json
import numpy as np
from pipeline.masks import _numba_group, group
from pipeline.masks.batch import CocoStrings
strings = CocoStrings(np.frombuffer(b"4444", np.uint8), np.array([0, 2, 4]))
grouping = group.group_masks(
    strings, np.array([[4, 2]] * 2, np.int32), np.array([0, 2]), np.zeros(2, np.int64),
    np.zeros(2, bool), None, threshold=0.5)
stats = _numba_group.group_images.stats
print(json.dumps([grouping.leader_N.tolist(), sum(stats.cache_hits.values()),
                  sum(stats.cache_misses.values()), _numba_group.__file__]))
"""


def test_a_second_job_does_not_compile_the_grouping_again(tmp_path: Path) -> None:
    package = Path(_jit.__file__).parents[1]
    for job in ("job_1", "job_2"):
        code = tmp_path / job
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(package, code / "pipeline", ignore=ignored)
        done = subprocess.run(
            [sys.executable, "-c", GROUP],
            env={**os.environ, "PYTHONPATH": str(code)},
            cwd=code,
            capture_output=True,
            text=True,
            timeout=240,
            check=True,
        )
        leaders, hits, misses, file = json.loads(done.stdout)
        assert leaders == [0, 0]
        assert Path(file).is_relative_to(code)
        # The first one may find what an earlier run of the tests has left.
        assert job == "job_1" or (hits, misses) == (1, 0)


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    # Numba's next choice is the folder of the code itself.
    code = upload(tmp_path / "job", 3)
    value, hits, misses, folder = call(code, in_the_way, HOME=str(in_the_way))
    assert [value, hits, misses] == [31, 0, 1]
    assert Path(folder).is_relative_to(code)


def test_without_the_hooks_numbas_own_cache_is_used(tmp_path: Path) -> None:
    code = upload(tmp_path / "job", 3)
    file = code / "pipeline" / "masks" / "_jit.py"
    source = file.read_text()
    assert source.count("caching._CacheLocator") == 1
    file.write_text(source.replace("caching._CacheLocator", "caching._MovedElsewhere"))
    value, _, misses, folder = call(code, tmp_path / "cache")
    assert [value, misses] == [31, 1]
    assert "maskpress-" not in folder


def test_the_key_follows_imports(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    upload(tmp_path, 3)
    monkeypatch.setattr(_jit, "ROOT", tmp_path)
    one = tmp_path / "pipeline" / "masks" / "_numba_one.py"
    two = one.with_name("_numba_two.py")
    assert sorted(_jit._sources(one)) == [
        "pipeline/masks/_jit.py",
        "pipeline/masks/_numba_one.py",
        "pipeline/masks/_numba_two.py",
    ]
    assert "pipeline/masks/_numba_one.py" not in _jit._sources(two)


def test_imports_are_those_that_the_parser_finds() -> None:
    for file in sorted((_jit.ROOT / "pipeline").rglob("*.py")):
        names: list[str] = []
        for node in ast.walk(ast.parse(file.read_bytes())):
            if isinstance(node, ast.Import):
                names += [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        paths = {_jit.ROOT.joinpath(*name.split(".")).with_suffix(".py") for name in names}
        assert set(_jit._read(file)[1]) >= {path for path in paths if path.is_file()}, file


def kernels_called_by(module: ModuleType) -> list[str]:
    """Return what compiled functions of a module call that is kept on disk without bitcode."""
    found: list[str] = []
    for function in vars(module).values():
        if isinstance(function, Dispatcher):
            known = function.py_func.__globals__
            called = (known.get(name) for name in function.py_func.__code__.co_names)
            found += [
                f"{function.py_func.__qualname__} calls {one.py_func.__qualname__}"
                for one in called
                if isinstance(one, Dispatcher) and isinstance(one._cache, _jit._ContentCache)
            ]
    return found


def test_nothing_compiled_calls_a_kernel() -> None:
    files = sorted((_jit.ROOT / "pipeline").rglob("_numba*.py"))
    names = [".".join(file.relative_to(_jit.ROOT).with_suffix("").parts) for file in files]
    assert len(names) > 30
    for name in names:
        assert kernels_called_by(importlib.import_module(name)) == []


@_jit.kernel
def entry(x):
    return x + 1


@_jit.part
def calls_entry(x):
    return entry(x)


def test_a_call_of_a_kernel_is_seen() -> None:
    assert kernels_called_by(sys.modules[__name__]) == ["calls_entry calls entry"]


def test_every_kernel_has_a_content_key() -> None:
    masks = Path(_jit.__file__).parent
    keys = {_jit.content_key(file) for file in masks.glob("_numba_*.py")}
    assert len(keys) == len(list(masks.glob("_numba_*.py")))
