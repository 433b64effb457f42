"""Errors of Maskpress: one base, one subclass per kind of cause.

Every message says what was expected, what came, where, and what to do. All of
them survive pickling, because they cross Ray's process boundaries: they take
positional arguments only, and keep them in ``args``.
"""

from __future__ import annotations

from collections.abc import Iterator


class CompactionError(Exception):
    """Base of every error that Maskpress raises on purpose.

    Parameters
    ----------
    message : str
        What was expected, what came, where, and what to do.
    """

    exit_code = 5

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class ConfigError(CompactionError):
    """A flag, a config file or a target that cannot be used as given."""

    exit_code = 2


class SchemaError(CompactionError):
    """An input whose structure or types cannot be read as instances."""

    exit_code = 2


class MaskError(CompactionError):
    """Mask data that breaks the contract of a kernel (not a bad input row)."""

    exit_code = 2


class InputError(CompactionError):
    """An input file that is missing, damaged, or changed during the run."""

    exit_code = 2


class StorageError(CompactionError):
    """A file system or object store that failed or refused."""

    exit_code = 5


class ClusterError(CompactionError):
    """A head of Ray that was lost during the run."""

    exit_code = 5


class ConflictError(CompactionError):
    """Another run published to the same output first."""

    exit_code = 4


class GateError(CompactionError):
    """A gate or the reject limit stopped the publication."""

    exit_code = 6


class DeadlineError(CompactionError):
    """The time of ``--run.deadline`` was over; what is done is kept for the next run."""

    exit_code = 124


class CommitUnknownError(CompactionError):
    """Whether a commit landed could not be found out."""

    exit_code = 75


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what caused it; Ray keeps the cause in an attribute of its own."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        found = queue.pop()
        if found is None or id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        queue += [found.__cause__, getattr(found, "cause", None)]
