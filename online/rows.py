"""From an id's 64-bit key to its row: the hash index of the tables that grow.

Rows are handed out in order, and rows given back are taken again, the lowest first. Chains live in derived arrays
(`head` by bucket, `next` by row): rebuilt out of the keys, never in the digest.
"""

from typing import Any, NamedTuple

import numpy as np

from online.compiling import kernel
from online.tables import Column


class Rows(NamedTuple):
    """key: [capacity] (0: free), next: [capacity], head: [buckets], a power of two, handed_out: [1] rows so far,
    free: [capacity] rows given back, the lowest last, freed: [1] how many of them."""

    key: np.ndarray[Any, np.dtype[np.uint64]]
    next: np.ndarray[Any, np.dtype[np.int32]]
    head: np.ndarray[Any, np.dtype[np.int32]]
    handed_out: np.ndarray[Any, np.dtype[np.int64]]
    free: np.ndarray[Any, np.dtype[np.int32]]
    freed: np.ndarray[Any, np.dtype[np.int64]]


def rows_columns(table: str) -> list[Column]:
    """Columns of a Rows index, under the names `rows` looks for."""
    return [
        Column(name=f"{table}.key", dtype="u8", served=True),
        Column(name=f"{table}.next", dtype="i4", fill=-1, derived=True, served=True),
        Column(name=f"{table}_head.head", dtype="i4", fill=-1, derived=True, served=True),
        Column(name=f"{table}_count.count", dtype="i8", served=True),
        Column(name=f"{table}.free", dtype="i4", fill=-1, derived=True),
        Column(name=f"{table}_freed.freed", dtype="i8", derived=True),
    ]


def rows_capacity(table: str, capacity: int) -> dict[str, int]:
    """Capacities of the tables that `rows_columns` declares, for `capacity` rows."""
    buckets = 1 << max(4, (capacity - 1).bit_length())
    return {table: capacity, f"{table}_head": buckets, f"{table}_count": 1, f"{table}_freed": 1}


def rows(arrays: dict[str, np.ndarray[Any, Any]], table: str) -> Rows:
    """The kernels' view of the columns."""
    return Rows(
        key=arrays[f"{table}.key"],
        next=arrays[f"{table}.next"],
        head=arrays[f"{table}_head.head"],
        handed_out=arrays[f"{table}_count.count"],
        free=arrays[f"{table}.free"],
        freed=arrays[f"{table}_freed.freed"],
    )


@kernel
def find_row(rows: Rows, key: np.uint64) -> int:
    """The row of `key`, or -1."""
    row: int = rows.head[key & np.uint64(rows.head.shape[0] - 1)]
    while row >= 0 and rows.key[row] != key:
        row = rows.next[row]
    return row


@kernel
def link_row(rows: Rows, row: int, key: np.uint64) -> None:
    """Give `row` to `key`."""
    bucket = key & np.uint64(rows.head.shape[0] - 1)
    rows.key[row] = key
    rows.next[row] = rows.head[bucket]
    rows.head[bucket] = row


@kernel
def add_row(rows: Rows, key: np.uint64) -> int:
    """A row for a key that has none: the lowest free one, or the next. The caller has made room."""
    if rows.freed[0] > 0:
        rows.freed[0] -= 1
        row: int = rows.free[rows.freed[0]]
    else:
        row = rows.handed_out[0]
        rows.handed_out[0] = row + 1
    link_row(rows, row, key)
    return row


@kernel
def room(rows: Rows) -> int:
    """How many rows can still be handed out at this capacity."""
    left: int = rows.key.shape[0] - rows.handed_out[0] + rows.freed[0]
    return left


@kernel
def reindex_rows(rows: Rows) -> None:
    """Build chains and free rows again out of the keys: after a load, growth or eviction."""
    for bucket in range(rows.head.shape[0]):
        rows.head[bucket] = -1
    for row in range(rows.handed_out[0]):
        rows.next[row] = -1
        if rows.key[row] != 0:
            link_row(rows, row, rows.key[row])
    rows.freed[0] = 0
    for row in range(rows.handed_out[0] - 1, -1, -1):
        if rows.key[row] == 0:
            rows.free[rows.freed[0]] = row
            rows.freed[0] += 1
