from __future__ import annotations

import os
import signal
from collections.abc import Callable

import pytest

from pipeline import errors
from pipeline.cli import run_job


def raising(error: BaseException) -> Callable[[], int]:
    def main() -> int:
        raise error

    return main


def test_a_job_that_ends_has_its_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_job(lambda: 0) == 0
    assert run_job(lambda: 3) == 3
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.ConfigError, 2),
        (errors.SchemaError, 2),
        (errors.InputError, 2),
        (errors.ConflictError, 4),
        (errors.StorageError, 5),
        (errors.ClusterError, 5),
        (errors.GateError, 6),
        (errors.CommitUnknownError, 75),
        (errors.DeadlineError, 124),
    ],
)
def test_an_error_is_one_line_and_a_code(
    kind: type[errors.CompactionError], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_job(raising(kind("what came, and where"))) == code
    assert capsys.readouterr() == ("", "error: what came, and where\n")


def test_an_error_that_a_worker_raised_is_unwrapped(capsys: pytest.CaptureFixture[str]) -> None:
    class TaskError(Exception):
        def __init__(self, cause: Exception) -> None:
            super().__init__("a long traceback")
            self.cause = cause

    inner = RuntimeError("user code failed")
    inner.__cause__ = errors.SchemaError("a bad file")
    assert run_job(raising(TaskError(inner))) == 2
    assert capsys.readouterr().err == "error: a bad file\n"


def test_any_other_error_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_job(raising(ZeroDivisionError("by zero"))) == 5
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("ZeroDivisionError: by zero\n")


def test_errors_that_cause_each_other_end(capsys: pytest.CaptureFixture[str]) -> None:
    first, second = ValueError("first"), ValueError("second")
    first.__cause__, second.__cause__ = second, first
    assert run_job(raising(first)) == 5
    assert "first" in capsys.readouterr().err


def test_ctrl_c(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_job(raising(KeyboardInterrupt())) == 130
    assert capsys.readouterr().err.startswith("interrupted: the same command continues")


def test_sigterm_unwinds_and_the_handler_before_comes_back(
    capsys: pytest.CaptureFixture[str],
) -> None:
    cleaned: list[str] = []

    def main() -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            signal.pause()
        except Exception:
            cleaned.append("no step may take it for its own failure")
        finally:
            cleaned.append("finally")
        return 0

    before = signal.getsignal(signal.SIGTERM)
    assert run_job(main) == 143
    assert cleaned == ["finally"]
    assert capsys.readouterr().err.startswith("terminated: the same command continues")
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_command_line_ends_by_itself() -> None:
    with pytest.raises(SystemExit) as caught:
        run_job(raising(SystemExit(2)))
    assert caught.value.code == 2
