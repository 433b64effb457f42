"""Read every bomb in a folder, in a process of its own: what became of it, and the peak memory.

``python -m tests.pipeline.read.bombs FOLDER`` prints a line of JSON for each file
(name, outcome, message) and one with the process's peak memory in MB.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

from pipeline import read, storage
from pipeline.config import ReadConfig
from pipeline.errors import InputError, SchemaError


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
        outcome, message = read_all(path)
        sys.stdout.write(json.dumps([path.name, outcome, message]) + "\n")
    # Not getrusage: a child begins with the peak of the process that forked it.
    [peak_kb] = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    sys.stdout.write(json.dumps(["peak", int(peak_kb) >> 10]) + "\n")
