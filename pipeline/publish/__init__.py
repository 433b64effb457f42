"""Publishing: one Delta commit per table, the way back, and what may be deleted.

The only package that knows Delta.

Order of the modules: `log` and `commit` know one table; `target` says what is there before a
run, `files` checks what it wrote, `tables` publishes and opens all three, `rollback` goes back,
`heartbeat` and `cleanup` find what is proven dead.
"""

from pipeline.publish.cleanup import vacuum
from pipeline.publish.files import verify_files
from pipeline.publish.heartbeat import beating, write_heartbeat
from pipeline.publish.rollback import history, restore
from pipeline.publish.tables import open_tables, publish
from pipeline.publish.target import (
    RunState,
    Target,
    damaged_files,
    find_run,
    inspect_target,
)

__all__ = [
    "RunState",
    "Target",
    "beating",
    "damaged_files",
    "find_run",
    "history",
    "inspect_target",
    "open_tables",
    "publish",
    "restore",
    "vacuum",
    "verify_files",
    "write_heartbeat",
]
