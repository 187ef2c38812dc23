"""A bounded memory of keys in order of arrival: the newest `capacity` are known, older ones fall out by themselves.

Deduplication and pending decisions are bounded this way, by log position and never by a clock (law 4). Each key has
a running number; its row is that number modulo the capacity. A bucket points to its newest number, and each row to
the one before it in its bucket; a chain ends where the numbers are too old to be alive, so nothing is ever deleted.
"""

from typing import Any, NamedTuple

import numpy as np

from online.compiling import kernel
from online.tables import Column


class Fifo(NamedTuple):
    """key: [capacity], before: [capacity], head: [buckets], a power of two, pushed: [1] keys ever."""

    key: np.ndarray[Any, np.dtype[np.uint64]]
    before: np.ndarray[Any, np.dtype[np.int64]]
    head: np.ndarray[Any, np.dtype[np.int64]]
    pushed: np.ndarray[Any, np.dtype[np.int64]]


def fifo_columns(table: str, *, served: bool) -> list[Column]:
    """Columns of a Fifo, under the names `view` looks for."""
    return [
        Column(name=f"{table}.key", dtype="u8", served=served),
        Column(name=f"{table}.before", dtype="i8", fill=-1, derived=True, served=served),
        Column(name=f"{table}_head.head", dtype="i8", fill=-1, derived=True, served=served),
        Column(name=f"{table}_count.count", dtype="i8", served=served),
    ]


def fifo_capacity(table: str, capacity: int) -> dict[str, int]:
    """Fixed capacities of the tables that `fifo_columns` declares."""
    buckets = 1 << max(4, (capacity - 1).bit_length())
    return {table: capacity, f"{table}_head": buckets, f"{table}_count": 1}


def fifo(arrays: dict[str, np.ndarray[Any, Any]], table: str) -> Fifo:
    """The kernels' view of the columns."""
    return Fifo(
        key=arrays[f"{table}.key"],
        before=arrays[f"{table}.before"],
        head=arrays[f"{table}_head.head"],
        pushed=arrays[f"{table}_count.count"],
    )


@kernel
def find(fifo: Fifo, key: np.uint64) -> int:
    """The newest living number of `key`, or -1."""
    capacity = fifo.key.shape[0]
    oldest = fifo.pushed[0] - capacity
    number: int = fifo.head[key & np.uint64(fifo.head.shape[0] - 1)]
    while number >= 0 and number >= oldest:
        if fifo.key[number % capacity] == key:
            return number
        number = fifo.before[number % capacity]
    return -1


@kernel
def push(fifo: Fifo, key: np.uint64) -> int:
    """Remember `key`; the oldest falls out where the memory is full. Its running number."""
    capacity = fifo.key.shape[0]
    number: int = fifo.pushed[0]
    bucket = key & np.uint64(fifo.head.shape[0] - 1)
    fifo.key[number % capacity] = key
    fifo.before[number % capacity] = fifo.head[bucket]
    fifo.head[bucket] = number
    fifo.pushed[0] = number + 1
    return number


@kernel
def reindex(fifo: Fifo) -> None:
    """Build the chains again out of the keys, after a snapshot was loaded."""
    capacity = fifo.key.shape[0]
    for bucket in range(fifo.head.shape[0]):
        fifo.head[bucket] = -1
    for number in range(max(0, fifo.pushed[0] - capacity), fifo.pushed[0]):
        bucket = fifo.key[number % capacity] & np.uint64(fifo.head.shape[0] - 1)
        fifo.before[number % capacity] = fifo.head[bucket]
        fifo.head[bucket] = number
