"""A Ray head of its own on loopback, as a cluster's users have it; ended by its pid."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
READY_S = 120


@contextmanager
def running_head() -> Iterator[str]:
    """Start a head with two CPUs; give the address of its dashboard, which takes jobs."""
    ports = free_ports(5)
    folder = Path(tempfile.mkdtemp(prefix="mp-ray-"))  # short: sockets lie below it
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port")
    flags = [f"--{name}={port}" for name, port in zip(names, ports, strict=False)]
    head = subprocess.Popen(
        [
            *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block"),
            *("--num-cpus=2", "--dashboard-host=127.0.0.1", "--node-ip-address=127.0.0.1"),
            *(f"--temp-dir={folder}", f"--dashboard-agent-grpc-port={ports[4]}", *flags),
        ],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    address = f"http://127.0.0.1:{ports[1]}"
    try:
        wait_until_ready(address, head)
        yield address
    finally:
        head.send_signal(signal.SIGTERM)
        try:
            head.wait(30)
        except subprocess.TimeoutExpired:
            head.kill()
            head.wait()
        shutil.rmtree(folder, ignore_errors=True)


def wait_until_ready(address: str, head: subprocess.Popen[bytes]) -> None:
    """Return when the head takes jobs; fail when it ends or takes too long."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        assert head.poll() is None, f"the Ray head ended with {head.returncode}"
        try:
            with urllib.request.urlopen(f"{address}/api/jobs/", timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    raise AssertionError(f"the Ray head did not answer within {READY_S} s")


def free_ports(n: int) -> list[int]:
    """Return ports of loopback that were free a moment ago."""
    sockets = [socket.socket() for _ in range(n)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
