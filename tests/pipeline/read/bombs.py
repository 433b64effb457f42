"""Read every bomb in a folder, in a process of its own: what became of it, and the peak memory.

``python -m tests.pipeline.read.bombs FOLDER`` prints a line of JSON for each file
(name, outcome, message, seconds of CPU) and one with the process's peak memory in MB.
A file that takes more than `MAX_S` seconds of CPU ends the process, by SIGXCPU. Names
that start with 0 come first and are no bombs: they have kernels compiled and
libraries loaded, which is in nobody's time.
"""

from __future__ import annotations

import json
import math
import re
import resource
import sys
import time
from pathlib import Path

from pipeline import read, storage
from pipeline.config import ReadConfig
from pipeline.errors import InputError, SchemaError

MAX_S = 10
WARM_UP = "0"


def read_all(path: Path) -> tuple[str, str]:
    """Return what reading a file comes to: an error's type, or the codes of its rejects."""
    file, config = storage.inspect_file(storage.to_uri(str(path))), ReadConfig()
    codes: set[str] = set()
    try:
        scan = read.scan(file, config, 16 << 20)
        for part in scan.slices:
            result = read.read(part, scan.source, config, scan.id_type or "int")
            codes |= set(result.rejects["code"].to_pylist())
    except (InputError, SchemaError) as error:
        return type(error).__name__, error.message
    return ",".join(sorted(codes)), ""


if __name__ == "__main__":
    for path in sorted(Path(sys.argv[1]).iterdir()):
        start = time.process_time()
        if not path.name.startswith(WARM_UP):
            _, most = resource.getrlimit(resource.RLIMIT_CPU)
            resource.setrlimit(resource.RLIMIT_CPU, (math.ceil(start) + MAX_S, most))
        outcome, message = read_all(path)
        seconds = round(time.process_time() - start, 2)
        sys.stdout.write(json.dumps([path.name, outcome, message, seconds]) + "\n")
        sys.stdout.flush()
    # Not getrusage: a child begins with the peak of the process that forked it.
    [peak_kb] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    sys.stdout.write(json.dumps(["peak", int(peak_kb) >> 10]) + "\n")
