"""P1 to P4: variants of what a reader finds, of which bytes, and of which rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from pipeline import checks, flow, order, runs, sink, storage, tasks
from pipeline.publish import tables
from tests.mutations.variant import PROMISES, PUBLISH, Patch, Variant


def no_temporary_file(patch: Patch) -> None:
    """P1: a file is written under its own name from the first byte on."""

    def write_bytes(uri: str, data: bytes | memoryview) -> None:
        path = storage.local_path(uri)
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(path, "wb") as stream:
            stream.write(data)
            storage.os.fsync(stream.fileno())

    patch.setattr(storage, "write_bytes", write_bytes)


def compacted_first(patch: Patch) -> None:
    """P1: `compacted` is committed before the tables that belong to it."""
    real = tables.commit_files
    waiting: list[tuple[Any, ...]] = []
    is_last = [False]

    def commit_files(table_uri: str, base: int | None, *rest: Any) -> int:
        if is_last[0]:
            return real(table_uri, base, *rest)
        waiting.append((table_uri, base, *rest))
        if table_uri.endswith("/compacted"):
            is_last[0] = True
            for arguments in reversed(waiting):
                tables.commit_files(*arguments)  # as a test may have wrapped it
            is_last[0] = False
            waiting.clear()
        return 0 if base is None else base + 1

    patch.setattr(tables, "commit_files", commit_files)


def files_not_verified(patch: Patch) -> None:
    """P1: a commit is made before what it names was looked at."""
    patch.setattr(checks.publish, "verify_files", lambda *arguments: None)


def live_files_rewritten(patch: Patch) -> None:
    """P1: a file of a live version is written anew with whatever comes out."""
    patch.setattr(tasks.UnitContext, "is_published", False)
    real = sink.write_unit
    patch.setattr(sink, "write_unit", lambda *arguments: real(*arguments[:4]))


def inputs_not_checked(patch: Patch) -> None:
    """P2: what happened to the inputs during the run is not asked."""
    patch.setattr(storage, "changed_files", lambda inventory: [])


def tag_of_times(patch: Patch) -> None:
    """P2: an input's content is told by its size."""
    patch.setattr(storage, "_hash", lambda path: str(Path(path).stat().st_size))


def rows_not_counted(patch: Patch) -> None:
    """P3: conservation is not checked before the commit."""
    patch.setattr(checks, "_require_conservation", lambda plan, records: None)


def counters_in_the_process(patch: Patch) -> None:
    """P3: what became of rows is counted in the process that did them, not in their record."""
    real_write, real_read = runs.write_record, runs.read_records
    kept: dict[tuple[str, int], Any] = {}

    def write_record(output: str, record: Any) -> None:
        kept[output, record.unit] = record.sources
        record.sources = {}
        real_write(output, record)
        record.sources = kept[output, record.unit]

    def read_records(output: str, run_id: str) -> Any:
        kept.clear()  # another process
        return real_read(output, run_id)

    patch.setattr(runs, "write_record", write_record)
    patch.setattr(runs, "read_records", read_records)


def ties_as_they_come(patch: Patch) -> None:
    """P4: rows of equal score and area stay in the order in which they were read."""
    patch.setattr(order, "_break_ties", lambda instances, order_N, keys: order_N)


def ties_by_row_only(patch: Patch) -> None:
    """P4: the total order forgets the mask, the category and the id of a row."""
    patch.setattr(order, "_TIE_KEYS", ("source", "source_row"))


def never_landed(patch: Patch) -> None:
    """P4: a run does not see that it has landed before."""
    patch.setattr(flow, "is_live", lambda target, run_id: False)


def another_name_each_time(patch: Patch) -> None:
    """P4: files have names that another attempt does not find again."""
    patch.setattr(
        sink, "file_name", lambda unit, run_id: f"part-{np.random.randint(99999):05d}-{run_id}"
    )


VARIANTS = (
    Variant(
        "P1",
        no_temporary_file,
        (
            "tests/pipeline/test_storage.py::"
            "test_a_write_is_not_visible_under_its_name_before_it_is_whole",
        ),
        is_quick=True,
    ),
    Variant(
        "P1",
        compacted_first,
        (
            f"{PUBLISH}/test_tables.py::test_readers_see_the_old_version_or_the_new_one_whole",
            f"{PUBLISH}/test_tables.py::test_a_crash_between_commits_is_completed_by_running_again",
        ),
        is_quick=True,
    ),
    Variant(
        "P1",
        files_not_verified,
        (f"{PROMISES}::test_a_valid_but_shorter_file_is_not_published",),
        is_quick=True,
    ),
    Variant(
        "P1",
        live_files_rewritten,
        ("tests/pipeline/test_rebuild.py::test_live_files_are_never_written_with_other_bytes",),
    ),
    Variant(
        "P2",
        inputs_not_checked,
        (f"{PROMISES}::test_inputs_that_change_stop_the_run",),
        is_quick=True,
    ),
    Variant(
        "P2",
        tag_of_times,
        (
            "tests/pipeline/test_storage.py::test_changed_and_removed_files_are_named",
            "tests/pipeline/test_storage.py::test_tag_and_size_are_of_the_content",
        ),
    ),
    Variant(
        "P3",
        rows_not_counted,
        (f"{PROMISES}::test_a_run_that_lost_a_row_is_not_published",),
        is_quick=True,
    ),
    Variant(
        "P3",
        counters_in_the_process,
        (f"{PROMISES}::test_only_the_unit_in_flight_is_done_twice",),
    ),
    Variant(
        "P4",
        ties_as_they_come,
        ("tests/pipeline/test_unit.py::test_row_order_changes_nothing",),
        is_quick=True,
    ),
    Variant("P4", ties_by_row_only, ("tests/pipeline/test_unit.py::test_unit_equals_model",)),
    Variant("P4", never_landed, (f"{PROMISES}::test_running_again_does_nothing",)),
    Variant(
        "P4",
        another_name_each_time,
        ("tests/pipeline/test_sink.py::test_files_and_record_are_written_and_read_back",),
    ),
)
