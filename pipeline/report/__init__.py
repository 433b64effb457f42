"""The report of a run: report.json before the commit, report.html after it.

Order of the modules: `document` sums the units' records up, `gates` holds limits
against the sums, `files` writes and reads what lies in ``OUT/reports/<run_id>/``;
`outline` and `charts` draw, and `page` puts report.html together.
"""

from pipeline.report.document import REPORT_VERSION, Timer, build
from pipeline.report.files import read, render, write
from pipeline.report.gates import failed_gates, require_gates

__all__ = [
    "REPORT_VERSION",
    "Timer",
    "build",
    "failed_gates",
    "read",
    "render",
    "require_gates",
    "write",
]
