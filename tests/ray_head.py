"""A Ray head of its own on loopback, as a cluster's users have it; ended by its pid."""

from __future__ import annotations

import json
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
from typing import NamedTuple

ENVIRONMENT = {
    **os.environ,
    "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
}
READY_S = 120
ATTEMPTS = 3


class Head(NamedTuple):
    """Where a head takes jobs, and where drivers and other nodes join it."""

    dashboard: str
    gcs: str


@contextmanager
def running_head(environment: dict[str, str] | None = None, *more: str) -> Iterator[Head]:
    """Start a head with two CPUs; more flags of `ray start` go last."""
    for _ in range(ATTEMPTS):
        ports = free_ports(5)
        folder = Path(tempfile.mkdtemp(prefix="mp-ray-"))  # short: sockets lie below it
        names = ("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port")
        flags = [f"--{name}={port}" for name, port in zip(names, ports, strict=False)]
        flags += [f"--temp-dir={folder}", f"--dashboard-agent-grpc-port={ports[4]}"]
        flags += ["--head", "--num-cpus=2", "--dashboard-host=127.0.0.1"]
        process = _start([*flags, *more], environment)
        head = Head(f"http://127.0.0.1:{ports[1]}", f"127.0.0.1:{ports[0]}")
        try:
            if takes_jobs(head, process) and has_nodes(head, process, 1):
                yield head
                return
        finally:
            _end(process)
            shutil.rmtree(folder, ignore_errors=True)
    raise AssertionError(f"a Ray head did not start in {ATTEMPTS} attempts")


@contextmanager
def join_head(head: Head, environment: dict[str, str]) -> Iterator[None]:
    """Add a second node with one CPU to a head."""
    for _ in range(ATTEMPTS):
        ports = free_ports(2)
        flags = ["--dashboard-agent-listen-port", "--dashboard-agent-grpc-port"]
        node = _start(
            [
                *(
                    f"--address={head.gcs}",
                    "--num-cpus=1",
                    "--min-worker-port=0",
                    "--max-worker-port=0",
                ),
                *(f"{flag}={port}" for flag, port in zip(flags, ports, strict=True)),
            ],
            environment,
        )
        try:
            if has_nodes(head, node, 2):
                yield
                return
        finally:
            _end(node)
    raise AssertionError(f"a second node did not start in {ATTEMPTS} attempts")


def _start(flags: list[str], environment: dict[str, str] | None) -> subprocess.Popen[bytes]:
    ray = str(Path(sys.executable).parent / "ray")
    return subprocess.Popen(
        [ray, "start", "--block", "--node-ip-address=127.0.0.1", *flags],
        env={**ENVIRONMENT, **(environment or {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def _end(node: subprocess.Popen[bytes]) -> None:
    node.send_signal(signal.SIGTERM)
    try:
        node.wait(30)
    except subprocess.TimeoutExpired:
        node.kill()
        node.wait()


def has_nodes(head: Head, node: subprocess.Popen[bytes], count: int) -> bool:
    """Return whether a head comes to know of its nodes; Ray gives a node 30 s to start."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and node.poll() is None:
        try:
            url = f"{head.dashboard}/nodes?view=summary"
            with urllib.request.urlopen(url, timeout=30) as reply:
                nodes = json.load(reply)["data"]["summary"]
        except OSError:
            nodes = []
        if sum(each["raylet"].get("state") == "ALIVE" for each in nodes) == count:
            return True
        time.sleep(0.5)
    return False


def takes_jobs(head: Head, process: subprocess.Popen[bytes]) -> bool:
    """Return whether a head comes to take jobs; not if it ends or takes too long."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(f"{head.dashboard}/api/jobs/", timeout=5):
                return True
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.5)
    return False


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
