"""The main job from and to a real S3 server, through the command line; and stores that refuse."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

from pipeline import storage
from tests.pipeline.read.files import make_row
from tests.ray_head import free_ports
from tests.seaweed import s3_server, s3_uri

__all__ = ["s3_server", "s3_uri"]

ROOT = Path(__file__).resolve().parents[2]

LIMIT_S = 120
"""Within which a store that refuses is given up, on a machine that is busy with much else."""


def job(name: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a job in the environment of the test, with these variables instead."""
    return subprocess.run(
        [sys.executable, str(ROOT / "jobs" / f"{name}.py"), *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )


@pytest.fixture
def inputs(s3_uri: str) -> str:
    """Two files of 20 images each with two masks that are the same."""
    for name, first in (("a", 0), ("b", 20)):
        rows = [make_row(image_id=first + n // 2, score=0.5 + n % 2 / 4) for n in range(40)]
        storage.write_bytes(storage.join(s3_uri, "in", f"{name}.json"), json.dumps(rows).encode())
    return storage.join(s3_uri, "in")


@pytest.mark.timeout(900)
def test_whole_job_through_ray(s3_uri: str, inputs: str) -> None:
    output = storage.join(s3_uri, "out")
    # Workers are asked for, and units are small: so nothing is done by the driver itself.
    ask = ("--run.workers", "1", "--run.unit_bytes", "1000")
    done = job("compact", inputs, "--output", output, *ask)
    assert done.returncode == 0, done.stdout + done.stderr
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr
    options = {"AWS_ALLOW_HTTP": "true", "AWS_ENDPOINT_URL": os.environ["AWS_ENDPOINT_URL"]}
    kept = pl.read_delta(storage.join(output, "compacted"), storage_options=options)
    assert sorted(kept["image_id"].to_list()) == list(range(40))
    assert set(kept["score"].to_list()) == {0.75}
    assert "all is well" in job("verify", output, "--all").stdout
    again = job("compact", inputs, "--output", output, *ask)
    assert (again.returncode, "has already landed" in again.stdout) == (0, True)


REFUSALS = {
    "absent bucket": ("s3://maskpress-absent/in", "s3://maskpress-absent/out", {}),
    "wrong secret": ("{inputs}", "{inputs}-out", {"AWS_SECRET_ACCESS_KEY": "wrong"}),
    "wrong key": ("{inputs}", "{inputs}-out", {"AWS_ACCESS_KEY_ID": "nobody"}),
    "no server": ("{inputs}", "{inputs}-out", {"AWS_ENDPOINT_URL": "http://127.0.0.1:{port}"}),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_a_store_that_refuses_is_named_and_given_up(inputs: str, name: str) -> None:
    given, output, environment = REFUSALS[name]
    [port] = free_ports(1)
    environment = {key: value.format(port=port) for key, value in environment.items()}
    started = time.monotonic()
    done = job(
        "compact", given.format(inputs=inputs), "--output", output.format(inputs=inputs),
        **environment,
    )  # fmt: skip
    assert time.monotonic() - started < LIMIT_S
    assert done.returncode in (2, 5), done.stderr
    assert "Traceback" not in done.stderr
    assert "error: s3://" in done.stderr
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in done.stdout + done.stderr
