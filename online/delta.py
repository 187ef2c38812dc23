"""What changed between two states, array by array: rows that differ, or what came behind an equal beginning.

    <name>              the array whole
    <name>|rows, |values    numbers of the rows that differ, and what they hold now
    <name>|kept, |tail      how much of the beginning is the same (texts), and what follows it

An array that stands in none of these is the other state's, as it was there.
"""

import numpy as np

from online.state import COLUMN_BY_NAME
from online.tables import Array, Arrays


def by_rows(name: str, array: Array) -> Array:
    """The array with its rows first: a view."""
    column = COLUMN_BY_NAME.get(name)
    if column is not None and column.layout == "lanes":
        return np.moveaxis(array, -1, 0)
    return array


def difference(before: Arrays, after: Arrays) -> Arrays:
    """What `patched` needs beside `before` to give `after`."""
    parts: Arrays = {}
    for name, array in after.items():
        old = before.get(name)
        if old is None or old.dtype != array.dtype or by_rows(name, old).shape[1:] != by_rows(name, array).shape[1:]:
            parts[name] = array
        elif name.endswith("_joined"):
            kept = _equal_beginning(old, array)
            if kept != old.shape[0] or kept != array.shape[0]:
                parts[f"{name}|kept"] = np.array([kept], np.int64)
                parts[f"{name}|tail"] = array[kept:]
        else:
            changed = _changed_rows(by_rows(name, old), by_rows(name, array))
            if changed is None:
                parts[name] = array
            elif changed.size:
                parts[f"{name}|rows"] = changed
                parts[f"{name}|values"] = by_rows(name, array)[changed]
    return parts


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
            old = by_rows(name, before[name])
            grown = max(old.shape[0], int(rows[-1]) + 1)
            new = np.zeros((grown, *old.shape[1:]), old.dtype)
            new[: old.shape[0]] = old
            new[rows] = content
            column = COLUMN_BY_NAME.get(name)
            after[name] = np.moveaxis(new, 0, -1) if column is not None and column.layout == "lanes" else new
    return after


def changed_rows(name: str, before: Array, after: Array) -> Array:
    """Numbers of the rows that differ, among those that both have, and of all that only the longer one has."""
    found = _changed_rows(by_rows(name, before), by_rows(name, after))
    if found is None:
        shared = by_rows(name, after).shape[0]
        found = _changed_rows(by_rows(name, before)[:shared], by_rows(name, after))
        assert found is not None
        found = np.concatenate([found, np.arange(shared, by_rows(name, before).shape[0], dtype=np.uint32)])
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
