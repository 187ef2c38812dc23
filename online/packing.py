"""A table's columns side by side: each row as one string of bytes, gathered where somebody asks for it.

Columns lie apart, because a fold reads one of them at a time. What moves together is a row: digests are taken over
rows, and a difference holds rows. Order: of the columns' names, without room between them.
"""

import math

import numpy as np

from online.tables import Array, Arrays

APART = "frame.position"  # no part of the digest: a state that an act brought back has its digest back
JOINED = "_joined"  # ends the name of a text, which is a table of its own: its rows are bytes
REST = ""  # the table that has one row, of all tables that are small
SMALL = 1 << 13  # bytes
NARROW = 16  # bytes of a column's row: up to so many are copied as numbers, more as bytes

Columns = tuple[tuple[str, str, tuple[int, ...]], ...]  # name, dtype, shape of one row


class Packing:
    """Arrays that are a table's columns. Nothing is copied until rows are asked for."""

    def __init__(self, arrays: Arrays, *, one_row: bool = False) -> None:
        """`arrays`: by name; `one_row`: each of them is no column, but what the only row has of one.

        Raises ValueError where their rows are not equally many.
        """
        self.arrays = {name: np.ascontiguousarray(array) for name, array in sorted(arrays.items())}
        self._one_row = one_row
        rows = {name: array[None] if one_row else array for name, array in self.arrays.items()}
        self.columns: Columns = tuple((name, array.dtype.str, array.shape[1:]) for name, array in rows.items())
        counts = {array.shape[0] for array in rows.values()}
        if len(counts) != 1:
            raise ValueError(f"{', '.join(self.arrays)}: {sorted(counts)} rows, where all must have as many")
        self.rows: int = counts.pop()
        self._parts: list[tuple[int, int, Array]] = []  # where it begins, how wide it is, its rows as bytes
        self.width = 0
        for array in rows.values():
            if wide := array.dtype.itemsize * math.prod(array.shape[1:]):
                content = array.reshape(self.rows, wide // array.dtype.itemsize).view(np.uint8)
                self._parts.append((self.width, wide, content))
                self.width += wide

    def between(self, first: int, last: int, room: Array) -> Array:
        """Rows first, …, last - 1, [rows, width] bytes, in `room` or where they are."""
        if len(self._parts) == 1:
            return self._parts[0][2][first:last]
        packed = room[: last - first]
        for at, wide, content in self._parts:
            unit = _unit(wide)
            packed[:, at : at + wide].view(unit)[...] = content[first:last].view(unit)
        return packed

    def of(self, rows: Array, room: Array) -> Array:
        """These rows, [rows, width] bytes, in `room`."""
        packed = room[: len(rows)]
        for at, wide, content in self._parts:
            unit = _unit(wide)
            packed[:, at : at + wide].view(unit)[...] = content.view(unit)[rows]
        return packed

    def with_rows(self, rows: Array, packed: Array) -> Arrays:
        """The arrays by name, other ones, where these rows (ascending) hold what is packed; those behind the last one
        are new. Raises ValueError where they are not as wide."""
        if packed.shape != (len(rows), self.width):
            raise ValueError(f"{packed.shape} bytes for {len(rows)} rows of {', '.join(self.arrays)}")
        changed: Arrays = {}
        at = 0
        for name, dtype, shape in self.columns:
            wide = np.dtype(dtype).itemsize * math.prod(shape)
            written = np.ascontiguousarray(packed[:, at : at + wide]).view(dtype).reshape(len(rows), *shape)
            changed[name] = written[0] if self._one_row else with_rows(self.arrays[name], rows, written)
            at += wide
        return changed


def _unit(wide: int) -> str:
    """What a column's row is copied as: a narrow one as few wide numbers, a wide one as bytes."""
    return next(f"u{unit}" for unit in (8, 4, 2, 1) if wide % unit == 0) if wide <= NARROW else "u1"


def with_rows(array: Array, rows: Array, written: Array) -> Array:
    """Another array where these rows (ascending) hold what is written; those behind the last one are new."""
    changed = np.zeros((max(array.shape[0], int(rows[-1]) + 1), *array.shape[1:]), array.dtype)
    changed[: array.shape[0]] = array
    changed[rows] = written
    return changed


def packings(arrays: Arrays) -> dict[str, Packing]:
    """Every table of a state's arrays by name; each text as a table of its own, and all that is small as one row."""
    tables: dict[str, Arrays] = {}
    rest: Arrays = {}
    for name, array in sorted(arrays.items()):
        if name != APART:
            tables.setdefault(name if name.endswith(JOINED) else name.partition(".")[0], {})[name] = array
    for table, own in list(tables.items()):
        if not table.endswith(JOINED) and sum(array.nbytes for array in own.values()) <= SMALL:
            rest |= tables.pop(table)
    found = {table: Packing(own) for table, own in tables.items()}
    return found | {REST: Packing(rest, one_row=True)} if rest else found
