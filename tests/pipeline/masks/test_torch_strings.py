"""Strings on a device against the compiled kernels: every byte, every refusal.

Everything runs on "cpu", on the stand-in for a GPU, and on "cuda" where there is one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import MaskError
from pipeline.masks import rle, torch_backend
from tests import strategies
from tests.devices import DEVICES
from tests.masks_on_devices import assert_same

pytestmark = pytest.mark.parametrize("device", DEVICES)


@given(texts=st.lists(st.binary(max_size=12), min_size=1, max_size=4))
@settings(max_examples=80)
def test_any_bytes_end_as_with_the_compiled_reader(device: str, texts: list[bytes]) -> None:
    strings = strategies.strings_of(texts)
    sizes_N2 = np.full((len(texts), 2), 3, np.int32)
    if not rle.inspect_coco(strings, sizes_N2).code_N.any():
        expected = rle.from_coco(strings, sizes_N2)
        assert_same(torch_backend.from_coco(strings, sizes_N2, device=device), expected)
        return
    with pytest.raises(MaskError) as ours:
        torch_backend.from_coco(strings, sizes_N2, device=device)
    with pytest.raises(MaskError) as theirs:
        rle.from_coco(strings, sizes_N2)
    assert str(ours.value) == str(theirs.value)


@given(stacks=strategies.images())
@settings(max_examples=60)
def test_strings_parity(device: str, stacks: list[Any]) -> None:
    masks = strategies.flat(stacks)
    batch, strings = strategies.to_batch(masks), strategies.to_strings(masks)
    assert_same(torch_backend.to_coco(batch, device=device), strings)
    assert_same(torch_backend.from_coco(strings, batch.size_hw_N2, device=device), batch)


LOOSE = [b"3o01O1", b"30221", b"0020221", b"03N00003", b"0900000", b"90", b"00009000", b"321O10"]


def test_strings_that_are_valid_but_not_canonical(device: str) -> None:
    sizes_N2 = np.full((1, 2), 3, np.int32)
    for text in LOOSE:
        strings = strategies.strings_of([text])
        if rle.inspect_coco(strings, sizes_N2).code_N[0] == 0:
            expected = rle.from_coco(strings, sizes_N2)
            assert_same(torch_backend.from_coco(strings, sizes_N2, device=device), expected)


def test_the_longest_numbers(device: str) -> None:
    # Written as differences, these take every length from one character to seven.
    steps = [0, 15, 16, 31, 32, 511, 512, 2**14 - 1, 2**14, 2**19, 2**24, 2**29, 2**30]
    runs = [[1, 1, 1, 1 + step, 1, 1, 2**31 - 1 - 5 - step - 1] for step in steps]
    batch = strategies.batch_of_runs([(1, 2**31 - 1)] * len(runs), runs)
    strings = torch_backend.to_coco(batch, device=device)
    assert_same(strings, rle.to_coco(batch))
    assert_same(torch_backend.from_coco(strings, batch.size_hw_N2, device=device), batch)
