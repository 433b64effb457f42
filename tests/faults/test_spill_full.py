"""F9: where Ray's object store spills is full, amid a shuffle that does not fit in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.faults import processes, small
from tests.faults.volumes import fill_up, mounted
from tests.ray_head import ENVIRONMENT, running_head

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

STORE_BYTES = 80 << 20
"""About the least that Ray takes."""

N_IMAGES = 600
NOTE_BYTES = 128 << 10
"""Of a column that is carried along."""

FLAGS = ("--run.unit_bytes", str(16 << 20), "--run.check_space", "false")


def write_large(folder: Path) -> list[Path]:
    """Write two files that each hold a mask of every image, together twice the object store."""
    folder.mkdir()
    random = np.random.default_rng(1)
    assert 2 * N_IMAGES * NOTE_BYTES > 1.8 * STORE_BYTES
    paths = [folder / "first.parquet", folder / "second.parquet"]
    for path in paths:
        rows = [
            {**small.rows(int(image))[0], "note": random.bytes(NOTE_BYTES // 2).hex()}
            for image in random.permutation(N_IMAGES)
        ]
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=30)
    return paths


def test_a_spill_directory_without_room_is_named(tmp_path: Path) -> None:
    inputs = write_large(tmp_path / "in")
    output = tmp_path / "out"
    with mounted(tmp_path / "spill", 400 << 20) as spill:
        filler = fill_up(spill, 4 << 20)
        head_flags = (
            f"--object-store-memory={STORE_BYTES}",
            f"--object-spilling-directory={spill}",
        )
        with running_head(None, *head_flags) as head:
            environment = {**ENVIRONMENT, "RAY_ADDRESS": head.gcs}
            process = processes.start(inputs, output, *FLAGS, environment=environment)
            code, said = processes.finish(process, 400)
            assert code == 5, said
            last = said.splitlines()[-1]
            assert last.startswith("error: expected room for rows between the steps"), said
            assert "nothing was published" in last
            assert "give the same command again" in last
            assert small.published(output) is None
            filler.unlink()
            process = processes.start(inputs, output, *FLAGS, environment=environment)
            code, said = processes.finish(process, 400)
        assert code == 0, said
    clean = tmp_path / "clean"
    assert processes.run(inputs, clean, *FLAGS)[0] == 0
    small.assert_whole(output, small.content(clean))
