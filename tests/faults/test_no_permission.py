"""A key of S3 that is there and may not be read: the error names it, and nothing is written."""

from __future__ import annotations

import secrets
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest

from pipeline import storage
from pipeline.errors import StorageError
from tests.faults import small
from tests.faults.proxy import Fault, Proxy, Request, proxied
from tests.seaweed import BUCKET, S3Server, use_s3

ROOT = Path(__file__).resolve().parents[2]
DENIED = "second.json"


@pytest.fixture(scope="module")
def inputs(
    s3_server: S3Server, tmp_path_factory: pytest.TempPathFactory
) -> Generator[tuple[str, Proxy]]:
    """Give a folder of two files on S3, of which the second one is denied."""
    folder = f"{secrets.token_hex(6)}/in"
    with (
        pytest.MonkeyPatch.context() as patch,
        proxied(s3_server.endpoint) as (proxy, endpoint),
        use_s3(s3_server, patch, endpoint),
    ):
        for path in small.write_inputs(tmp_path_factory.mktemp("inputs")):
            storage.write_bytes(f"s3://{BUCKET}/{folder}/{path.name}", path.read_bytes())
        yield f"s3://{BUCKET}/{folder}", proxy


def deny(proxy: Proxy, *verbs: str) -> None:
    def decide(request: Request) -> Fault | None:
        return "deny" if request.key.endswith(DENIED) and request.verb in verbs else None

    proxy.rule = decide
    proxy.seen.clear()


def read_all(uri: str) -> None:
    for file in storage.list_inputs([uri]):
        storage.read_bytes(file.uri, 0, file.file_bytes)


@pytest.mark.parametrize(
    ("verbs", "done"), [(("HEAD", "GET"), "stat"), (("GET",), "read")], ids=["all", "reading"]
)
def test_a_denied_key_is_named(
    inputs: tuple[str, Proxy], verbs: tuple[str, ...], done: str
) -> None:
    uri, proxy = inputs
    deny(proxy, *verbs)
    with pytest.raises(StorageError) as raised:
        read_all(uri)
    assert raised.value.message.startswith(f"{uri}/{DENIED}: could not {done} it: ")
    assert raised.value.message.endswith("; this run has no permission for it")
    assert len(proxy.requests()) < 12, "what is denied is asked for again and again"


def test_the_command_ends_with_the_key_and_exit_code_5(inputs: tuple[str, Proxy]) -> None:
    uri, proxy = inputs
    deny(proxy, "HEAD", "GET")
    output = f"{uri.removesuffix('/in')}/out"
    done = subprocess.run(
        [sys.executable, "jobs/compact.py", uri, "--output", output],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 5, done.stdout + done.stderr
    assert f"error: {uri}/{DENIED}: could not stat it: " in done.stderr
    assert "no permission" in done.stderr
    assert not storage.exists(output)
