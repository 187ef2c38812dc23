"""State as named arrays: what a column is, and how columns are allocated, grown, and given back as rows.

Every number that the fold keeps stands in an array that a `Column` declares. That one list is what allocation,
growth, digest, snapshot and publication walk, so a new array cannot be forgotten by any of them.

A table is a set of columns with the same rows ("users", "items"). Tables with a fixed number of rows declare it as
their capacity from the start; the others double, and capacity never enters the digest: only live rows do.
"""

import contextlib
import math
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Arrays = dict[str, Array]
LARGE_PAGE = 1 << 21
LARGE = LARGE_PAGE >> 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One named array of a table, [capacity, *shape]."""

    name: str  # "users.hidden": the table's name and the column's own
    dtype: str  # numpy's, with byte order implied little endian: "f4", "f8", "i4", "i8", "u8", "u1"
    shape: tuple[int, ...] = ()  # of one row
    fill: float = 0.0  # what a new row holds
    derived: bool = False  # can be rebuilt from the others: not in digest and snapshot
    refers: str | None = None  # the table whose row numbers it holds (-1 is none)
    served: bool = False  # a decision reads it: published to the API's workers

    @property
    def table(self) -> str:
        """The table that the column belongs to."""
        return self.name.partition(".")[0]

    def allocated(self, capacity: int) -> Array:
        """A fresh array of `capacity` rows, filled."""
        array = _room((capacity, *self.shape), np.dtype(self.dtype))
        array[...] = self.fill
        return array


def _room(shape: tuple[int, ...], dtype: "np.dtype[Any]") -> Array:
    """Memory for an array; a large one out of large pages, so that a process that holds many is forked in a moment."""
    bytes_ = math.prod(shape) * dtype.itemsize
    if bytes_ < LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.empty(shape, dtype)
    buffer = mmap.mmap(-1, -(-bytes_ // LARGE_PAGE) * LARGE_PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a kernel without them
        buffer.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(buffer, dtype, count=math.prod(shape)).reshape(shape)


def allocate(columns: Iterable[Column], capacity: Mapping[str, int] | int) -> Arrays:
    """Arrays by column name; `capacity` by table, or one for all."""
    return {
        column.name: column.allocated(capacity if isinstance(capacity, int) else capacity[column.table])
        for column in columns
    }


def grown(column: Column, array: Array, capacity: int) -> Array:
    """A larger copy of `array`, the new rows filled."""
    larger = column.allocated(capacity)
    larger[: array.shape[0]] = array
    return larger


def reset_row(column: Column, array: Array, row: int) -> None:
    """Give one row back, as if it had never been used."""
    array[row] = column.fill
