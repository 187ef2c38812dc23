"""What is taken near, or after, the user's last items: windowed item-kNN and sequential rules, one event at a time.

Sequential rules (Kamehkhosh, Jannach and Ludewig 2017; Ludewig and Jannach 2018): after item j came item i, weighed by
one over how many items lay between. Item-kNN on a window: i and j were near each other, both ways, as a cosine with a
prior. Counts fade by the clock. An item remembers its heaviest neighbours (1,000 in a small catalogue). Beside it
stands popularity, which breaks ties where its weight is tiny and is an expert of its own where it is not.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit

from benchmarks.peers.popularity import GREATEST, Popularity, weight_of
from benchmarks.peers.stream import Size

PLACES = 12_000_000  # for neighbours, of all items together
RING = 32
CHUNK = 64


class Neighbours:
    """item-kNN with `directed=False`, sequential rules with True."""

    def __init__(
        self,
        size: Size,
        *,
        directed: bool,
        window: int = 10,
        history: int = 10,
        fade: float = 0.7,
        prior: float = 10.0,
        half_life_s: float = 0.0,
        session_gap_s: float = 0.0,
        popularity: float = 1e-6,
        popularity_half_life_s: float = 0.0,
    ) -> None:
        self.name = "sequential rules" if directed else "windowed item-kNN"
        places = min(1_000, size.items, max(50, PLACES // size.items))
        self.directed, self.window, self.history, self.fade, self.prior = directed, window, history, fade, prior
        self.half_life_ms, self.gap_ms = half_life_s * 1000.0, session_gap_s * 1000.0
        self.near = np.full((size.items, places), -1, np.int32)
        self.count = np.zeros((size.items, places))
        self.used = np.zeros(size.items, np.int64)
        self.total = np.zeros(size.items)
        self.origin_ms = np.zeros(1)
        self.ring = np.zeros((size.users, RING), np.int32)
        self.length = np.zeros(size.users, np.int64)  # of the ring, from its newest item back
        self.taken = np.zeros(size.users, np.int64)
        self.last_ms = np.zeros(size.users, np.int64)
        self.popularity, self.popular = popularity, Popularity(size, half_life_s=popularity_half_life_s)

    def learn(self, user: np.ndarray, item: np.ndarray, at_ms: np.ndarray) -> None:
        self.popular.learn(user, item, at_ms)
        link_items(
            self.near, self.count, self.used, self.total, self.origin_ms, self.half_life_ms, self.gap_ms,
            self.directed, self.window, self.ring, self.length, self.taken, self.last_ms, user, item, at_ms,
        )  # fmt: skip

    def score(self, user: int, at_ms: int, scores: np.ndarray) -> None:
        if self.gap_ms <= 0 or at_ms - self.last_ms[user] <= self.gap_ms:
            near_items(
                self.near, self.count, self.used, self.total, self.directed, self.history, self.fade,
                self.prior * weight_of(at_ms, self.origin_ms, self.half_life_ms), self.ring, self.length, self.taken,
                user, scores,
            )  # fmt: skip
        blend(scores, self.popular.heat, self.popularity)


@njit(cache=True)
def add(near: Any, count: Any, used: Any, j: int, i: int, weight: float) -> None:
    """One more neighbour i of j; where j's places are taken, the lightest gives way."""
    row, width = near[j], used[j]
    for start in range(0, width, CHUNK):
        end = min(start + CHUNK, width)
        here = False
        for at in range(start, end):  # without a way out, so that the compiler looks at many at once
            here |= row[at] == i
        if here:
            for at in range(start, end):
                if row[at] == i:
                    count[j, at] += weight
            return
    lightest = width
    if width < len(row):
        used[j] += 1
    else:
        lightest = int(np.argmin(count[j]))
    row[lightest] = i
    count[j, lightest] = weight


@njit(cache=True)
def link_items(
    near: Any, count: Any, used: Any, total: Any, origin_ms: Any, half_life_ms: float, gap_ms: float, directed: bool,
    window: int, ring: Any, length: Any, taken: Any, last_ms: Any, user: Any, item: Any, at_ms: Any,
) -> None:  # fmt: skip
    for x in range(len(item)):
        weight = weight_of(at_ms[x], origin_ms, half_life_ms)
        if weight > GREATEST:
            count /= weight
            total /= weight
            origin_ms[0] = at_ms[x]
            weight = 1.0
        u, i = user[x], item[x]
        if gap_ms > 0.0 and at_ms[x] - last_ms[u] > gap_ms:
            length[u] = 0
        for back in range(min(window, length[u])):
            j = ring[u, (taken[u] - 1 - back) % RING]
            if j == i:
                continue
            if directed:
                add(near, count, used, j, i, weight / (1.0 + back))
            else:
                add(near, count, used, j, i, weight)
                add(near, count, used, i, j, weight)
        total[i] += weight
        ring[u, taken[u] % RING] = i
        taken[u] += 1
        length[u] = min(length[u] + 1, RING)
        last_ms[u] = at_ms[x]


@njit(cache=True)
def near_items(
    near: Any, count: Any, used: Any, total: Any, directed: bool, history: int, fade: float, prior: float, ring: Any,
    length: Any, taken: Any, user: int, scores: Any,
) -> None:  # fmt: skip
    voice = 1.0
    for back in range(min(history, length[user])):
        j = ring[user, (taken[user] - 1 - back) % RING]
        for at in range(used[j]):
            i = near[j, at]
            if directed:
                scores[i] += voice * count[j, at] / (total[j] + prior)
            else:
                scores[i] += voice * count[j, at] / math.sqrt((total[j] + prior) * (total[i] + prior))
        voice *= fade


@njit(cache=True)
def blend(scores: Any, heat: Any, popularity: float) -> None:
    """Shares of what is near, and so much of the shares of what is popular."""
    total, hot = 0.0, 0.0
    for i in range(len(scores)):
        total += scores[i]
        hot += heat[i]
    near_part = 1.0 / total if total > 0.0 else 0.0
    hot_part = popularity / hot if hot > 0.0 else 0.0
    for i in range(len(scores)):
        scores[i] = scores[i] * near_part + heat[i] * hot_part
