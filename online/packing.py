"""A table's columns side by side: each row as one string of bytes, gathered where somebody asks for it.

Columns lie apart, because a fold reads one of them at a time. What moves together is a row: digests are taken over
blocks of rows, and a difference holds rows. Order: of the columns' names, without room between them. Behind the rows of
a block there are zeros, so that all blocks are of a size that a hash takes in one go.
"""

import math

import numpy as np

from online.tables import Array, Arrays

APART = "frame.position"  # no part of the digest: a state that an act brought back has its digest back
JOINED = "_joined"  # ends the name of a text, which is a table of its own: its rows are bytes
REST = ""  # the table that has one row, of all tables that are small
SMALL = 1 << 13  # bytes
BLOCK = 1 << 13  # bytes: half the size hashes fewer of them, and more slowly
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
        self.per = rows_per_block(self.width)
        self.blocks = -(-self.rows // self.per) if self.width else 0

    def room(self, blocks: int) -> Array:
        """Room for so many blocks, [blocks, bytes of one], for `between` and `of`."""
        return np.zeros((blocks, max(BLOCK, self.width)), np.uint8)

    def rows_in(self, room: Array) -> Array:
        """The rows of the blocks in a room: [blocks, rows of one, width], a view."""
        shape, strides = (len(room), self.per, self.width), (room.shape[1], self.width, 1)
        return np.ndarray(shape, np.uint8, buffer=room.data, strides=strides)

    def between(self, first: int, last: int, room: Array) -> Array:
        """Blocks first, …, last - 1, in `room`."""
        rows = min(last * self.per, self.rows) - first * self.per
        whole, more = divmod(rows, self.per)
        packed = self.rows_in(room)
        for at, wide, content in self._parts:
            unit = _unit(wide)
            into = packed[:, :, at : at + wide].view(unit)
            source = content[first * self.per : first * self.per + rows].view(unit)
            into[:whole] = source[: rows - more].reshape(whole, self.per, into.shape[2])
            if more:
                into[whole, :more] = source[rows - more :]
        return self._ended(room[: last - first], last - 1)

    def of(self, blocks: Array, room: Array) -> Array:
        """These blocks (ascending), in `room`."""
        packed = self.rows_in(room[: len(blocks)])
        rows = np.minimum(blocks[:, None] * self.per + np.arange(self.per), self.rows - 1)
        for at, wide, content in self._parts:
            unit = _unit(wide)
            packed[:, :, at : at + wide].view(unit)[...] = content.view(unit)[rows]
        return self._ended(room[: len(blocks)], int(blocks[-1]))

    def _ended(self, room: Array, last: int) -> Array:
        """Zeros behind the last row, where the last block in a room is the table's and has fewer rows."""
        if (last + 1) * self.per > self.rows:
            room[-1, (self.rows - last * self.per) * self.width :] = 0
        return room

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


def rows_per_block(row_bytes: int) -> int:
    """Rows of so many bytes that make a block, one at least.

    >>> rows_per_block(8), rows_per_block(1_000), rows_per_block(100_000)
    (1024, 8, 1)
    """
    return max(1, BLOCK // max(1, row_bytes))


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
