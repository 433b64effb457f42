"""Compiled decisions from listed pairs (public names: `pipeline.masks.decide`)."""

# Numba infers the types of parameters from the call.
# pyright: reportMissingParameterType=false

from __future__ import annotations

from pipeline.masks._jit import inlined, kernel


@kernel
def take_in_pairs(i_P, j_P, is_match_P, leader_N):
    """Let rows that lead take in what they match; `leader_N` comes counting from 0.

    Pairs come sorted by i: when those of row i are looked at, every row before it has
    taken in what it can, so a row that is still its own leader leads.
    """
    for p in range(len(i_P)):
        i, j = i_P[p], j_P[p]
        if is_match_P[p] and leader_N[i] == i and leader_N[j] == j:
            leader_N[j] = i


@inlined
def root_of(n, leader_N):
    """Return the first row of a tree, and shorten the way to it."""
    while leader_N[n] != n:
        leader_N[n] = leader_N[leader_N[n]]
        n = leader_N[n]
    return n


@kernel
def join_pairs(i_P, j_P, is_match_P, leader_N):
    """Join the trees of matching rows; a row ends up with the first one of its component."""
    for p in range(len(i_P)):
        if is_match_P[p]:
            a, b = root_of(i_P[p], leader_N), root_of(j_P[p], leader_N)
            leader_N[max(a, b)] = min(a, b)
    for n in range(len(leader_N)):
        leader_N[n] = root_of(n, leader_N)
