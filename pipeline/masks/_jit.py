"""How every compiled kernel is compiled and cached: three decorators, one set of options.

A kernel costs seconds to compile and tenths of a second to load, so what was
compiled is kept on disk, for every process of the node. Numba's own cache is
keyed by a file's path and by that one file's content. A submitted job unpacks the
code into a new folder, so that cache misses; and it does not see that a
function of another file changed. Ours is keyed by content alone: of the
kernel's file and, transitively, of all files of ours that it imports.

Numba keeps a kernel's bitcode beside its machine code, so that other functions could
take it in; reading that is two thirds of the time that loading takes. Ours leave it out:
nothing that is compiled calls a kernel, only parts (a test holds it).

That hooks into Numba where it promises nothing (`numba.core.caching`). Where a
release has moved those parts, Numba's own cache is used, and
`IS_KEYED_BY_CONTENT` is False.

The folder is ``NUMBA_CACHE_DIR``, else Numba's folder in the user's cache.
"""

# Numba's private parts have no types.
# pyright: reportAttributeAccessIssue=false, reportPrivateUsage=false
# pyright: reportPrivateImportUsage=false, reportIncompatibleMethodOverride=false

from __future__ import annotations

import functools
import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite.binding
import numba
from numba.core import caching
from numba.core.dispatcher import Dispatcher

ROOT = Path(__file__).resolve().parents[2]

_OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}


def kernel(function: Callable[..., Any]) -> Any:
    """Compile an entry point: cached on disk, without the GIL, C division rules.

    Only Python calls it; what compiled code calls is a `part` or `inlined`. Bounds checks
    are off unless ``NUMBA_BOUNDSCHECK=1`` is set.
    """
    if not IS_KEYED_BY_CONTENT:
        return numba.njit(cache=True, **_OPTIONS)(function)
    dispatcher = numba.njit(**_OPTIONS)(function)
    dispatcher._cache = _ContentCache(function)
    return dispatcher


def inlined(function: Callable[..., Any]) -> Any:
    """Compile a part of a kernel into each kernel that calls it, without a call."""
    return numba.njit(forceinline=True, **_OPTIONS)(function)


def part(function: Callable[..., Any]) -> Any:
    """Compile a part of a kernel into the kernel that calls it, as LLVM sees fit."""
    return numba.njit(**_OPTIONS)(function)


@functools.cache
def content_key(path: Path) -> str:
    """Digest of everything that decides what a file's kernels compile to.

    Parameters
    ----------
    path : Path
        A Python file of ours.

    Returns
    -------
    str
        Hexadecimal; changes with the content of the file, of any file of ours
        that it imports directly or not, with Numba's version, and with the
        variables of the environment that change code.
    """
    digest = hashlib.sha256()
    for part_of_key in (numba.__version__, *map(os.environ.get, _ENVIRONMENT)):
        digest.update(f"{part_of_key}\n".encode())
    for name, content in sorted(_sources(path).items()):
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()[:32]


_ENVIRONMENT = ("NUMBA_BOUNDSCHECK", "NUMBA_OPT", "NUMBA_DISABLE_INTEL_SVML")


def _sources(path: Path) -> dict[str, bytes]:
    """Contents of a file and of all files of ours that it imports, by name below the root."""
    contents: dict[str, bytes] = {}
    waiting = [path]
    while waiting:
        source = waiting.pop()
        name = source.relative_to(ROOT).as_posix()
        if name not in contents:
            contents[name], imported = _read(source)
            waiting += imported
    return contents


@functools.cache
def _read(path: Path) -> tuple[bytes, list[Path]]:
    """Content of a file, and the files of ours that it imports; all our imports are absolute.

    Words are looked for, not parsed: parsing took a third of the time that a worker needs to
    start. What only looks like an import can but make a key change more often.
    """
    content = path.read_bytes()
    names: set[str] = set()
    for module, listed, plain in _IMPORT.findall(content.decode()):
        words = _WORD.findall(listed + plain)
        names |= {module, *(f"{module}.{word}" for word in words)} if module else set(words)
    files = (ROOT.joinpath(*name.split(".")).with_suffix(".py") for name in sorted(names))
    return content, [file for file in files if file.is_file()]


_IMPORT = re.compile(
    r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+import[ \t]*(\([^)]*\)|[^\n]*)|import[ \t]+([^\n]*))", re.M
)
_WORD = re.compile(r"[\w.]+")


def _cache_folder(key: str) -> Path:
    """Folder for what has this key: below ``NUMBA_CACHE_DIR`` or the user's cache."""
    home = numba.config.CACHE_DIR or caching.AppDirs("numba", appauthor=False).user_cache_dir
    return Path(home) / f"maskpress-{key}"


def _bitcode(names: tuple[str, ...]) -> bytes:
    """Bitcode of empty functions: Numba looks up in it which functions a library has."""
    lines = [f'define void @"{name}"() {{ ret void }}' for name in names]
    return llvmlite.binding.parse_assembly("\n".join(lines)).as_bitcode()


try:

    class _ContentLocator(caching._CacheLocator):
        """Tell Numba where a kernel of ours is kept, and when it is out of date: never."""

        def __init__(self, function: Callable[..., Any], path: Path) -> None:
            self._key = content_key(path)
            self._py_file = str(path)
            self._line = function.__code__.co_firstlineno

        def get_cache_path(self) -> str:
            return str(_cache_folder(self._key))

        def get_source_stamp(self) -> str:
            return self._key

        def get_disambiguator(self) -> str:
            return str(self._line)

        @classmethod
        def from_function(cls, py_func: Callable[..., Any], py_file: str) -> Any:
            """Locate a function of ours; None (the next locator is asked) for others."""
            path = Path(py_file).resolve()
            if not path.is_file() or not path.is_relative_to(ROOT):
                return None
            locator = cls(py_func, path)
            try:
                locator.ensure_cache_path()
            except OSError:  # no such folder can be written: as if there were no cache of ours
                return None
            return locator

    class _ContentCacheImpl(caching.CompileResultCacheImpl):
        _locator_classes = [  # noqa: RUF012 (as in Numba)
            _ContentLocator,
            *caching.CompileResultCacheImpl._locator_classes,
        ]

        def reduce(self, cres: Any) -> Any:
            """Serialize what was compiled: its machine code, of its bitcode the names alone."""
            reduced = super().reduce(cres)
            match reduced:
                case ((name, "object", (bytes() as machine_code, bytes())), *others):
                    called = (cres.fndesc.llvm_func_name, cres.fndesc.llvm_cpython_wrapper_name)
                    return ((name, "object", (machine_code, _bitcode(called))), *others)
                case _:  # another release: as Numba does it
                    return reduced

    class _ContentCache(caching.FunctionCache):
        _impl_class = _ContentCacheImpl

    is_hooked = hasattr(Dispatcher, "enable_caching")
except (AttributeError, TypeError):
    is_hooked = False

IS_KEYED_BY_CONTENT = is_hooked
"""Whether this release of Numba has the parts that are hooked into."""
