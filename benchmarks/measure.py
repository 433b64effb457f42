"""Times that can be compared: one thread, warm, interleaved, with the machine beside them."""

from __future__ import annotations

import ctypes
import importlib.metadata
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_ONE_THREAD = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)
_PACKAGES = (
    "numpy",
    "numba",
    "pyarrow",
    "pycocotools",
    "ultrafast-pycocotools",
    "faster-coco-eval",
    "hotcoco",
    "supervision",
)


def use_one_thread(module: str) -> None:
    """Start this program again with every known thread pool at one thread, if it is not so.

    The variables must stand before the libraries are loaded.
    """
    if all(os.environ.get(name) == "1" for name in _ONE_THREAD):
        return
    environment = os.environ | dict.fromkeys(_ONE_THREAD, "1")
    os.execve(sys.executable, [sys.executable, "-m", module, *sys.argv[1:]], environment)


@dataclass
class Times:
    """Repetitions of one call: wall and CPU seconds."""

    wall_s: list[float] = field(default_factory=list)
    cpu_s: list[float] = field(default_factory=list)

    def add(self, call: Callable[[], Any]) -> Any:
        """Time one call and return its result."""
        wall, cpu = time.perf_counter(), time.process_time()
        result = call()
        self.wall_s.append(time.perf_counter() - wall)
        self.cpu_s.append(time.process_time() - cpu)
        return result

    def summary(self) -> dict[str, float]:
        """Return medians and the best."""
        return {
            "wall_s": statistics.median(self.wall_s),
            "wall_best_s": min(self.wall_s),
            "cpu_s": statistics.median(self.cpu_s),
        }


@dataclass
class Pair:
    """A call and the reference, each timed right after the other."""

    reference: Times = field(default_factory=Times)
    other: Times = field(default_factory=Times)

    def ratios(self, scale: float) -> dict[str, float]:
        """Return the medians of other/reference, each repetition by itself, times `scale`."""
        return {
            f"{kind}_ratio": scale
            * statistics.median(
                other / reference
                for other, reference in zip(
                    getattr(self.other, f"{kind}_s"),
                    getattr(self.reference, f"{kind}_s"),
                    strict=True,
                )
            )
            for kind in ("wall", "cpu")
        }


def paired(
    reference: Callable[[], Any], others: dict[str, Callable[[], Any]], repeat: int
) -> dict[str, Pair]:
    """Time every call beside the reference, `repeat` rounds over all of them.

    Slow drifts of the machine (other jobs, clock speed) hit both sides of a pair
    alike. Everything is called once before anything is timed.
    """
    reference()
    for call in others.values():
        call()
    pairs = {name: Pair() for name in others}
    for _ in range(repeat):
        for name, call in others.items():
            pairs[name].reference.add(reference)
            pairs[name].other.add(call)
    return pairs


def machine() -> dict[str, Any]:
    """Return what the figures depend on: processor, cores, load, versions."""
    cpuinfo = Path("/proc/cpuinfo")
    names = [
        line.partition(":")[2].strip()
        for line in (cpuinfo.read_text().splitlines() if cpuinfo.exists() else [])
        if line.startswith("model name")
    ]
    return {
        "processor": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "load_average": os.getloadavg()[0],
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: version(name) for name in _PACKAGES},
    }


def version(package: str) -> str | None:
    """Return the installed version of a package, None where it is absent."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def peak_bytes(call: Callable[[], Any]) -> int:
    """Return by how much a call raises the resident memory above what it was, at its peak.

    Linux with glibc only: what the heap holds free is given back first, so that
    the call cannot hide in it, and the kernel's high-water mark is reset.
    """
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")
    before = status_bytes("VmRSS")
    call()
    return status_bytes("VmHWM") - before


def status_bytes(key: str) -> int:
    """Return a figure of this process that Linux gives in kB, such as ``VmHWM``, in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {key}")
