"""What changed between two states, array by array: rows that differ, or what came behind an equal beginning.

    <name>              the array whole
    <name>|rows, |values    numbers of the rows that differ, and what they hold now
    <name>|kept, |tail      how much of the beginning is the same (texts), and what follows it

An array that stands in none of these is the other state's, as it was there.
"""

import numpy as np

from online.hash_tree import APART, BLOCK, Leaves, Tree, block_rows, leaves, renewed
from online.state import COLUMN_BY_NAME
from online.tables import Array, Arrays
from online.touched import Touched


def difference(before: Arrays, after: Arrays) -> Arrays:
    """What `patched` needs beside `before` to give `after`."""
    parts: Arrays = {}
    for name, array in after.items():
        old = before.get(name)
        if old is None or old.dtype != array.dtype or old.shape[1:] != array.shape[1:]:
            parts[name] = array
        elif name.endswith("_joined"):
            kept = _equal_beginning(old, array)
            if kept != old.shape[0] or kept != array.shape[0]:
                parts[f"{name}|kept"] = np.array([kept], np.int64)
                parts[f"{name}|tail"] = array[kept:]
        else:
            changed = _changed_rows(old, array)
            if changed is None:
                parts[name] = array
            elif changed.size:
                parts[f"{name}|rows"] = changed
                parts[f"{name}|values"] = array[changed]
    return parts


def difference_by_tree(before: Tree, after: Arrays, touched: Touched) -> tuple[Tree, Arrays]:
    """The tree of `after`, and what `patched` needs beside the arrays of the tree `before` to give it.

    Only blocks that hold a noted row are hashed, of tables that nobody notes all; arrays are not compared.
    """
    tree: Tree = {}
    parts: Arrays = {}
    noted = _Noted(touched)
    for name, array in sorted(after.items()):
        if name == APART:
            parts[name] = array
            continue
        known, column = before.get(name), COLUMN_BY_NAME.get(name)
        if (
            known is None
            or known.dtype != array.dtype.str
            or known.shape[1:] != array.shape[1:]
            or (column is not None and known.shape[0] > array.shape[0])
        ):
            tree[name] = leaves(array)
            if tree[name] != known:
                parts[name] = array
        elif column is None:
            tree[name] = leaves(array)
            _text_part(parts, name, array, known, tree[name])
        else:
            tree[name], changed = renewed(known, array, noted.blocks(column.table, known.shape[0], array))
            if changed.size:
                written = noted.written(column.table, changed, array)
                parts[f"{name}|rows"] = written
                parts[f"{name}|values"] = array[written]
    return tree, parts


class _Noted:
    """Rows and blocks to look at, found once for the columns that share them."""

    def __init__(self, touched: Touched) -> None:
        self._touched = touched
        self._rows: dict[str, Array | None] = {}
        self._blocks: dict[tuple[str, int], Array] = {}
        self._written: dict[tuple[str, int, int, bytes], Array] = {}

    def blocks(self, table: str, before: int, array: Array) -> Array:
        """Blocks that hold a row which was written; `before`: rows there were."""
        count, per = array.shape[0], block_rows(array)
        if table not in self._rows:
            rows = self._touched.rows(table)
            if rows is not None:
                rows = np.union1d(rows[rows < before], np.arange(before, count))
            self._rows[table] = rows
        rows = self._rows[table]
        if (table, per) not in self._blocks:
            self._blocks[table, per] = np.arange(-(-count // per)) if rows is None else np.unique(rows // per)
        return self._blocks[table, per]

    def written(self, table: str, changed: Array, array: Array) -> Array:
        """Rows that were written, of those in the blocks that changed."""
        key = (table, block_rows(array), array.shape[0], changed.tobytes())
        if key not in self._written:
            self._written[key] = _rows_of(changed, self._rows[table], array)
        return self._written[key]


def _rows_of(blocks: Array, rows: Array | None, array: Array) -> Array:
    per, count = block_rows(array), array.shape[0]
    if rows is None:
        written: Array = (blocks[:, None] * per + np.arange(per)).ravel()
        written = written[written < count]
        return written.astype(np.uint32)
    changed = np.zeros(-(-count // per), np.bool_)
    changed[blocks] = True
    kept: Array = rows[changed[rows // per]]
    return kept.astype(np.uint32)


def _text_part(parts: Arrays, name: str, array: Array, known: Leaves, found: Leaves) -> None:
    if found == known:
        return
    same = next((k for k, (a, b) in enumerate(zip(_each(known), _each(found), strict=False)) if a != b), None)
    whole = min(known.shape[0], array.shape[0]) // BLOCK
    kept = min(whole if same is None else same, whole) * BLOCK
    parts[f"{name}|kept"] = np.array([kept], np.int64)
    parts[f"{name}|tail"] = array[kept:]


def _each(found: Leaves) -> list[bytes]:
    return [found.digests[at : at + 32] for at in range(0, len(found.digests), 32)]


def patched(before: Arrays, parts: Arrays) -> Arrays:
    """The arrays of which `parts` is the difference to `before`. Raises ValueError, KeyError where they do not fit."""
    after = dict(before)
    for part, content in parts.items():
        name, _, kind = part.partition("|")
        if not kind:
            after[name] = content
        elif kind == "tail":
            after[name] = np.concatenate([before[name][: int(parts[f"{name}|kept"][0])], content])
        elif kind == "values":
            rows = parts[f"{name}|rows"].astype(np.int64)
            old = before[name]
            grown = max(old.shape[0], int(rows[-1]) + 1)
            new = np.zeros((grown, *old.shape[1:]), old.dtype)
            new[: old.shape[0]] = old
            new[rows] = content
            after[name] = new
    return after


def changed_rows(before: Array, after: Array) -> Array:
    """Numbers of the rows that differ, among those that both have, and of all that only the longer one has."""
    found = _changed_rows(before, after)
    if found is None:
        shared = after.shape[0]
        found = _changed_rows(before[:shared], after)
        assert found is not None
        found = np.concatenate([found, np.arange(shared, before.shape[0], dtype=np.uint32)])
    return found


def _changed_rows(old: Array, new: Array) -> Array | None:
    """Rows of `new` that are not in `old` bit by bit; None where `new` has fewer rows."""
    if new.shape[0] < old.shape[0]:
        return None
    shared = old.shape[0]
    unsigned = np.dtype(f"u{new.dtype.itemsize}")
    different = np.ascontiguousarray(old).view(unsigned) != np.ascontiguousarray(new[:shared]).view(unsigned)
    if different.ndim > 1:
        different = different.any(axis=tuple(range(1, different.ndim)))
    changed = np.flatnonzero(different)
    return np.concatenate([changed, np.arange(shared, new.shape[0])]).astype(np.uint32)


def _equal_beginning(old: Array, new: Array) -> int:
    shared = min(old.shape[0], new.shape[0])
    different = np.flatnonzero(old[:shared] != new[:shared])
    return int(different[0]) if different.size else shared
