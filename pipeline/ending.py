"""The end of a run whose units are done: check -> report -> gates -> commit -> page."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from pipeline import checks, cluster, evaluate, execution, publish, report, tasks, watch
from pipeline.config import CompactConfig
from pipeline.estimate import EncodingTrial
from pipeline.evaluate import Truth
from pipeline.plan import Plan
from pipeline.records import DataFile, GroupSample, UnitRecord


class Done(NamedTuple):
    """A run whose units are all done, and what its report needs beside them.

    Attributes
    ----------
    output : str
        URI of the output.
    plan, config : Plan, CompactConfig
        What was to be done, and how.
    records : sequence of UnitRecord
        Of all units.
    timer : Timer
        Goes on through the stages that follow.
    truth : Truth, optional
        The ground truth to compare with.
    images : ImageFolder, optional
        What pictures are drawn over.
    """

    output: str
    plan: Plan
    config: CompactConfig
    records: Sequence[UnitRecord]
    timer: report.Timer
    truth: Truth | None = None
    images: report.ImageFolder | None = None


class Reported(NamedTuple):
    """A checked run whose report is written, but for what follows the commit.

    Attributes
    ----------
    files : dict
        What is to be committed, by table.
    document : dict
        report.json.
    samples : list of GroupSample
        The groups that the page shows.
    encodings : callable
        Waits for what a sample of the masks takes in every encoding.
    """

    files: dict[str, list[DataFile]]
    document: dict[str, Any]
    samples: list[GroupSample]
    encodings: Callable[[], EncodingTrial]


def write_report(done: Done) -> Reported:
    """Check what the units left, and write the report that gates read.

    Raises
    ------
    CompactionError
        As `pipeline.checks.before_commit`.
    """
    output, plan, config, records, timer, truth, images = done
    files = checks.before_commit(plan, records, output, tasks.schemas(plan))
    timer.done("verify")
    # Asked here and waited for behind the commit, since workers have nothing else to do by now.
    masks = [mask for record in records for mask in record.masks]
    encodings = execution.try_encodings(masks, config.encode)
    timer.done("report")
    metrics = evaluate.compare(truth, plan, records, config, output) if truth else None
    timer.done("metrics")
    reason = cluster.choose_backend(config).reason
    document = report.build(plan, records, config, timer, metrics, truth, reason)
    name_files = report.file_namer(images, plan, truth)
    samples = report.write(output, document, records, name_files)
    timer.done("report")
    return Reported(files, document, samples, encodings)


def commit(
    done: Done, reported: Reported, target: publish.Target, limits: watch.Watch
) -> dict[str, int]:
    """Make the run the present version of its tables; return their versions.

    Raises
    ------
    GateError
        If the report fails a gate; it has its page then.
    CompactionError
        As `pipeline.publish.publish`.
    """
    if report.failed_gates(reported.document):
        write_page(done, reported)
        report.require_gates(reported.document)
    limits.check()
    limits.hold()
    schemas = tasks.schemas(done.plan)
    mark = secrets.token_hex(8)
    versions = publish.publish(target, done.plan.run_id, mark, reported.files, schemas, {})
    done.timer.done("publish")
    return versions


def write_page(done: Done, reported: Reported) -> str:
    """End the report with what need not hold up a commit; return where its page is, or why not."""
    document = reported.document
    trial = reported.encodings()
    done.timer.done("encodings")
    done.timer.worked("measure", trial.seconds)
    report.add_encodings(document, trial)
    document["time"] = report.times(done.plan, done.records, done.timer, document["rows"]["read"])
    page = report.write_page(done.output, document, reported.samples, done.images)
    done.timer.done("page")
    document["time"] = report.times(done.plan, done.records, done.timer, document["rows"]["read"])
    report.write_again(done.output, document)
    return page
