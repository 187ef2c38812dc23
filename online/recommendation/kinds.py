"""Kinds: what an item's description says that it is ("genre=film"), and how much of that a user takes.

An item is known by its kinds before anybody took it: a new film is shown to those who take films. How much more often
than everybody a user takes a kind is read off their last items, so it moves at once and needs no state of its own:

    kinship(kind) = log2((share of the user's takes + LEAST) / (share of all takes + LEAST))

The share of few takes is drawn towards everybody's, as if PRIOR takes of the average user stood beside them. An item's
kinship is the mean over its kinds; it adds its learned weight times that to the score. After naive Bayes.
"""

from collections.abc import Iterator, Mapping

import numpy as np

from online.chance import hash64
from online.compiling import kernel
from online.recommendation.layout import KINDS, KINDS_MAX, RING, ItemArrays, KindArrays, UserArrays
from online.recommendation.logarithm import log2_plain

Features = Mapping[str, str | int | float | bool | list[str]]

PRIOR = np.float32(3.0)
FADE = np.float32(0.05)  # the take before the last counts 1 / (1 + FADE), the one before that 1 / (1 + 2 FADE), …
LEAST = np.float32(0.01)
COUNTED_MAX = 100_000.0  # takes; where more were counted, all counts are halved and old ones give way
ONE = np.float32(1.0)
ZERO = np.float32(0.0)


def kind_names(features: Features | None) -> Iterator[str]:
    """The kinds in an item's features: texts and lists of texts, by name; numbers are none.

    >>> list(kind_names({"minutes": 90, "genre": ["film", "crime"], "language": "en"}))
    ['genre=film', 'genre=crime', 'language=en']
    """
    for name, value in sorted((features or {}).items()):
        for one in [value] if isinstance(value, str) else value if isinstance(value, list) else []:
            yield f"{name}={one}"


def describe_kinds(kinds: KindArrays, items: ItemArrays, row: int, features: Features | None) -> None:
    """Write the first KINDS kinds of one item, in place. Kinds beyond the first KINDS_MAX of all items are not kept."""
    items.kind[row] = -1
    held = 0
    for name in kind_names(features):
        kind = _row_of(kinds, np.uint64(hash64(name)))
        if kind >= 0 and held < KINDS:
            items.kind[row, held] = kind
            held += 1


def _row_of(kinds: KindArrays, key: np.uint64) -> int:
    known = int(kinds.known[0])
    found = np.flatnonzero(kinds.key[:known] == key)
    if len(found):
        return int(found[0])
    if known == KINDS_MAX:
        return -1
    kinds.key[known] = key
    kinds.known[0] = known + 1
    return known


@kernel
def count_kinds(kinds: KindArrays, kind: np.ndarray, item: int, weight: float) -> None:
    """Count one take of an item for each of its kinds. kind: i4 [items, KINDS]."""
    kinds.counted[0] += weight
    for k in range(KINDS):
        if kind[item, k] >= 0:
            kinds.taken[kind[item, k]] += weight
    if kinds.counted[0] > COUNTED_MAX:
        kinds.counted[0] *= 0.5
        for row in range(kinds.known[0]):
            kinds.taken[row] *= 0.5


@kernel
def set_kinship(kinds: KindArrays, items: ItemArrays, users: UserArrays, user: int, kinship: np.ndarray) -> None:
    """kinship[:known kinds] of a user (row or -1), from their last items."""
    known = kinds.known[0]
    for row in range(known):
        kinship[row] = ZERO
    if user < 0 or users.taken[user] == 0 or not kinds.counted[0] > 0.0:
        return
    kind = items.kind
    whole = ZERO
    for lag in range(min(users.taken[user], RING)):
        item = users.ring[user, (users.taken[user] - 1 - lag) % RING]
        if item < 0 or item >= kind.shape[0] or kind[item, 0] < 0:
            continue
        counts = ONE / (ONE + FADE * np.float32(lag))
        whole += counts
        for k in range(KINDS):
            if kind[item, k] >= 0:
                kinship[kind[item, k]] += counts
    for row in range(known):
        of_all = np.float32(kinds.taken[row] / kinds.counted[0])
        own = (kinship[row] + PRIOR * of_all) / (whole + PRIOR)
        kinship[row] = log2_plain((own + LEAST) / (of_all + LEAST))


@kernel
def kinship_of(kinship: np.ndarray, kind: np.ndarray, item: int) -> np.float32:
    """An item's kinship to the user that `set_kinship` was called for: 0 where nothing is said about it."""
    total, held = ZERO, ZERO
    for k in range(KINDS):
        if kind[item, k] >= 0:
            total += kinship[kind[item, k]]
            held += ONE
    return total / held if held > ZERO else ZERO
