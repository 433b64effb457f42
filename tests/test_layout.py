"""The shape of the checkout: names, lengths, and what may never be committed."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
JOBS = sorted((ROOT / "jobs").glob("*.py"))
MAX_LINES = 400

REGISTRY = re.compile(
    rb"pypi[.]|pythonhosted[.]|registry[.]|/npm[.]|index[-_]url|[/]simple/|artifactory[.]"
)
"""Package indexes by their hosts, their paths and the options that name one."""


def tracked_files() -> list[Path]:
    """Return what git tracks, or would; in an export without git, everything that it could."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout: nothing says which files are tracked")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    out = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    paths = [ROOT / os.fsdecode(name) for name in out.split(b"\0") if name]
    return [path for path in paths if path.is_file()]


def places(paths: list[Path], forbidden: re.Pattern[bytes]) -> list[str]:
    """Return file:line of every line that matches."""
    return [
        f"{path.relative_to(ROOT)}:{number}"
        for path in paths
        for number, line in enumerate(path.read_bytes().splitlines(), start=1)
        if forbidden.search(line)
    ]


def test_jobs_hide_no_module() -> None:
    # jobs/ is sys.path[0] of every job and its workers: jobs/inspect.py would be `inspect`.
    assert JOBS, "expected entry scripts in jobs/"
    installed = importlib.metadata.packages_distributions()
    taken = sys.stdlib_module_names | installed.keys()
    assert [path.name for path in JOBS if path.stem in taken] == []


@pytest.mark.parametrize("folder", ["pipeline", "schemas", "jobs"])
def test_files_are_short(folder: str) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in (ROOT / folder).rglob("*.py")}
    too_long = {str(path.relative_to(ROOT)): n for path, n in lengths.items() if n > MAX_LINES}
    assert too_long == {}


def test_jobs_leave_ray_delta_and_fsspec_to_the_pipeline() -> None:
    # import-linter sees packages only, and jobs/ is none.
    forbidden = re.compile(rb"^\s*(import|from)\s+(ray|deltalake|fsspec)\b")
    assert places(JOBS, forbidden) == []


def test_pipeline_and_schemas_import_no_job() -> None:
    paths = [path for folder in ("pipeline", "schemas") for path in (ROOT / folder).rglob("*.py")]
    assert places(paths, re.compile(rb"^\s*(import|from)\s+jobs\b")) == []


def test_pycocotools_is_imported_by_the_oracle_only() -> None:
    # Scripts that make golden files write what others think of them; no test runs them.
    made = set((ROOT / "tests" / "golden").glob("make_*.py"))
    paths = [path for path in (ROOT / "tests").rglob("*.py") if path.name != "oracle.py"]
    paths = [path for path in paths if path not in made]
    paths += [path for f in ("pipeline", "schemas", "jobs") for path in (ROOT / f).rglob("*.py")]
    assert places(paths, re.compile(rb"^\s*(import|from)\s+pycocotools\b")) == []


def test_no_registry_address_is_tracked() -> None:
    assert places(tracked_files(), REGISTRY) == []


def test_no_path_of_one_machine_is_tracked() -> None:
    folders = {os.fsencode(ROOT) + b"/", os.fsencode(Path.home()) + b"/"}
    names = rb"(?<![\w.])/(root|work|home/\w+|Users/\w+)/"
    forbidden = re.compile(b"|".join([names, *map(re.escape, sorted(folders))]))
    assert places(tracked_files(), forbidden) == []


def test_no_lock_file_is_tracked() -> None:
    assert [str(path) for path in tracked_files() if path.name == "uv.lock"] == []


def test_constraints_are_pins_and_nothing_else() -> None:
    pin = re.compile(r"[a-z0-9][a-z0-9-]*==[0-9][0-9a-z.]*( ; [a-z_]+ .+)?")
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    assert [line for line in lines if not pin.fullmatch(line)] == []
    assert "torch==2.13.0" in lines


@pytest.mark.parametrize("job", JOBS, ids=lambda path: path.stem)
def test_every_job_has_help(job: Path, tmp_path: Path) -> None:
    # From another folder, as a person would who has put the checkout beside the data.
    command = [sys.executable, str(job), "--help"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "usage:" in done.stdout.lower()
    assert list(tmp_path.iterdir()) == []
