"""Phrases of the crack code and the state tables that compiled code walks.

The alphabet of a contour is one symbol per crack, relative to the last turn:
S straight on, A a turn to the other side than the last turn, D a turn to the
same side again. Which of the last `CONTEXT_SYMBOLS` symbols were turns is the
*context* of the next one. A byte is a *phrase*: in each context, the number of one
of the 127 symbol sequences that `phrases` lists for it. Normative text: docs/format.md.

Worked example: ``phrases()[31][0]`` is ``"SSS"``, the straight phrase behind five turns,
``phrases()[0][0]`` is 16 straights; of any further symbols exactly one phrase of the
context is a beginning, so there is one way to cut a ring.
"""

from __future__ import annotations

import heapq
from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

# fmt: off
OTHER_SIDE = (
    8, 121, 44, 14, 24, 111, 29, 90, 19, 106, 65, 54, 45, 121, 65, 70,
    25, 122, 49, 17, 30, 113, 80, 113, 33, 123, 70, 53, 41, 120, 96, 97,
)
SAME_SIDE = (
    5, 1, 11, 2, 14, 1, 2, 3, 14, 2, 9, 3, 2, 1, 7, 1,
    5, 1, 13, 1, 14, 1, 2, 1, 4, 1, 9, 1, 9, 1, 2, 1,
)
# fmt: on
"""Of `SCALE` next symbols in each context, how many are A, and D."""

SCALE = 128
N_CONTEXTS = len(OTHER_SIDE)
CONTEXT_SYMBOLS = N_CONTEXTS.bit_length() - 1
FIRST_CONTEXT = N_CONTEXTS - 1
WHOLE_WEIGHT = 1 << 40
N_PHRASES = 127
MAX_PHRASE_SYMBOLS = 16

# Room for the keys of a phrase: a line of memory.
KEY_ROOM = MAX_PHRASE_SYMBOLS
FAST_SHIFT = 17

EAST, SOUTH, WEST, NORTH = range(4)
STRAIGHT, OTHER, SAME = range(3)
SYMBOLS = "SAD"

# What the walk of a ring feeds to the writer: a stretch of at most two cracks, or
# part of a longer one. Place of a short one: 4 * cracks + 2 * first is A + last is A.
SHORT = ("S", "S", "S", "S", "DD", "DA", "AD", "AA", "DSD", "DSA", "ASD", "ASA")
STRETCHES = (*SHORT, "D", "A")
N_STRETCHES = 16


class ReaderTables(NamedTuple):
    """What each byte and each phrase does.

    The states of a walk are heading * 2 + last side; an entry is ``phrase * 8 + state``.
    The F different phrases of all contexts are numbered from 1; 0 is none.

    Attributes
    ----------
    phrase_X256 : int32 (N_CONTEXTS * 256,)
        Entry ``context * 256 + byte``: first entry of the phrase << 8 | context behind it.
    facts_F8 : int32 (F * 8 + 8,)
        From the lowest bit: number of symbols (5 bits, 0: no phrase), of
        horizontal cracks (5), state after (3), net right turns + 32 (6), columns
        + 32 (6) and rows + 32 (6) from the first corner to the last.
    path_F8 : int64 (F * 8 + 8,)
        Heading after each symbol (2 bits each), and from bit 40 the number of
        trailing straights.
    key_F8K : int32 ((F * 8 + 8) * `KEY_ROOM`,)
        Of each horizontal crack, columns << (`FAST_SHIFT` + 1) | rows << 1
        from the first corner to the crack's left end, plus 1 where it heads west.
    """

    phrase_X256: NDArray[np.int32]
    facts_F8: NDArray[np.int32]
    path_F8: NDArray[np.int64]
    key_F8K: NDArray[np.int32]


class WriterTables(NamedTuple):
    """State machine from stretches of a ring to bytes.

    Attributes
    ----------
    move : uint32 (states * 16,)
        Entry ``state + stretch``: next state << 14 | number of bytes << 16
        | second byte << 8 | first byte. States are multiples of 16.
    finish : uint32 (states * 16,)
        At the end of a ring: number of bytes (0 or 1) << 8 | byte.
    start : int
        State in which a ring starts.
    """

    move: NDArray[np.uint32]
    finish: NDArray[np.uint32]
    start: int


class Trees(NamedTuple):
    """Phrases of all contexts as trees of their Q prefixes.

    Attributes
    ----------
    child_Q3 : int32 (Q * 3,)
        Entry ``prefix * 3 + symbol``: the prefix that is one symbol longer, or
        ``Q + context * N_PHRASES + byte`` where that is a phrase. Prefix c < `N_CONTEXTS`
        is the empty one of context c.
    context_L : int32 (N_CONTEXTS * N_PHRASES,)
        Context behind each phrase.
    """

    child_Q3: NDArray[np.int32]
    context_L: NDArray[np.int32]


@cache
def phrases() -> list[list[str]]:
    """List the symbol sequences of the bytes 0..126 in each context.

    Returns
    -------
    list of list of str
        For each context 127 sequences over S, A, D; the byte is the place in the list.
    """
    return [_phrases_in(context) for context in range(N_CONTEXTS)]


@cache
def trees() -> Trees:
    """Build the trees of all phrases.

    Returns
    -------
    Trees
        Children of prefixes, and contexts behind phrases.
    """
    found = phrases()
    nodes = [(context, "") for context in range(N_CONTEXTS)]
    for context, listed in enumerate(found):
        prefixes = {phrase[:end] for phrase in listed for end in range(1, len(phrase))}
        nodes += [(context, prefix) for prefix in sorted(prefixes)]
    number = {node: place for place, node in enumerate(nodes)}
    for context, listed in enumerate(found):
        for byte, phrase in enumerate(listed):
            number[context, phrase] = len(nodes) + context * N_PHRASES + byte
    child = [number[context, prefix + symbol] for context, prefix in nodes for symbol in SYMBOLS]
    behind = [follow(c, phrase) for c, listed in enumerate(found) for phrase in listed]
    return Trees(np.array(child, np.int32), np.array(behind, np.int32))


@cache
def reader_tables() -> ReaderTables:
    """Build what each phrase does in every state that a byte may start in.

    Returns
    -------
    ReaderTables
        One entry per byte in each context, and per phrase and state.
    """
    found = phrases()
    # Likely ones first, so that they share pages of memory.
    by_byte = (phrase for likely in zip(*found, strict=True) for phrase in likely)
    distinct = ["", *dict.fromkeys(by_byte)]
    number = {phrase: place for place, phrase in enumerate(distinct)}
    phrase_X256 = np.zeros((N_CONTEXTS, 256), np.int32)
    for context, listed in enumerate(found):
        words = [number[p] * 8 << 8 | follow(context, p) for p in listed]
        phrase_X256[context, : len(words)] = words
    return ReaderTables(phrase_X256.reshape(-1), *_walk_all(distinct))


@cache
def writer_tables() -> WriterTables:
    """Build the state machine that writes phrases.

    A state is a prefix of a phrase in its context.

    Returns
    -------
    WriterTables
        Its transitions.
    """
    tree = trees()
    n_states = len(tree.child_Q3) // 3
    node_S = np.arange(n_states)
    move = np.zeros((n_states, N_STRETCHES), np.uint32)
    for stretch, symbols in enumerate(STRETCHES):
        after_S, bytes_S, n_bytes_S = node_S, np.zeros_like(node_S), np.zeros_like(node_S)
        for symbol in symbols:
            after_S, byte_S = _step(tree, after_S, SYMBOLS.index(symbol))
            bytes_S |= np.maximum(byte_S, 0) << 8 * n_bytes_S
            n_bytes_S += byte_S >= 0
        # No phrase is a lone S, so that three symbols end two phrases at most.
        assert n_bytes_S.max() <= 2
        move[:, stretch] = after_S * N_STRETCHES << 14 | n_bytes_S << 16 | bytes_S
    finish = np.zeros((n_states, N_STRETCHES), np.uint32)
    finish[:, 0] = np.where(node_S < N_CONTEXTS, 0, 1 << 8 | _fill_up(tree, node_S))
    return WriterTables(move.reshape(-1), finish.reshape(-1), FIRST_CONTEXT * N_STRETCHES)


def follow(context: int, symbols: str) -> int:
    """Context behind symbols: a bit each, the newest lowest, 1 for a turn."""
    for symbol in symbols:
        context = context * 2 % N_CONTEXTS + (symbol != "S")
    return context


def _phrases_in(context: int) -> list[str]:
    """Grow the likeliest sequence by each symbol until there are enough."""
    growing = [(-WHOLE_WEIGHT, "", context)]
    grown: list[tuple[int, str, int]] = []
    while len(growing) + len(grown) < N_PHRASES:
        weight, phrase, after = heapq.heappop(growing)
        part_of = {"A": OTHER_SIDE[after], "D": SAME_SIDE[after]}
        part_of["S"] = SCALE - part_of["A"] - part_of["D"]
        for symbol, part in part_of.items():
            longer = (-(-weight * part // SCALE), phrase + symbol, follow(after, symbol))
            if len(longer[1]) < MAX_PHRASE_SYMBOLS:
                heapq.heappush(growing, longer)
            else:
                grown.append(longer)
    ordered = sorted(growing + grown, key=lambda one: (one[1].strip("S") != "", one))
    return [phrase for _, phrase, _ in ordered]


def _step(
    tree: Trees, node_S: NDArray[np.int64], symbol: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Prefix after one more symbol, and the byte that it completes or -1."""
    child_S = tree.child_Q3[3 * node_S + symbol].astype(np.int64)
    phrase_S = child_S - len(tree.child_Q3) // 3
    is_phrase_S = phrase_S >= 0
    next_S = np.where(is_phrase_S, tree.context_L[np.maximum(phrase_S, 0)], child_S)
    return next_S, np.where(is_phrase_S, phrase_S % N_PHRASES, -1)


def _fill_up(tree: Trees, node_S: NDArray[np.int64]) -> NDArray[np.int64]:
    """Byte that each prefix becomes by straights."""
    byte_S = np.full(len(node_S), -1)
    for _ in range(MAX_PHRASE_SYMBOLS):
        node_S, byte = _step(tree, node_S, STRAIGHT)
        byte_S = np.where(byte_S < 0, byte, byte_S)
    return byte_S


def _walk_all(
    distinct: list[str],
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32]]:
    """Facts, paths and keys of phrases in each state, all walked side by side."""
    n_entries = 8 * len(distinct)
    entry_E = np.arange(n_entries)
    length_E = np.repeat([len(phrase) for phrase in distinct], 8)
    heading_E, side_E = np.divmod(entry_E % 8, 2)
    column_E, row_E, rotation_E, n_keys_E, path_E = np.zeros((5, n_entries), np.int64)
    key_EK = np.zeros((n_entries, KEY_ROOM), np.int32)
    for place in range(MAX_PHRASE_SYMBOLS):
        symbols = [SYMBOLS.find(phrase[place : place + 1] or "-") for phrase in distinct]
        symbol_E = np.repeat(symbols, 8)
        is_in_E = symbol_E >= 0
        side_E = side_E ^ (symbol_E == OTHER)
        turned_E = np.where(symbol_E > STRAIGHT, 2 * side_E - 1, 0)
        rotation_E += turned_E
        heading_E = (heading_E + turned_E) % 4
        path_E |= np.where(is_in_E, heading_E << 2 * place, 0)
        left_E = column_E - (heading_E == WEST)
        column_E += is_in_E * ((heading_E == EAST) * 1 - (heading_E == WEST))
        row_E += is_in_E * ((heading_E == SOUTH) * 1 - (heading_E == NORTH))
        keyed = np.flatnonzero(is_in_E & (heading_E % 2 == 0))
        keys = ((left_E << FAST_SHIFT) + row_E << 1) + (heading_E == WEST)
        key_EK[keyed, n_keys_E[keyed]] = keys[keyed]
        n_keys_E[keyed] += 1
    facts_E = length_E | n_keys_E << 5 | (heading_E * 2 + side_E) << 10
    facts_E |= rotation_E + 32 << 13 | column_E + 32 << 19 | row_E + 32 << 25
    straights = [len(phrase) - len(phrase.rstrip("S")) for phrase in distinct]
    path_E |= np.repeat(straights, 8) << 40
    return facts_E.astype(np.int32), path_E, key_EK.reshape(-1)
