"""F16: a node of a cluster of two is lost amid a step; the head is lost."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import pytest

from tests import poisoned
from tests.faults import processes, small
from tests.faults.test_signals import kill_all, wait_until
from tests.ray_head import ENVIRONMENT, join_head, running_head

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

ENDS_S = 240
"""How long a driver may take to notice that its cluster is gone."""


def hold(step: str, sign: Path) -> dict[str, str]:
    """Return an environment in which processes stop at a step, and touch a file first."""
    return {
        "PYTHONPATH": poisoned.python_path(),
        "POISON_HOLD": step,
        "POISON_SIGN": str(sign),
        "TOKEN": secrets.token_hex(8),
    }


def flags(address: str) -> tuple[tuple[str, ...], dict[str, str]]:
    settings = ("--run.unit_bytes", str(small.UNIT_BYTES), "--run.shared_path", "true")
    environment = {**ENVIRONMENT, "RAY_ADDRESS": address}
    return settings, environment


@pytest.mark.parametrize(
    ("step", "is_scattered"), [("read", False), ("compact", False), ("compact", True)]
)
def test_a_lost_node_is_made_up_for(tmp_path: Path, step: str, is_scattered: bool) -> None:
    inputs = small.write_many(tmp_path / "in", 8, is_scattered)
    small.run(small.configure(inputs, tmp_path / "whole"))
    lost = hold(step, tmp_path / "holds")
    with running_head() as head, join_head(head, lost):
        settings, environment = flags(head.gcs)
        process = processes.start(inputs, tmp_path / "out", *settings, environment=environment)
        holds = tmp_path / "holds"
        wait_until(lambda: holds.exists() or process.poll() is not None, "work on the second node")
        kill_all(lost["TOKEN"])
        code, said = processes.finish(process, ENDS_S)
    assert holds.exists(), "nothing was ever done on the second node"
    assert code == 0, said
    small.assert_whole(tmp_path / "out", small.content(tmp_path / "whole"))


def test_a_run_whose_head_is_lost_fails_and_the_next_one_goes_on(tmp_path: Path) -> None:
    inputs = small.write_many(tmp_path / "in", 4, is_scattered=False)
    small.run(small.configure(inputs, tmp_path / "whole"))
    output, lost = tmp_path / "out", hold("compact", tmp_path / "holds")
    with running_head(lost) as head:
        settings, environment = flags(head.gcs)
        process = processes.start(inputs, output, *settings, environment=environment)
        holds = tmp_path / "holds"
        wait_until(lambda: holds.exists() or process.poll() is not None, "work on the head")
        assert process.poll() is None, process.communicate()
        kill_all(lost["TOKEN"])
        code, said = processes.finish(process, ENDS_S)
    assert code == 5, said
    last, port = said.splitlines()[-1], head.gcs.rpartition(":")[2]
    assert re.match(rf"error: the head of Ray at \S+:{port} is lost", last), said
    assert "units of work done; nothing was published" in last
    assert last.endswith("the same command continues where it stopped")
    assert "Traceback" not in said
    assert small.published(output) is None
    assert small.run(small.configure(inputs, output)).state == "published"
    small.assert_whole(output, small.content(tmp_path / "whole"))
