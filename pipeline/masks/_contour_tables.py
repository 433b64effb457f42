"""Phrases of the crack code and the state tables that compiled code walks.

The alphabet of a contour is one symbol per crack, relative to the last turn:
S straight on, A a turn to the other side than the last turn, D a turn to the
same side again. A byte is a *phrase*: the number of one of the 253 symbol
sequences that `phrases` lists. Normative text: docs/format.md.

Worked example: ``phrases()[0]`` is 17 straights, ``phrases().index("AASS")``
does not exist, because a phrase goes on until its weight (1 for S, 8 for AA) is
17: ``"AA" + "S" * 9`` is one.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

FULL_WEIGHT = 17
STEP_WEIGHT = 8
MAX_PHRASE_SYMBOLS = FULL_WEIGHT + 1

# Room for the keys of a phrase: 18 at most, in steps of a vector register.
KEY_ROOM = 24
FAST_SHIFT = 17

EAST, SOUTH, WEST, NORTH = range(4)
LEFT, RIGHT = range(2)
PENDING = ("", "A", "D")

# What the walk of a ring feeds to the writer: a stretch of at most two cracks, or
# part of a longer one. Place of a short one: 4 * cracks + 2 * first is right + last is right.
SHORT = ("S", "S", "S", "S", "LL", "LR", "RL", "RR", "LSL", "LSR", "RSL", "RSR")
STRETCHES = (*SHORT, "L", "R")
N_STRETCHES = 16


class ReaderTables(NamedTuple):
    """What each phrase does; entry ``state * 256 + byte``, state = heading * 2 + last side.

    Attributes
    ----------
    facts_S256 : int64 (8 * 256,)
        From the lowest bit: number of symbols (5 bits, 0: no phrase), of
        horizontal cracks (5), state after (3), starts with A (1), ends with an A
        or D that an A may not follow (1), net right turns + 32 (6), columns + 32
        (6) and rows + 32 (6) from the first corner to the last.
    path_S256 : int64 (8 * 256,)
        Heading after each symbol (2 bits each), and from bit 40 the number of
        trailing straights.
    key_S256K : int32 (8 * 256 * `KEY_ROOM`,)
        Of each horizontal crack, columns << (`FAST_SHIFT` + 1) | rows << 1
        from the first corner to the crack's left end, plus 1 where it heads west.
    """

    facts_S256: NDArray[np.int64]
    path_S256: NDArray[np.int64]
    key_S256K: NDArray[np.int32]


class WriterTables(NamedTuple):
    """State machine from stretches of a ring to bytes.

    Attributes
    ----------
    move : uint32 (states * 16,)
        Entry ``state + stretch``: next state << 18 | number of bytes << 16
        | second byte << 8 | first byte. States are multiples of 16.
    finish : uint32 (states * 16,)
        At the end of a ring: number of bytes (0 or 1) << 8 | byte.
    start : int
        State in which a ring starts.
    """

    move: NDArray[np.uint32]
    finish: NDArray[np.uint32]
    start: int


def phrases() -> list[str]:
    """List the symbol sequences of the bytes 0..252.

    Returns
    -------
    list of str
        253 sequences over S, A, D; the byte is the place in the list.
    """
    found: list[str] = []

    def grow(prefix: str, weight: int) -> None:
        if weight >= FULL_WEIGHT:
            found.append(prefix)
            return
        grow(prefix + "S", weight + 1)
        grow(prefix + "AA", weight + STEP_WEIGHT)
        found.extend((prefix + "DA", prefix + "A", prefix + "D"))

    grow("", 0)
    return found


@cache
def reader_tables() -> ReaderTables:
    """Build what each phrase does in every state that a byte may start in.

    Returns
    -------
    ReaderTables
        One entry per state and byte.
    """
    facts = np.zeros((8, 256), np.int64)
    path = np.zeros((8, 256), np.int64)
    key = np.zeros((8, 256, KEY_ROOM), np.int32)
    for state in range(8):
        for byte, symbols in enumerate(phrases()):
            facts[state, byte], path[state, byte], keys = _read(state, symbols)
            key[state, byte, : len(keys)] = keys
    return ReaderTables(facts.reshape(-1), path.reshape(-1), key.reshape(-1))


@cache
def writer_tables() -> WriterTables:
    """Build the state machine that writes phrases.

    A state is (what the phrase holds so far, an A or D that waits for its A,
    side of the last turn).

    Returns
    -------
    WriterTables
        Its transitions.
    """
    byte_of = {symbols: byte for byte, symbols in enumerate(phrases())}
    prefixes = sorted({symbols[:end] for symbols in byte_of for end in range(18)} - set(byte_of))
    open_prefixes = [prefix for prefix in prefixes if prefix + "D" in byte_of]
    states = [(p, pending, side) for p in open_prefixes for pending in PENDING for side in (0, 1)]
    number = {state: place * N_STRETCHES for place, state in enumerate(states)}
    move = np.zeros(len(states) * N_STRETCHES, np.uint32)
    finish = np.zeros(len(states) * N_STRETCHES, np.uint32)
    for (prefix, pending, side), place in number.items():
        for stretch, turns in enumerate(STRETCHES):
            state, out = (prefix, pending, side), b""
            for turn in turns:
                state, written = _write(state, turn, byte_of)
                out += written
            word = int.from_bytes(out, "little") | len(out) << 16
            move[place + stretch] = number[state] << 18 | word
        if prefix or pending:
            last = prefix + pending
            while last not in byte_of:
                last += "S"
            finish[place] = 1 << 8 | byte_of[last]
    return WriterTables(move, finish, number["", "", RIGHT])


def _is_lone(symbols: str) -> bool:
    """Whether a phrase ends with an A or D that did not find its A."""
    n_a = len(symbols) - len(symbols.rstrip("A"))
    return symbols.endswith("D") or (n_a % 2 == 1 and not symbols.endswith("DA"))


def _read(state: int, symbols: str) -> tuple[int, int, list[int]]:
    """Facts, path and keys of one phrase in one state."""
    heading, side = divmod(state, 2)
    column = row = path = rotation = 0
    keys: list[int] = []
    for place, symbol in enumerate(symbols):
        heading, side, turned = _turn(heading, side, symbol)
        rotation += turned
        path |= heading << (2 * place)
        left = column - (heading == WEST)
        column += (heading == EAST) - (heading == WEST)
        row += (heading == SOUTH) - (heading == NORTH)
        if heading in (EAST, WEST):
            keys.append((left << FAST_SHIFT) + row << 1 | (heading == WEST))
    facts = len(symbols) | len(keys) << 5 | (heading * 2 + side) << 10
    facts |= symbols.startswith("A") << 13 | _is_lone(symbols) << 14
    facts |= rotation + 32 << 15 | column + 32 << 21 | row + 32 << 27
    return facts, path | (len(symbols) - len(symbols.rstrip("S"))) << 40, keys


def _turn(heading: int, side: int, symbol: str) -> tuple[int, int, int]:
    """Heading, side of the last turn and right turns (-1, 0, 1) after a symbol."""
    if symbol == "S":
        return heading, side, 0
    side ^= symbol == "A"
    turned = 1 if side == RIGHT else -1
    return (heading + turned) % 4, side, turned


def _write(
    state: tuple[str, str, int], turn: str, byte_of: dict[str, int]
) -> tuple[tuple[str, str, int], bytes]:
    """State and bytes after one more symbol: S, L or R."""
    prefix, pending, side = state
    out = b""
    symbol = turn
    if turn != "S":
        symbol = "D" if "LR"[side] == turn else "A"
        side = "LR".index(turn)
    if pending and symbol != "A":
        out += bytes([byte_of[prefix + pending]])
        prefix, pending = "", ""
    if not pending and symbol != "S":
        return (prefix, symbol, side), out
    prefix += pending + symbol
    if prefix in byte_of:
        out += bytes([byte_of[prefix]])
        prefix = ""
    return (prefix, "", side), out
