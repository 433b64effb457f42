"""The small job on S3, whose requests go through a proxy that lets them fail."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from pipeline import publish, storage
from pipeline.config import CompactConfig, DedupConfig
from pipeline.publish import commit, log
from pipeline.records import TABLES
from tests.faults import small
from tests.faults.proxy import Proxy, proxied
from tests.seaweed import BUCKET, S3Server, use_s3

TIMEOUT_S = 1
"""How long a client waits for a reply here, where it would wait 15 or 30 s."""

Options = Callable[[str], dict[str, str]]


class Store(msgspec.Struct):
    """Inputs and undisturbed outputs on S3, and the proxy before it."""

    uri: str
    proxy: Proxy
    first: dict[str, bytes]
    """Every object of the output of a run with `small.OLD`, by its name below the output."""
    old: small.Content
    new: small.Content

    def config(self, output: str, dedup: DedupConfig = small.NEW) -> CompactConfig:
        """Return the settings of a run."""
        return small.configure([f"{self.uri}/in"], output, dedup)

    def prepare(self) -> str:
        """Return an output of its own that holds the older publication."""
        self.proxy.rule = lambda request: None
        output = f"{self.uri}/{secrets.token_hex(4)}"
        for name, data in self.first.items():
            storage.write_bytes(f"{output}/{name}", data)
        self.proxy.seen.clear()
        return output

    def check(self, output: str, is_published: bool | None) -> None:
        """Check what a reader sees, run again undisturbed, and compare (None: either is right)."""
        self.proxy.rule = lambda request: None
        found = small.content(output)
        if is_published is None:
            assert found in (self.old, self.new)
        else:
            assert found == (self.new if is_published else self.old)
        small.run(self.config(output))
        assert small.content(output) == self.new
        assert small.content(output, 0) == self.old
        assert publish.inspect_target(output, []).versions == dict.fromkeys(TABLES, 1)
        assert small.verify(output, is_all=True).problems == []


@contextmanager
def stored(server: S3Server, folder: Path) -> Generator[Store]:
    """Give the small job on S3; all that this process asks of S3 goes through the proxy."""
    uri = f"s3://{BUCKET}/{secrets.token_hex(6)}"
    with (
        pytest.MonkeyPatch.context() as patch,
        proxied(server.endpoint) as (proxy, endpoint),
        _hurried(patch),
        use_s3(server, patch, endpoint),
    ):
        for path in small.write_inputs(folder):
            storage.write_bytes(f"{uri}/in/{path.name}", path.read_bytes())
        store = Store(uri, proxy, {}, {}, {})
        small.run(store.config(f"{uri}/old", small.OLD))
        store.old = small.content(f"{uri}/old")
        store.first = _objects(f"{uri}/old")
        output = store.prepare()
        small.run(store.config(output))
        store.new = small.content(output)
        yield store


@contextmanager
def _hurried(patch: pytest.MonkeyPatch) -> Generator[None]:
    """Let clients that are made from now on wait less, for a reply and between attempts."""
    patch.setattr("s3fs.S3FileSystem.read_timeout", TIMEOUT_S)
    patch.setattr("botocore.retryhandler.delay_exponential", lambda **of: 0.01)
    for module in (commit, log):
        patch.setattr(module, "delta_options", _hurry(module.delta_options))
    yield


def _hurry(options: Options) -> Options:
    waits = {
        "timeout": f"{TIMEOUT_S}s",
        "backoff_config.init_backoff": "10ms",
        "backoff_config.max_backoff": "20ms",
    }
    return lambda uri: {**options(uri), **waits}


def _objects(uri: str) -> dict[str, bytes]:
    fs, folder = storage.file_system(uri)
    return {name.removeprefix(f"{folder}/"): fs.cat_file(name) for name in fs.find(folder)}
