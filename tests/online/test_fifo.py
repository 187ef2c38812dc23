"""The bounded memory of keys agrees with the plain definition: the newest `capacity` keys are known."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from online.fifo import Fifo, fifo, fifo_capacity, fifo_columns, find, push, reindex
from online.tables import allocate


def fresh(capacity: int) -> Fifo:
    return fifo(allocate(fifo_columns("ring", served=False), fifo_capacity("ring", capacity)), "ring")


@given(st.integers(1, 20), st.lists(st.integers(1, 30), max_size=200), st.booleans())
def test_exactly_the_newest_keys_are_known_also_after_reindexing(
    capacity: int, keys: list[int], reindexed: bool
) -> None:
    ring = fresh(capacity)
    for key in keys:
        push(ring, np.uint64(key))
    if reindexed:
        ring.head[:] = 0
        reindex(ring)
    for key in range(1, 31):
        newest = max((n for n, k in enumerate(keys) if k == key and n >= len(keys) - capacity), default=-1)
        assert find(ring, np.uint64(key)) == newest
