"""What only a new process can tell: the first call's time, and a call's peak memory.

``python -m benchmarks.fresh NAME`` loads the cached workload NAME and prints
one line of JSON; `benchmarks.dedup` runs it. The compiled kernels are expected
in the cache on disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np

from benchmarks.measure import peak_bytes
from benchmarks.peers import in_score_order
from benchmarks.workload import Workload, cached


def main() -> None:
    """Print the seconds of the import and of one mask, then the peak of the whole workload."""
    workload = in_score_order(cached(sys.argv[1], _missing))
    start = time.perf_counter()
    from benchmarks import ours

    imported = time.perf_counter()
    ours.job(workload.take(np.arange(1)), ours.DEFAULT, 0.8)()
    called = time.perf_counter()
    result = {
        "import_s": imported - start,
        "first_call_s": called - imported,
        "peak_bytes": peak_bytes(ours.job(workload, ours.DEFAULT, 0.8)),
        "input_bytes": ours.input_bytes(workload),
    }
    print(json.dumps(result))


def in_fresh_process(name: str) -> dict[str, float]:
    """Run this module on a cached workload in a new process."""
    command = [sys.executable, "-m", "benchmarks.fresh", name]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    return json.loads(done.stdout.splitlines()[-1])


def _missing() -> Workload:
    raise FileNotFoundError(f"no cached workload {sys.argv[1]!r}: run benchmarks.dedup first")


if __name__ == "__main__":
    main()
