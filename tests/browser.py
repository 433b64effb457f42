"""Chromium without a window: what it makes of a page, and what it complains about."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--log-level=0",
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
)


class Seen(NamedTuple):
    """The page after it was loaded, and the lines that it wrote to the console."""

    dom: str
    console: list[str]


def find_chromium() -> str:
    """Return the browser's path; skips where it is absent, but never in CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if found is None:
        if os.environ.get("CI"):
            pytest.fail("chromium is absent in CI: expected .ci/run to install it")
        pytest.skip("chromium is absent: install Debian's package chromium")
    return found


def look_at(url: str, profile: Path, width: int = 1200, screenshot: Path | None = None) -> Seen:
    """Load a page once; with `screenshot` a picture is made instead of the DOM."""
    what = f"--screenshot={screenshot}" if screenshot else "--dump-dom"
    command = [find_chromium(), *FLAGS, f"--user-data-dir={profile}", what]
    done = subprocess.run(
        [*command, f"--window-size={width},900", url],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return Seen(done.stdout, [line for line in done.stderr.splitlines() if "CONSOLE" in line])
