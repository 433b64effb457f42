"""The whole job beside what it takes: ``python -m benchmarks.whole INPUT... --output OUT [FLAGS]``.

Runs ``jobs/compact.py`` with these arguments and looks at all its processes five times a second:
the peak of the memory of each of its own (``anonymous``: what malloc and Python hold) and with
Ray's shared object store (``resident``), and the CPU seconds. Beside them stand the seconds by
stage of the run's report. Linux only. Nothing is deleted: OUT should be new.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]

PERIOD_S = 0.2

_TICK_S = 1 / os.sysconf("SC_CLK_TCK")


@dataclass
class Seen:
    """What was seen of one process.

    Attributes
    ----------
    name : str
        ``driver``, what Ray calls a worker, or the name of the program.
    anonymous_bytes, resident_bytes : int
        Peaks, without and with memory that is shared.
    cpu_s : float
        User and system.
    """

    name: str
    anonymous_bytes: int = 0
    resident_bytes: int = 0
    cpu_s: float = 0.0


@dataclass
class Watched:
    """What was seen of a program and all that it started.

    Attributes
    ----------
    processes : dict of int to Seen
        By process id.
    anonymous_bytes, shared_bytes : int
        Peak of all processes together, and of the largest shared part.
    wall_s : float
        From its start to its end.
    returncode : int
        Its exit code.
    output : str
        What it printed.
    """

    processes: dict[int, Seen]
    anonymous_bytes: int
    shared_bytes: int
    wall_s: float
    returncode: int
    output: str

    @property
    def cpu_s(self) -> float:
        """CPU seconds of all processes, to the last look at each."""
        return sum(process.cpu_s for process in self.processes.values())

    @property
    def largest(self) -> Seen:
        """The process with the highest peak of its own memory."""
        return max(self.processes.values(), key=lambda process: process.anonymous_bytes)


def watch(command: list[str], environment: dict[str, str] | None = None) -> Watched:
    """Run a program to its end and look at it and its descendants meanwhile."""
    started = time.perf_counter()
    child = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    found = Watched({child.pid: Seen("driver")}, 0, 0, 0.0, 0, "")
    while True:
        _look(child.pid, found)
        try:
            found.output = child.communicate(timeout=PERIOD_S)[0]
            break
        except subprocess.TimeoutExpired:
            continue
    found.wall_s = time.perf_counter() - started
    found.returncode = child.returncode
    return found


def _look(root: int, found: Watched) -> None:
    """Take in one look at a process and its descendants."""
    total = shared = 0
    for pid in _family(root):
        try:
            status = _status(pid)
            cpu_s = _cpu_s(pid)
            name = "driver" if pid == root else _name(pid)
        except (OSError, IndexError):
            continue  # it has ended meanwhile
        seen = found.processes.setdefault(pid, Seen(name))
        if name.startswith("ray::") and name != "ray::IDLE":
            seen.name = name
        anonymous = status.get("RssAnon", 0)
        seen.anonymous_bytes = max(seen.anonymous_bytes, anonymous)
        seen.resident_bytes = max(seen.resident_bytes, status.get("VmHWM", 0))
        seen.cpu_s = max(seen.cpu_s, cpu_s)
        total += anonymous
        shared = max(shared, status.get("RssShmem", 0))
    found.anonymous_bytes = max(found.anonymous_bytes, total)
    found.shared_bytes = max(found.shared_bytes, shared)


def _family(root: int) -> list[int]:
    """Return a process and all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                parent = int(_stat(int(entry))[1])
            except OSError:
                continue
            children.setdefault(parent, []).append(int(entry))
    family = [root]
    for pid in family:
        family.extend(children.get(pid, []))
    return family


def _stat(pid: int) -> list[str]:
    """Return the fields of /proc/PID/stat behind the name."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _cpu_s(pid: int) -> float:
    fields = _stat(pid)
    return (int(fields[11]) + int(fields[12])) * _TICK_S


def _status(pid: int) -> dict[str, int]:
    """Return the figures of /proc/PID/status that are in kB, as bytes."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    pairs = [line.split() for line in lines if line.endswith(" kB")]
    return {key.rstrip(":"): int(value) * 1024 for key, value, _ in pairs}


def _name(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    first = words[0].decode(errors="replace")
    return first.strip() if first.startswith("ray::") else first.rsplit("/", 1)[-1]


def _report(arguments: list[str]) -> dict[str, Any]:
    """Return the newest report of the output that the arguments name."""
    output = Path(arguments[arguments.index("--output") + 1])
    reports = sorted(output.glob("reports/*/report.json"), key=lambda path: path.stat().st_mtime)
    return json.loads(reports[-1].read_bytes()) if reports else {}


def main() -> None:
    """Run the job once and print what it took."""
    arguments = sys.argv[1:]
    load = os.getloadavg()[0]
    found = watch([sys.executable, str(ROOT / "jobs" / "compact.py"), *arguments])
    console = Console()
    console.print(found.output, markup=False)
    report = _report(arguments)
    table = Table("process", "CPU s", "anonymous MB", "resident MB")
    processes = sorted(found.processes.values(), key=lambda p: p.anonymous_bytes, reverse=True)
    for seen in processes[:12]:
        megabytes = (f"{n / 1e6:,.0f}" for n in (seen.anonymous_bytes, seen.resident_bytes))
        table.add_row(seen.name, f"{seen.cpu_s:.1f}", *megabytes)
    console.print(table)
    console.print(
        f"exit {found.returncode}, wall {found.wall_s:.1f} s, CPU {found.cpu_s:.1f} s, peak of all "
        f"{found.anonymous_bytes / 1e6:,.0f} MB and {found.shared_bytes / 1e6:,.0f} MB shared, "
        f"load before {load:.1f}"
    )
    for key in ("stage_s", "driver_s", "times"):
        if key in report:
            console.print(f"{key}: {json.dumps(report[key])}", markup=False)


if __name__ == "__main__":
    main()
