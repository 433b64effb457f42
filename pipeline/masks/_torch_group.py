"""Leaders and components from pairs of rows, on a device.

Public names: `pipeline.masks.torch_backend`. Every round decides all rows that can
be decided, drops the pairs that no longer matter and ends when none is left; the
number of pairs left is what the host waits for. Rounds follow the longest chain of
rows that wait for each other, not the number of rows or images.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.masks._torch_arrays import expand, pick, tally, to_offsets, where_set

LAZY_ROUNDS = 2
"""Rounds in which only the pairs of rows that lead for certain are compared."""

Compare = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""Pairs (i, j) to those of them that reach the threshold, with their intersections."""


def resolve_leaders(
    i_P: Tensor, j_P: Tensor, n_rows: int, compare: Compare
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Find the leader of each row, from candidate pairs (i, j), i < j.

    A row leads where no row before it that it overlaps leads; it belongs to the
    first one that does. A round decides that the rows lead before which no pair
    is left, compares their pairs only, and drops what then can change nothing:
    pairs of rows that are taken, and of a taken row with rows behind its leader.
    After `LAZY_ROUNDS` of those, which spare most comparisons, all that is left
    is compared at once, so that a chain of rows costs small rounds.

    Returns
    -------
    leader_N : int64 (N,)
    i_Q, j_Q, shared_Q : int64 (Q,)
        Compared pairs that reach the threshold, that of each row with its leader
        among them, and their intersections.
    """
    taken_by_N = torch.full((n_rows,), n_rows, device=i_P.device)
    waits_N = torch.zeros_like(taken_by_N)
    found: list[tuple[Tensor, Tensor, Tensor]] = [(i_P[:0], i_P[:0], i_P[:0])]
    i_E, j_E, shared_E = i_P, j_P, i_P
    n_rounds = 0
    while len(i_E):
        n_rounds += 1
        if n_rounds == LAZY_ROUNDS + 1:
            i_E, j_E, shared_E = compare(i_E, j_E)
        waits_N.index_fill_(0, j_E, n_rounds)
        waits_E = pick(waits_N, i_E) == n_rounds
        ready_Q = where_set(~waits_E)
        i_Q, j_Q, shared_Q = pick(i_E, ready_Q), pick(j_E, ready_Q), pick(shared_E, ready_Q)
        if n_rounds <= LAZY_ROUNDS:
            i_Q, j_Q, shared_Q = compare(i_Q, j_Q)
        taken_by_N.scatter_reduce_(0, j_Q, i_Q, "amin")
        found.append((i_Q, j_Q, shared_Q))
        is_free_E = pick(taken_by_N, i_E) == n_rows
        left_E = where_set(waits_E & is_free_E & (i_E < pick(taken_by_N, j_E)))
        i_E, j_E, shared_E = pick(i_E, left_E), pick(j_E, left_E), pick(shared_E, left_E)
    own_N = torch.arange(n_rows, device=i_P.device)
    i_Q, j_Q, shared_Q = (torch.cat(parts) for parts in zip(*found, strict=True))
    return torch.minimum(taken_by_N, own_N), i_Q, j_Q, shared_Q


def label_components(i_P: Tensor, j_P: Tensor, n_rows: int) -> Tensor:
    """First row of the connected component of each row.

    Trees of rows that point to smaller ones are hung onto each other and
    shortened; a pair whose rows point to one row is in one tree for good.
    """
    label_N = torch.arange(n_rows, device=i_P.device)
    i_E, j_E = i_P, j_P
    while len(i_E):
        a_E, b_E = pick(label_N, i_E), pick(label_N, j_E)
        least_E = torch.minimum(a_E, b_E)
        label_N.scatter_reduce_(0, torch.maximum(a_E, b_E), least_E, "amin")
        label_N = pick(label_N, pick(label_N, label_N))
        left_E = where_set(pick(label_N, i_E) != pick(label_N, j_E))
        i_E, j_E = pick(i_E, left_E), pick(j_E, left_E)
    while True:
        shorter_N = pick(label_N, label_N)
        if torch.equal(shorter_N, label_N):
            return label_N
        label_N = shorter_N


def search_parents(i_P: Tensor, j_P: Tensor, leader_N: Tensor) -> Tensor:
    """Parent of each row in the breadth-first searches that start at the leaders.

    All searches go on together, a level a round. The rows of a level are kept in
    the order in which one queue would hold them, and the neighbours of each in
    row order, so the first to reach a row is its parent, and the rows come out in
    the order of the next level.
    """
    n_rows = len(leader_N)
    from_E, to_E = torch.cat([i_P, j_P]), torch.cat([j_P, i_P])
    key_E = torch.sort(from_E * n_rows + to_E)[0]
    neighbour_E = key_E % n_rows
    degree_N = tally(key_E // n_rows, n_rows)
    first_N = to_offsets(degree_N)[:-1]
    own_N = torch.arange(n_rows, device=i_P.device)
    parent_N = own_N.clone()
    nobody = n_rows
    reached_by_N = torch.where(leader_N == own_N, 0, nobody)
    is_found_N = leader_N == own_N
    front_F = where_set(is_found_N & (degree_N > 0))
    while len(front_F):
        length_F = pick(degree_N, front_F)
        offsets_F1 = to_offsets(length_F)
        place_M, step_M = expand(length_F, offsets_F1, int(offsets_F1[-1]))
        to_M = pick(neighbour_E, pick(pick(first_N, front_F), place_M) + step_M)
        new_M = where_set(~pick(is_found_N, to_M))
        to_M, place_M = pick(to_M, new_M), pick(place_M, new_M)
        reached_by_N.scatter_reduce_(0, to_M, place_M, "amin")
        first_M = where_set(pick(reached_by_N, to_M) == place_M)
        next_F, by_F = pick(to_M, first_M), pick(place_M, first_M)
        parent_N.index_copy_(0, next_F, pick(front_F, by_F))
        is_found_N.index_fill_(0, next_F, True)
        front_F = next_F
    return parent_N
