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
def running_head(environment: dict[str, str] | None = None) -> Iterator[Head]:
    """Start a head with two CPUs."""
    ports = free_ports(5)
    folder = Path(tempfile.mkdtemp(prefix="mp-ray-"))  # short: sockets lie below it
    names = ("port", "dashboard-port", "dashboard-agent-listen-port", "ray-client-server-port")
    flags = [f"--{name}={port}" for name, port in zip(names, ports, strict=False)]
    flags += [f"--temp-dir={folder}", f"--dashboard-agent-grpc-port={ports[4]}"]
    head = _start(["--head", "--num-cpus=2", "--dashboard-host=127.0.0.1", *flags], environment)
    address = f"http://127.0.0.1:{ports[1]}"
    try:
        wait_until_ready(address, head)
        yield Head(address, f"127.0.0.1:{ports[0]}")
    finally:
        _end(head)
        shutil.rmtree(folder, ignore_errors=True)


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
            if has_joined(head, node):
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


def has_joined(head: Head, node: subprocess.Popen[bytes]) -> bool:
    """Return whether a head comes to know of two nodes; Ray gives a node 30 s to start."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and node.poll() is None:
        try:
            url = f"{head.dashboard}/nodes?view=summary"
            with urllib.request.urlopen(url, timeout=30) as reply:
                nodes = json.load(reply)["data"]["summary"]
        except OSError:
            nodes = []
        if sum(each["raylet"].get("state") == "ALIVE" for each in nodes) == 2:
            return True
        time.sleep(0.5)
    return False


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
