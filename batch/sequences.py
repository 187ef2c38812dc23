"""Interactions -> what a person took, in order -> dense rows of tokens for training.

Rows hold the sequences end to end, without padding: where one begins, the recurrence forgets. A sequence that
crosses the end of a row goes on in another as a new one. Chance is a function of the seed and the epoch, so a
resumed run packs what the uninterrupted one would have.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from online.interactions import Interactions
from online.settings import EventRule, Settings


@dataclass(frozen=True, slots=True)
class Sequences:
    """item, at_ms: int64 [n], user after user, each in time order; start: int64 [users + 1]."""

    item: np.ndarray
    at_ms: np.ndarray
    start: np.ndarray

    def __len__(self) -> int:
        return len(self.start) - 1

    @property
    def lengths(self) -> np.ndarray:
        return np.diff(self.start)

    def keep(self, mask: np.ndarray) -> Sequences:
        """The events where mask [n] holds; users stay, some of them without events."""
        counts = np.concatenate([[0], np.cumsum(mask)])[self.start]
        return Sequences(self.item[mask], self.at_ms[mask], counts)

    def without_last(self, events: int) -> Sequences:
        """Each sequence without its last events."""
        position = np.arange(len(self.item)) - np.repeat(self.start[:-1], self.lengths)
        return self.keep(position < np.repeat(self.lengths, self.lengths) - events)


def taken(interactions: Interactions, rules: Mapping[str, EventRule] | None = None) -> np.ndarray:
    """Which rows say that a user chose the item: bool [n]. The fold's own rules; an event type without a rule
    counts.

    A rating of 2 or a skip teaches the live learners; it is no step in what somebody likes.
    """
    rules = Settings().events if rules is None else rules
    chosen = np.ones(len(interactions), dtype=bool)
    for code, name in enumerate(interactions.event_types):
        rule = rules.get(name)
        if rule is None:
            continue
        of_type = interactions.event_type == code
        if rule.taken <= 0.0:
            chosen &= ~of_type
        elif rule.taken_from is not None:
            chosen &= ~of_type | ~(interactions.value < rule.taken_from)
    return chosen


def read_sequences(interactions: Interactions) -> Sequences:
    """What each user took, in time order; an item directly after itself (a play, then its like) counts once."""
    rows = np.flatnonzero(taken(interactions))
    rows = rows[np.argsort(interactions.user[rows], kind="stable")]
    user, item, at_ms = interactions.user[rows], interactions.item[rows], interactions.at_ms[rows]
    again = np.zeros(len(rows), dtype=bool)
    again[1:] = (user[1:] == user[:-1]) & (item[1:] == item[:-1])
    user, item, at_ms = user[~again], item[~again], at_ms[~again]
    counts = np.bincount(user, minlength=len(interactions.user_ids))
    return Sequences(item, at_ms, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))


def token_count(sequences: Sequences) -> int:
    """Steps with a next item to predict."""
    return int(np.maximum(sequences.lengths - 1, 0).sum())


@dataclass(frozen=True, slots=True)
class Rows:
    """One epoch's tokens: item, target, age int64 [rows, length]."""

    item: np.ndarray
    target: np.ndarray
    age: np.ndarray


def pack(sequences: Sequences, *, length: int, seed: int, epoch: int) -> Rows:
    """All tokens in a fresh order of the users, cut into rows; less than a row's length is left over.

    Raises ValueError where there are fewer tokens than one row holds.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, epoch]))
    users = np.flatnonzero(sequences.lengths > 1)
    users = users[generator.permutation(len(users))]
    tokens = sequences.lengths[users] - 1
    total = int(tokens.sum())
    if total < length:
        raise ValueError(f"{total} steps to learn from, at least {length} are needed")
    position = np.arange(total) - np.repeat(np.cumsum(tokens) - tokens, tokens)
    source = np.repeat(sequences.start[users], tokens) + position
    rows = total // length
    offset = int(generator.integers(0, total - rows * length + 1))
    order = generator.permutation(rows)

    def cut(column: np.ndarray) -> np.ndarray:
        return column[offset : offset + rows * length].reshape(rows, length)[order]

    age = np.minimum(cut(position), np.arange(length))
    return Rows(item=cut(sequences.item[source]), target=cut(sequences.item[source + 1]), age=age)
