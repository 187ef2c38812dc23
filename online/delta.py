"""What changed between two states: rows that differ, or what came behind an equal beginning.

    <array>                     the array whole
    <array>|rows, |values       numbers of the rows that differ, and what they hold now
    <table>|rows, |values       the same of all of a table's columns, one after the other (`online.packing`)
    <text>|kept, |tail          how much of the beginning is the same, and what follows it

An array that stands in none of these is the other state's, as it was there.
"""

import numpy as np

from online.hash_tree import DIGEST, Leaves, Tree, leaves, renewed
from online.packing import APART, BLOCK, JOINED, Packing, packings, with_rows
from online.tables import Array, Arrays
from online.touched import Touched


def difference(before: Arrays, after: Arrays) -> Arrays:
    """What `patched` needs beside `before` to give `after`."""
    parts: Arrays = {}
    for name, array in after.items():
        old = before.get(name)
        if old is None or old.dtype != array.dtype or old.shape[1:] != array.shape[1:]:
            parts[name] = array
        elif name.endswith(JOINED):
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
    parts: Arrays = {APART: after[APART]} if APART in after else {}
    for name, table in packings(after).items():
        known = before.get(name)
        if name.endswith(JOINED) and known is not None:
            tree[name] = leaves(table)
            parts |= _text_parts(name, table.arrays[name], known, tree[name])
        elif known is None or known.columns != table.columns or known.rows > table.rows:
            tree[name] = leaves(table)
            if tree[name] != known:
                parts |= table.arrays
        else:
            rows = touched.rows(name)
            if rows is not None:
                rows = np.concatenate([rows[rows < known.rows], np.arange(known.rows, table.rows)])
                if not rows.size:
                    tree[name] = known
                    continue
            tree[name], written = renewed(known, table, rows)
            if written.size:
                parts[f"{name}|rows"], parts[f"{name}|values"] = written.astype(np.uint32), table.values(written)
    return tree, parts


def _text_parts(name: str, array: Array, known: Leaves, found: Leaves) -> Arrays:
    if found == known:
        return {}
    same = next((k for k, (a, b) in enumerate(zip(_each(known), _each(found), strict=False)) if a != b), None)
    whole = min(known.rows, found.rows) // BLOCK
    kept = min(whole if same is None else same, whole) * BLOCK
    return {f"{name}|kept": np.array([kept], np.int64), f"{name}|tail": array[kept:]}


def _each(found: Leaves) -> list[bytes]:
    return [found.digests[at : at + DIGEST] for at in range(0, len(found.digests), DIGEST)]


def patched(before: Arrays, parts: Arrays) -> Arrays:
    """The arrays of which `parts` is the difference to `before`. Raises ValueError, KeyError where they do not fit."""
    after = dict(before)
    tables: dict[str, Packing] = {}
    for part, content in parts.items():
        name, _, kind = part.partition("|")
        if not kind:
            after[name] = content
        elif kind == "tail":
            after[name] = np.concatenate([before[name][: int(parts[f"{name}|kept"][0])], content])
        elif kind == "values":
            rows = parts[f"{name}|rows"].astype(np.int64)
            if name in before:
                after[name] = with_rows(before[name], rows, content)
            else:
                tables = tables or packings(before)
                after |= tables[name].with_rows(rows, content)
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
