"""The variants: each breaks one promise by a patch in memory, and names tests that must fail.

A patch is applied in a process of its own (`tests.mutations.run`) and never undone.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from pipeline import checks, execution, flow, order, runs, sink, storage, tasks, watch
from pipeline.errors import ConflictError
from pipeline.publish import cleanup, commit, heartbeat, rollback, tables, target

Patch = pytest.MonkeyPatch

_PROMISES = "tests/test_promises.py"
_PUBLISH = "tests/pipeline/publish"


class Variant(NamedTuple):
    """One way to break a promise.

    Attributes
    ----------
    promise : str
        P1 to P8, as in the README.
    apply : callable
        Patches the product.
    caught_by : tuple of str
        Tests, as pytest names them, of which at least one must fail with it.
    is_quick : bool
        Also part of ``make test``.
    """

    promise: str
    apply: Callable[[Patch], None]
    caught_by: tuple[str, ...]
    is_quick: bool = False


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


def retried_commit(patch: Patch) -> None:
    """P5: a commit that lost is tried again on top of the winner's."""
    real = commit.CommitProperties

    def properties(**options: Any) -> Any:
        return real(**{**options, "max_commit_retries": 15, "app_transactions": []})

    patch.setattr(commit, "CommitProperties", properties)


def stale_base(patch: Patch) -> None:
    """P5: a run commits upon what is there now, not upon what it started from."""

    def find_base(start: Any, table: str, run_id: str, names: frozenset[str]) -> Any:
        return target.head_version(storage.join(start.uri, table))

    patch.setattr(tables, "_find_base", find_base)


def winner_not_named(patch: Patch) -> None:
    """P5: who lost is told nothing of who won."""
    patch.setattr(commit, "conflict", lambda uri, version: ConflictError(f"{uri}: try again"))
    patch.setattr(tables, "conflict", lambda uri, version: ConflictError(f"{uri}: try again"))


def lost_reply_is_a_failure(patch: Patch) -> None:
    """P5: a commit whose reply was lost is not looked for in the log."""
    real = commit._has_landed
    patch.setattr(
        commit,
        "_has_landed",
        lambda uri, version, marker, reason: reason is None and real(uri, version, marker, reason),
    )


def reply_believed(patch: Patch) -> None:
    """P5: "done" is believed without looking."""
    real = commit._has_landed
    patch.setattr(
        commit,
        "_has_landed",
        lambda uri, version, marker, reason: reason is None or real(uri, version, marker, reason),
    )


def all_runs_dead(patch: Patch) -> None:
    """P6: vacuum takes every run that has not published for dead."""
    patch.setattr(cleanup, "is_silent", lambda beat, now_s: True)


def unknown_runs_dead(patch: Patch) -> None:
    """P6: a run without a heartbeat is taken for dead."""
    long_ago = heartbeat.Heartbeat(0.0, 60.0)
    real = cleanup.read_heartbeat
    patch.setattr(cleanup, "read_heartbeat", lambda uri, run_id: real(uri, run_id) or long_ago)


def retention_forgotten(patch: Patch) -> None:
    """P6: vacuum keeps the newest version alone."""
    real = cleanup._retained
    patch.setattr(cleanup, "_retained", lambda uri, head, since_s: real(uri, head, since_s)[-1:])


def output_among_inputs(patch: Patch) -> None:
    """P6: an output inside of an input is taken."""
    patch.setattr(target, "_refuse_nesting", lambda output, inputs: None)


def foreign_output_taken(patch: Patch) -> None:
    """P6: an output that holds something else is taken."""
    patch.setattr(target, "_require_leftovers", lambda output, versions: None)


def one_table_restored(patch: Patch) -> None:
    """P7: going back changes `compacted` alone."""
    patch.setattr(rollback, "TABLES", ("compacted",))


def restored_without_files(patch: Patch) -> None:
    """P7: going back to a version does not look whether its files are there."""
    patch.setattr(rollback, "missing_files", lambda uri, versions: [])


def many_attempts(patch: Patch) -> None:
    """P8: a commit that the store refuses is tried on and on."""
    patch.setattr(commit, "_ATTEMPTS", 1000)


def endless_retries(patch: Patch) -> None:
    """P8: Ray does a task again for ever, as is its default."""
    patch.setitem(execution.ACTOR, "max_task_retries", -1)


def no_deadline(patch: Patch) -> None:
    """P8: a deadline passes."""
    patch.setattr(watch.Watch, "check", lambda self: None)


def progress_forgotten(patch: Patch) -> None:
    """P8: a run may go on for ever without a finished unit."""
    patch.setattr(watch.Watch, "progress", lambda self, done, total: None)


def records_not_used(patch: Patch) -> None:
    """P8: a run that goes on does all units again."""
    patch.setattr(runs, "read_records", lambda output, run_id: [])


def records_believed(patch: Patch) -> None:
    """P8: a record counts, whether its files are there or not."""
    patch.setattr(runs, "_has_files", lambda output, record: True)


def live_files_rewritten(patch: Patch) -> None:
    """P1: a file of a live version is written anew with whatever comes out."""
    patch.setattr(tasks.UnitContext, "is_published", False)
    real = sink.write_unit
    patch.setattr(sink, "write_unit", lambda *arguments: real(*arguments[:4]))


VARIANTS: dict[str, Variant] = {
    variant.apply.__name__: variant
    for variant in (
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
                f"{_PUBLISH}/test_tables.py::test_readers_see_the_old_version_or_the_new_one_whole",
                f"{_PUBLISH}/test_tables.py::"
                "test_a_crash_between_commits_is_completed_by_running_again",
            ),
            is_quick=True,
        ),
        Variant(
            "P1",
            files_not_verified,
            (f"{_PROMISES}::test_a_valid_but_shorter_file_is_not_published",),
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
            (f"{_PROMISES}::test_inputs_that_change_stop_the_run",),
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
            (f"{_PROMISES}::test_a_run_that_lost_a_row_is_not_published",),
            is_quick=True,
        ),
        Variant(
            "P3",
            counters_in_the_process,
            (f"{_PROMISES}::test_only_the_unit_in_flight_is_done_twice",),
        ),
        Variant(
            "P4",
            ties_as_they_come,
            ("tests/pipeline/test_unit.py::test_row_order_changes_nothing",),
            is_quick=True,
        ),
        Variant("P4", ties_by_row_only, ("tests/pipeline/test_unit.py::test_unit_equals_model",)),
        Variant("P4", never_landed, (f"{_PROMISES}::test_running_again_does_nothing",)),
        Variant(
            "P4",
            another_name_each_time,
            ("tests/pipeline/test_sink.py::test_files_and_record_are_written_and_read_back",),
        ),
        Variant(
            "P5",
            retried_commit,
            (f"{_PUBLISH}/test_commit.py::test_of_racing_commits_one_lands",),
        ),
        Variant(
            "P5",
            stale_base,
            (
                f"{_PUBLISH}/test_tables.py::test_a_stale_target_loses_and_is_told_to_whom",
                f"{_PUBLISH}/test_tables.py::test_a_foreign_commit_is_a_conflict_and_is_not_kept",
            ),
        ),
        Variant(
            "P5",
            winner_not_named,
            (f"{_PUBLISH}/test_commit.py::test_a_stale_base_is_refused",),
        ),
        Variant(
            "P5",
            lost_reply_is_a_failure,
            (f"{_PUBLISH}/test_commit.py::test_a_lost_reply_is_read_back",),
            is_quick=True,
        ),
        Variant(
            "P5",
            reply_believed,
            (f"{_PUBLISH}/test_commit.py::test_a_reply_that_lies_is_not_believed",),
        ),
        Variant(
            "P6",
            all_runs_dead,
            (f"{_PUBLISH}/test_cleanup.py::test_files_of_a_run_that_may_live_are_kept",),
            is_quick=True,
        ),
        Variant(
            "P6",
            unknown_runs_dead,
            (
                f"{_PUBLISH}/test_cleanup.py::test_files_of_a_run_that_may_live_are_kept",
                f"{_PUBLISH}/test_cleanup.py::test_what_is_not_ours_is_kept",
            ),
        ),
        Variant(
            "P6",
            retention_forgotten,
            (
                f"{_PUBLISH}/test_cleanup.py::"
                "test_a_set_is_retained_whole_though_one_table_lost_it_earlier",
                f"{_PUBLISH}/test_cleanup.py::test_retention_counts_from_when_a_version_was_replaced",
            ),
        ),
        Variant(
            "P6",
            output_among_inputs,
            (f"{_PUBLISH}/test_target.py::test_nested_input_and_output_are_refused",),
        ),
        Variant(
            "P6",
            foreign_output_taken,
            (f"{_PUBLISH}/test_target.py::test_foreign_content_is_refused_and_named",),
        ),
        Variant(
            "P7",
            one_table_restored,
            (
                f"{_PROMISES}::test_going_back_is_commits_of_metadata_only",
                f"{_PUBLISH}/test_rollback.py::test_restore_is_one_commit_per_table",
            ),
            is_quick=True,
        ),
        Variant(
            "P7",
            restored_without_files,
            (f"{_PUBLISH}/test_rollback.py::test_files_that_were_deleted_cannot_be_restored",),
        ),
        Variant(
            "P8",
            many_attempts,
            (
                f"{_PUBLISH}/test_commit.py::"
                "test_a_store_that_always_refuses_ends_after_few_attempts",
            ),
            is_quick=True,
        ),
        Variant(
            "P8",
            endless_retries,
            ("tests/pipeline/test_cluster.py::test_ray_does_nothing_again_for_ever",),
        ),
        Variant(
            "P8",
            no_deadline,
            (
                "tests/pipeline/test_watch.py::"
                "test_in_another_thread_limits_are_checked_where_it_asks",
            ),
        ),
        Variant(
            "P8",
            progress_forgotten,
            (
                "tests/pipeline/test_watch.py::"
                "test_no_progress_counts_from_the_last_unit_and_only_while_units_are_done",
            ),
        ),
        Variant(
            "P8",
            records_not_used,
            (f"{_PROMISES}::test_only_the_unit_in_flight_is_done_twice",),
        ),
        Variant(
            "P8",
            records_believed,
            ("tests/pipeline/test_runs.py::test_only_records_whose_files_are_whole_count",),
        ),
    )
}
"""By name."""
