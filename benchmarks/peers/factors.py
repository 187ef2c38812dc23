"""Incremental matrix factorisation, one step of gradient descent per event.

ISGD (Vinagre, Jorge and Gama 2014): every take is a 1. With `negatives`, so many of the items that others took longest
ago count as a 0 at each take (RAISGD, Vinagre, Jorge and Gama 2015): without them all factors drift towards one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from benchmarks.peers.stream import Size


class Factors:
    def __init__(
        self,
        size: Size,
        *,
        factors: int = 64,
        rate: float = 0.05,
        penalty: float = 0.01,
        negatives: int = 0,
        seed: int = 0,
    ) -> None:
        self.name = "ISGD" if negatives == 0 else "ISGD + negatives"
        chance = np.random.default_rng(seed)
        self.rate, self.penalty, self.negatives = rate, penalty, negatives
        self.users = chance.normal(0.0, 0.1, (size.users, factors)).astype(np.float32)
        self.items = chance.normal(0.0, 0.1, (size.items, factors)).astype(np.float32)
        # Items in the order of their last take, oldest first: a list with two ends.
        self.after = np.full(size.items + 1, -1, np.int64)
        self.ahead = np.full(size.items + 1, -1, np.int64)
        self.after[size.items] = self.ahead[size.items] = size.items  # the list's own place

    def learn(self, user: np.ndarray, item: np.ndarray, at_ms: np.ndarray) -> None:
        descend(
            self.users, self.items, self.after, self.ahead, np.float32(self.rate), np.float32(self.penalty),
            self.negatives, user, item,
        )  # fmt: skip

    def score(self, user: int, at_ms: int, scores: np.ndarray) -> None:
        np.dot(self.items, self.users[user], out=scores)


@njit(cache=True)
def step(p: Any, q: Any, aim: float, rate: float, penalty: float) -> None:
    found = np.float32(0.0)
    for k in range(len(p)):
        found += p[k] * q[k]
    miss = np.float32(aim) - found
    for k in range(len(p)):
        a, b = p[k], q[k]
        p[k] = a + rate * (miss * b - penalty * a)
        q[k] = b + rate * (miss * a - penalty * b)


@njit(cache=True)
def descend(
    users: Any, items: Any, after: Any, ahead: Any, rate: float, penalty: float, negatives: int, user: Any, item: Any
) -> None:
    head = len(items)
    for x in range(len(item)):
        p, i = users[user[x]], item[x]
        # The oldest items answer for what was not wanted, and go to the queue's end.
        for _ in range(negatives):
            j = after[head]
            if j == head:
                break
            if j != i:
                step(p, items[j], 0.0, rate, penalty)
            move_last(after, ahead, j)
        step(p, items[i], 1.0, rate, penalty)
        move_last(after, ahead, i)


@njit(cache=True)
def move_last(after: Any, ahead: Any, i: int) -> None:
    head = len(after) - 1
    if after[i] >= 0:
        after[ahead[i]] = after[i]
        ahead[after[i]] = ahead[i]
    last = ahead[head]
    after[last] = i
    ahead[i] = last
    after[i] = head
    ahead[head] = i
