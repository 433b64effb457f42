"""The table by which `pipeline.masks._numba_group_parse` reads eight characters at once."""

from __future__ import annotations

import functools

import numpy as np
from numpy.typing import NDArray

ENTRY = 48
LOW = 256 * ENTRY
HIGH = LOW + 16
LEAST = LOW + 32
TOPS = LOW + 48
"""Bytes of an entry, and where the four constants lie behind the entries."""


@functools.cache
def number_table() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """How to read the numbers in 8 characters, by which of them are continued.

    Returns
    -------
    table : uint8 (256 * 48 + 64,)
        For each byte of continuation bits: the places of the first and second
        character of up to 8 numbers (16), of their third (16; 128: none), and
        the sign bits of these numbers as int16 (16). At the end four constants.
    steps : int64 (256,)
        How many numbers that reads, always even, times 256, plus how many characters.
    """
    table = np.full((256, ENTRY), 128, np.uint8)
    table[:, 32:] = 0
    steps = np.zeros(256, np.int64)
    for bits in range(256):
        ends = [n for n in range(8) if not bits >> n & 1]
        numbers = list(zip([0, *(n + 1 for n in ends)], ends, strict=False))
        fit = next((k for k, (a, b) in enumerate(numbers) if b - a > 2), len(numbers)) & ~1
        for k, (first, end) in enumerate(numbers[:fit]):
            table[bits, 2 * k] = first
            if end > first:
                table[bits, 2 * k + 1] = first + 1
            if end > first + 1:
                table[bits, 16 + 2 * k] = first + 2
            table[bits, 32 + 2 * k : 34 + 2 * k] = divmod(16 << 5 * (end - first), 256)[::-1]
        steps[bits] = fit * 256 + (numbers[fit - 1][1] + 1 if fit else 0)
    constants = np.array([[0x1F] * 2, [0x1F00] * 2, [0x8000, 0], [0xFFFF, 0]], np.uint16)
    constants = np.tile(constants, 4).reshape(-1)
    return np.concatenate([table.reshape(-1), constants.view(np.uint8)]), steps
