"""P5 to P8: variants of how runs meet, what they leave alone, are undone, and end."""

from __future__ import annotations

from typing import Any

from pipeline import execution, runs, storage, watch
from pipeline.errors import ConflictError
from pipeline.publish import cleanup, commit, heartbeat, rollback, tables, target
from tests.mutations.variant import PROMISES, PUBLISH, Patch, Variant


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


def head_forgotten(patch: Patch) -> None:
    """P8: whether the head of Ray is still there is not asked."""
    patch.setattr(watch.Watch, "look", lambda self: None)


VARIANTS = (
    Variant(
        "P5",
        retried_commit,
        (f"{PUBLISH}/test_commit.py::test_of_racing_commits_one_lands",),
    ),
    Variant(
        "P5",
        stale_base,
        (
            f"{PUBLISH}/test_tables.py::test_a_stale_target_loses_and_is_told_to_whom",
            f"{PUBLISH}/test_tables.py::test_a_foreign_commit_is_a_conflict_and_is_not_kept",
        ),
    ),
    Variant(
        "P5",
        winner_not_named,
        (f"{PUBLISH}/test_commit.py::test_a_stale_base_is_refused",),
    ),
    Variant(
        "P5",
        lost_reply_is_a_failure,
        (f"{PUBLISH}/test_commit.py::test_a_lost_reply_is_read_back",),
        is_quick=True,
    ),
    Variant(
        "P5",
        reply_believed,
        (f"{PUBLISH}/test_commit.py::test_a_reply_that_lies_is_not_believed",),
    ),
    Variant(
        "P6",
        all_runs_dead,
        (f"{PUBLISH}/test_cleanup.py::test_files_of_a_run_that_may_live_are_kept",),
        is_quick=True,
    ),
    Variant(
        "P6",
        unknown_runs_dead,
        (
            f"{PUBLISH}/test_cleanup.py::test_files_of_a_run_that_may_live_are_kept",
            f"{PUBLISH}/test_cleanup.py::test_what_is_not_ours_is_kept",
        ),
    ),
    Variant(
        "P6",
        retention_forgotten,
        (
            f"{PUBLISH}/test_cleanup.py::"
            "test_a_set_is_retained_whole_though_one_table_lost_it_earlier",
            f"{PUBLISH}/test_cleanup.py::test_retention_counts_from_when_a_version_was_replaced",
        ),
    ),
    Variant(
        "P6",
        output_among_inputs,
        (f"{PUBLISH}/test_target.py::test_nested_input_and_output_are_refused",),
    ),
    Variant(
        "P6",
        foreign_output_taken,
        (f"{PUBLISH}/test_target.py::test_foreign_content_is_refused_and_named",),
    ),
    Variant(
        "P7",
        one_table_restored,
        (
            f"{PROMISES}::test_going_back_is_commits_of_metadata_only",
            f"{PUBLISH}/test_rollback.py::test_restore_is_one_commit_per_table",
        ),
        is_quick=True,
    ),
    Variant(
        "P7",
        restored_without_files,
        (f"{PUBLISH}/test_rollback.py::test_files_that_were_deleted_cannot_be_restored",),
    ),
    Variant(
        "P8",
        many_attempts,
        (f"{PUBLISH}/test_commit.py::test_a_store_that_always_refuses_ends_after_few_attempts",),
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
        ("tests/pipeline/test_watch.py::test_in_another_thread_limits_are_checked_where_it_asks",),
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
        (f"{PROMISES}::test_only_the_unit_in_flight_is_done_twice",),
    ),
    Variant(
        "P8",
        records_believed,
        ("tests/pipeline/test_runs.py::test_only_records_whose_files_are_whole_count",),
    ),
    Variant(
        "P8",
        head_forgotten,
        ("tests/pipeline/test_watch.py::test_a_head_may_be_silent_for_a_while_and_no_longer",),
    ),
)
