"""The protocol that every peer goes through, the same as `perennial replay recommendation`'s.

Test, then learn: events in time order; those of one user at one timestamp are all ranked before any of them is learned
(or one after the other, with `ties="file-order"`); ranking is over all items that anyone has taken by then, without
those that this user has; an item never taken before is a miss; ties go against the target. A peer is given rows when
they are past, and nothing else: it cannot know what comes.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import Any
from typing import Protocol as Verbs

import numpy as np
from numba import njit

from online.interactions import Interactions
from simulations.protocol import Protocol, Ties, in_groups
from simulations.ranking import MISS, NOT_SCORED, TOP, Ranked, link


class Peer(Verbs):
    """Two verbs. Users and items are small integers, items in the order in which they first appeared."""

    name: str

    def learn(self, user: np.ndarray, item: np.ndarray, at_ms: np.ndarray) -> None:
        """Rows that have happened, in order: i8 [n] each."""

    def score(self, user: int, at_ms: int, scores: np.ndarray) -> None:
        """Write a score for each item into `scores`, f4 [items]; higher is better."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much room a peer needs: users and items of the whole file."""

    users: int
    items: int


class Stream:
    """Interactions in the order of the protocol, cut in batch and stream."""

    def __init__(
        self, source: Interactions, first: int, *, score_every: int, ties: Ties, include_seen: bool = False
    ) -> None:
        self.source = in_groups(source, first)
        self.first = first
        self.include_seen = include_seen
        self.protocol = Protocol.of(
            self.source, first, score_every=score_every, together=ties == "together", seen=include_seen
        )
        self.size = Size(len(source.user_ids), len(source.item_ids))

    def __len__(self) -> int:
        return len(self.source)


@dataclass(frozen=True, slots=True)
class Walked:
    """What a peer did on a stream."""

    ranked: Ranked
    seconds: float
    events: int  # learned or ranked on the way
    scored: int


def walk(peer: Peer, stream: Stream, *, learn_from: int = 0, at_most: int = 0) -> Walked:
    """Let a peer live through the batch part (its rows from `learn_from` on) and be tested on the stream.

    at_most: rank no more events than that, evenly spread over those that the protocol scores; 0 is all of them.
    """
    source, first = stream.source, stream.first
    user, item, at_ms = source.user, source.item, source.at_ms
    group_end, n = stream.protocol.group_end, len(source)
    scored = first + np.flatnonzero(stream.protocol.scored[first:])
    if at_most and len(scored) > at_most:
        scored = scored[:: -(-len(scored) // at_most)]
    ranked = Ranked(n - first, stream.size.items)
    scores = np.zeros(stream.size.items, np.float32)
    stamp = np.full(stream.size.items, -1, np.int64)
    known = np.zeros(stream.size.items, np.bool_)
    known[item[:first]] = True
    last_of = np.full(stream.size.users, -1, np.int64)
    before = np.full(n, -1, np.int64)
    link(user, 0, first, last_of, before)
    group_start = _group_starts(group_end, first, n)

    started = time.perf_counter()
    _learn(peer, source, learn_from, first)
    learned = first
    for row in scored.tolist():
        start = int(group_start[row - first])
        if start > learned:
            _learn(peer, source, learned, start)
            link(user, learned, start, last_of, before)
            known[item[learned:start]] = True
            learned = start
        scores[:] = 0.0
        peer.score(int(user[row]), int(at_ms[row]), scores)
        ranked.rank[row - first] = place(
            scores, known, item, int(user[row]), row, int(item[row]), stream.include_seen, last_of, before, stamp,
            ranked.shown,
        )  # fmt: skip
    return Walked(ranked, time.perf_counter() - started, n - learn_from, len(scored))


def _learn(peer: Peer, source: Interactions, start: int, end: int) -> None:
    peer.learn(source.user[start:end], source.item[start:end], source.at_ms[start:end])


def _group_starts(group_end: np.ndarray, first: int, n: int) -> np.ndarray:
    """From each row of the stream, the first row of its group."""
    opens = np.r_[True, group_end[first : n - 1] == np.arange(first + 1, n)]
    return first + np.maximum.accumulate(np.where(opens, np.arange(n - first), 0))


@njit(cache=True)
def place(
    scores: Any,
    known: Any,
    item: Any,
    user: int,
    row: int,
    target: int,
    include_seen: bool,
    last_of: Any,
    before: Any,
    stamp: Any,
    shown: Any,
) -> int:
    """The target's rank, 1 is best, or MISS; ties against it. What stands in the top 10 is counted in `shown`."""
    if not include_seen:
        z = last_of[user]
        while z >= 0:
            stamp[item[z]] = row
            z = before[z]
    best = np.full(TOP, -1, np.int64)
    filled = 0
    rank = 1
    wanted = scores[target]
    for i in range(len(scores)):
        if not known[i] or stamp[i] == row:
            continue
        value = scores[i]
        if i != target and not (value < wanted):
            rank += 1
        if filled == TOP and not (value > scores[best[TOP - 1]]):
            continue
        at = filled if filled < TOP else TOP - 1
        while at > 0 and scores[best[at - 1]] < value:
            best[at] = best[at - 1]
            at -= 1
        best[at] = i
        filled = min(filled + 1, TOP)
    for at in range(filled):
        shown[best[at]] += 1
    if not known[target] or stamp[target] == row:
        return MISS
    return rank


def shifted(source: Interactions, start: int, end: int) -> Interactions:
    """Rows start … end - 1 by themselves, with their codes: what a peer is tuned on."""
    return replace(
        source,
        user=source.user[start:end],
        item=source.item[start:end],
        at_ms=source.at_ms[start:end],
        value=source.value[start:end],
        event_type=source.event_type[start:end],
        session=None,
        context={},
    )


def hits(rank: np.ndarray) -> np.ndarray:
    """1 where the taken item stood in the top 10. [n] float"""
    return ((rank > MISS) & (rank <= TOP)).astype(np.float64)


def gains(rank: np.ndarray) -> np.ndarray:
    """NDCG@10 of single events. [n] float"""
    return np.where(hits(rank) > 0, 1.0 / np.log2(1.0 + np.maximum(rank, 1)), 0.0)


def reciprocals(rank: np.ndarray) -> np.ndarray:
    return np.where(rank > MISS, 1.0 / np.maximum(rank, 1), 0.0)


__all__ = ["MISS", "NOT_SCORED", "Peer", "Size", "Stream", "Walked", "gains", "hits", "reciprocals", "shifted", "walk"]
