"""The peers do the job that ours does: same rows, same rule, same survivors."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import ours
from benchmarks.peers import (
    PEERS,
    Peer,
    image_offsets,
    in_score_order,
    to_images,
    union_strings,
)
from benchmarks.workload import Workload, make_workload

PYCOCOTOOLS = [peer for peer in PEERS if peer.module == "pycocotools.mask"]


@pytest.fixture(scope="module")
def workload() -> Workload:
    return in_score_order(make_workload("dense", n_images=2, masks_per_image=40, side=160))


def test_rows_are_cut_into_images_in_score_order(workload: Workload) -> None:
    assert image_offsets(workload).tolist() == [0, 40, 80]
    scores = workload.score.reshape(2, 40)
    assert (np.diff(scores, axis=1) <= 0).all()
    images = to_images(workload, np.zeros((80, 4)))
    assert [len(image.rles) for image in images] == [40, 40]
    assert images[1].rles[0]["counts"] == workload.strings()[40]


@pytest.mark.parametrize("peer", PYCOCOTOOLS, ids=lambda peer: peer.name)
@pytest.mark.filterwarnings("ignore:__array__:DeprecationWarning")
def test_survivors_are_ours(peer: Peer, workload: Workload) -> None:
    leader_N = ours.job(workload, ours.DEFAULT, 0.8)().leader_N
    images = to_images(workload, np.zeros((80, 4)))
    np.testing.assert_array_equal(peer.make()(images, 0.8), leader_N == np.arange(80))


def test_unions_are_ours(workload: Workload) -> None:
    merged = ours.union_strings(workload, 0.8)
    images = to_images(workload, np.zeros((80, 4)))
    keep, theirs = union_strings("pycocotools.mask")(images, 0.8)
    assert merged.bytes_B.tobytes() == b"".join(theirs)
    assert len(merged.offsets_N1) - 1 == keep.sum() == len(theirs)


def test_an_absent_package_is_absent() -> None:
    assert not Peer("nobody", "no_such_package.mask", lambda: pytest.fail("made")).is_installed()
