"""The report of a run: report.json before the commit, report.html after it.

Order of the modules: `document` sums the units' records up, `gates` holds limits
against the sums, `files` writes and reads what lies in ``OUT/reports/<run_id>/``;
`names` and `images` find what lies behind a picture, `outline` and `charts` draw, `html`
renders, and `page` puts report.html together.
"""

from pipeline.report.document import REPORT_VERSION, Timer, add_encodings, build, times
from pipeline.report.files import read, render, render_missing, write, write_again, write_page
from pipeline.report.gates import failed_gates, require_gates
from pipeline.report.names import ImageFolder, file_namer, find_folder

__all__ = [
    "REPORT_VERSION",
    "ImageFolder",
    "Timer",
    "add_encodings",
    "build",
    "failed_gates",
    "file_namer",
    "find_folder",
    "read",
    "render",
    "render_missing",
    "require_gates",
    "times",
    "write",
    "write_again",
    "write_page",
]
