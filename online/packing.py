"""A table's columns side by side: each row as one string of bytes, gathered where somebody asks for it.

Columns lie apart, because a fold reads one of them at a time. What moves together is a row: digests are taken over
rows, and a difference holds rows. Order: of the columns' names, without room between them.
"""

import math

import numpy as np

from online.tables import Array, Arrays

APART = "frame.position"  # no part of the digest: a state that an act brought back has its digest back
JOINED = "_joined"  # ends the name of a text, which is a table of its own: its rows are bytes
NARROW = 16  # bytes of a column's row: up to so many are copied as numbers, more as bytes

Columns = tuple[tuple[str, str, tuple[int, ...]], ...]  # name, dtype, shape of one row


class Packing:
    """Arrays with equally many rows. Nothing is copied until rows are asked for."""

    def __init__(self, arrays: Arrays) -> None:
        """`arrays`: by name. Raises ValueError where their rows are not equally many."""
        self.arrays = {name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}
        self.columns: Columns = tuple((name, a.dtype.str, a.shape[1:]) for name, a in self.arrays.items())
        counts = {array.shape[0] for array in self.arrays.values()}
        if len(counts) != 1:
            raise ValueError(f"{', '.join(self.arrays)}: {sorted(counts)} rows, where all must have as many")
        self.rows: int = counts.pop()
        self.width = sum(row_bytes(dtype, shape) for _, dtype, shape in self.columns)
        self._parts: list[tuple[int, int, Array]] = []  # where it begins, how wide it is, its rows
        at = 0
        for (_, dtype, shape), array in zip(self.columns, self.arrays.values(), strict=True):
            wide = row_bytes(dtype, shape)
            if wide:
                self._parts.append((at, wide, _in_units(array, self.rows, wide)))
            at += wide

    def between(self, first: int, last: int, room: Array) -> Array:
        """Rows first, …, last - 1, [rows, width] bytes, in `room` or where they are."""
        if len(self._parts) == 1:
            return self._parts[0][2][first:last].view(np.uint8)
        packed = room[: last - first]
        for at, wide, units in self._parts:
            packed[:, at : at + wide].view(units.dtype)[...] = units[first:last]
        return packed

    def of(self, rows: Array, room: Array) -> Array:
        """These rows, [rows, width] bytes, in `room`."""
        packed = room[: len(rows)]
        for at, wide, units in self._parts:
            packed[:, at : at + wide].view(units.dtype)[...] = units[rows]
        return packed


def row_bytes(dtype: str, shape: tuple[int, ...]) -> int:
    """Bytes of one row of a column."""
    return np.dtype(dtype).itemsize * math.prod(shape)


def _in_units(array: Array, rows: int, wide: int) -> Array:
    """The same memory as [rows, numbers of one row]: a narrow row's as wide as they can be, a wide one's bytes."""
    unit = next(unit for unit in (8, 4, 2, 1) if wide % unit == 0) if wide <= NARROW else 1
    return array.reshape(rows, wide // array.dtype.itemsize).view(f"u{unit}")


def packings(arrays: Arrays) -> dict[str, Packing]:
    """Every table of a state's arrays by name, each text as a table of its own."""
    tables: dict[str, Arrays] = {}
    for name, array in sorted(arrays.items()):
        if name != APART:
            tables.setdefault(table_of(name), {})[name] = array
    return {table: Packing(own) for table, own in sorted(tables.items())}


def table_of(name: str) -> str:
    """The table that an array belongs to."""
    return name if name.endswith(JOINED) else name.partition(".")[0]


def unpacked(columns: Columns, packed: Array) -> Arrays:
    """The columns of packed rows, by name. Raises ValueError where they are not as wide."""
    count = packed.shape[0]
    if packed.shape != (count, sum(row_bytes(dtype, shape) for _, dtype, shape in columns)):
        raise ValueError(f"rows of {packed.shape[1:]} bytes are none of {', '.join(name for name, _, _ in columns)}")
    found: Arrays = {}
    at = 0
    for name, dtype, shape in columns:
        wide = row_bytes(dtype, shape)
        found[name] = np.ascontiguousarray(packed[:, at : at + wide]).view(dtype).reshape(count, *shape)
        at += wide
    return found
