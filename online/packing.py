"""A table's columns together: blocks of rows as bytes, gathered where somebody asks for them.

Columns lie apart, because a fold reads one of them at a time. What moves together is a row: digests are taken over
blocks of rows, and a difference holds rows. A block holds what each column has of its rows, in order of the columns'
names, and zeros behind that, so that all blocks are of a size that a hash takes in one go.
"""

import math

import numpy as np

from online.tables import Array, Arrays

APART = "frame.position"  # no part of the digest: a state that an act brought back has its digest back
JOINED = "_joined"  # ends the name of a text, which is a table of its own: its rows are bytes
REST = ""  # the table that has one row, of all tables that are small
SMALL = 1 << 13  # bytes
BLOCK = 1 << 13  # bytes: half the size hashes fewer of them, and more slowly

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
        self._content = [  # of each column that holds anything: its rows as bytes
            array.reshape(self.rows, wide // array.dtype.itemsize).view(np.uint8)
            for array in rows.values()
            if (wide := array.dtype.itemsize * math.prod(array.shape[1:]))
        ]
        self.width = sum(content.shape[1] for content in self._content)
        self.per = rows_per_block(self.width)
        self.blocks = -(-self.rows // self.per) if self.width else 0

    def room(self, blocks: int) -> Array:
        """Room for so many blocks, [blocks, bytes of one], for `between` and `of`; and to gather one column in."""
        return np.zeros((2 * blocks, max(BLOCK, self.width)), np.uint8)

    def between(self, first: int, last: int, room: Array) -> Array:
        """Blocks first, …, last - 1, in `room`."""
        whole, at = min(last, self.rows // self.per), 0
        for content in self._content:
            run = self.per * content.shape[1]
            room[: whole - first, at : at + run] = _in_runs(content, self.per)[first:whole]
            at += run
        return self._ended(room[: last - first], last - 1)

    def of(self, blocks: Array, room: Array) -> Array:
        """These blocks (ascending), in `room`."""
        count, at = int(np.searchsorted(blocks, self.rows // self.per)), 0
        gathered = room[len(room) // 2 :].reshape(-1)
        for content in self._content:
            run = self.per * content.shape[1]
            column = gathered[: count * run].reshape(count, run)
            np.take(_in_runs(content, self.per), blocks[:count], axis=0, out=column, mode="clip")
            room[:count, at : at + run] = column
            at += run
        return self._ended(room[: len(blocks)], int(blocks[-1]))

    def _ended(self, room: Array, last: int) -> Array:
        """The last block in a room, where it is the table's and has fewer rows."""
        if (last + 1) * self.per > self.rows:
            end = b"".join(content[last * self.per :].tobytes() for content in self._content)
            room[-1] = np.frombuffer(end.ljust(room.shape[1], b"\0"), np.uint8)
        return room

    def values(self, rows: Array) -> Array:
        """What these rows hold, one column after the other, as bytes."""
        packed, at = np.empty(len(rows) * self.width, np.uint8), 0
        for content in self._content:
            own = packed[at : at + len(rows) * content.shape[1]].reshape(len(rows), content.shape[1])
            np.take(content, rows, axis=0, out=own, mode="clip")
            at += own.size
        return packed

    def with_rows(self, rows: Array, values: Array) -> Arrays:
        """The arrays by name, other ones, where these rows (ascending) hold these values; those behind the last one
        are new. Raises ValueError where there are not as many bytes."""
        if values.shape != (len(rows) * self.width,):
            raise ValueError(f"{values.shape} bytes for {len(rows)} rows of {', '.join(self.arrays)}")
        changed: Arrays = {}
        at = 0
        for name, dtype, shape in self.columns:
            own = values[at : at + len(rows) * np.dtype(dtype).itemsize * math.prod(shape)]
            written = own.view(dtype).reshape(len(rows), *shape)
            changed[name] = written[0] if self._one_row else with_rows(self.arrays[name], rows, written)
            at += own.size
        return changed


def _in_runs(content: Array, per: int) -> Array:
    """A column by blocks, as far as those have all of their rows: what it has of one lies together."""
    whole = len(content) // per
    return content[: whole * per].reshape(whole, per * content.shape[1])


def rows_per_block(row_bytes: int) -> int:
    """Rows of so many bytes that make a block, one at least.

    >>> rows_per_block(8), rows_per_block(1_000), rows_per_block(100_000)
    (1024, 8, 1)
    """
    return max(1, BLOCK // max(1, row_bytes))


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
