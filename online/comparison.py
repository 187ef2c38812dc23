"""What two snapshots differ in: which users and items, which weights, and by how much."""

from typing import Any

import msgspec
import numpy as np

from online.delta import changed_rows
from online.frame import COUNTERS
from online.recommendation.arrays import LEARNER_COLUMNS
from online.state import COLUMNS, State
from online.tables import Array, Arrays

LARGEST = 10


class Moved(msgspec.Struct, frozen=True):
    """A row that differs: who it is (a user by key, an item by id), and the largest change of a number in it."""

    who: str
    by: float


class TableDifference(msgspec.Struct, frozen=True):
    """Rows of a table by key: how many are new, gone, changed; and those that moved most."""

    new: int
    gone: int
    changed: int
    largest: list[Moved]


class ColumnDifference(msgspec.Struct, frozen=True):
    """A column of shared parameters: how many rows differ, and how far its numbers moved."""

    name: str
    rows: int
    changed: int
    largest: float
    mean: float


class Comparison(msgspec.Struct, frozen=True):
    """From one state to another."""

    users: TableDifference
    items: TableDifference
    parameters: list[ColumnDifference]
    counters: dict[str, int]


def compared(before: State, after: State) -> Comparison:
    """What changed between two states."""
    one, other = dict(before.canonical()), dict(after.canonical())

    def item(row: int) -> str:
        return (after if row < after.count("items") else before).item_id(row)

    def user(row: int) -> str:
        return f"{int((other if row < after.count('users') else one)['users.key'][row]):016x}"

    users, items = _table("users", one, other, user), _table("items", one, other, item)
    parameters = [
        found
        for column in LEARNER_COLUMNS
        if column.table != "users" and not column.derived and (found := _column(column.name, one, other)) is not None
    ]
    counters = after.views.frame.counters - before.views.frame.counters
    return Comparison(users, items, parameters, {name: int(n) for name, n in zip(COUNTERS, counters, strict=True) if n})


def _table(table: str, one: Arrays, other: Arrays, name: Any) -> TableDifference:
    old, new = one[f"{table}.key"], other[f"{table}.key"]
    shared = min(len(old), len(new))
    same = (old[:shared] == new[:shared]) & (new[:shared] != 0)
    moved = np.zeros(shared)
    differs = np.zeros(shared, np.bool_)
    for column in COLUMNS:
        if column.table != table or column.derived:
            continue
        before, after = one[column.name], other[column.name]
        rows = changed_rows(before, after)
        differs[rows[rows < shared]] = True
        if before.dtype.kind == "f":
            moved = np.maximum(moved, _largest_move(before[:shared], after[:shared]))
    changed = np.flatnonzero(differs & same)
    largest = changed[np.argsort(-moved[changed], kind="stable")[:LARGEST]]
    return TableDifference(
        new=len(np.setdiff1d(new[new != 0], old)),
        gone=len(np.setdiff1d(old[old != 0], new)),
        changed=len(changed),
        largest=[Moved(name(int(row)), float(moved[row])) for row in largest],
    )


def _largest_move(before: Array, after: Array) -> Array:
    """Per row, the largest change of a finite number."""
    step = np.abs(after.astype(np.float64) - before.astype(np.float64))
    step[~np.isfinite(step)] = 0.0
    found: Array = step if step.ndim == 1 else step.max(axis=tuple(range(1, step.ndim)), initial=0.0)
    return found


def _column(name: str, one: Arrays, other: Arrays) -> ColumnDifference | None:
    before, after = one[name], other[name]
    rows = changed_rows(before, after)
    if not len(rows):
        return None
    shared = min(before.shape[0], after.shape[0])
    step = _largest_move(before[:shared], after[:shared]) if before.dtype.kind == "f" else np.zeros(shared)
    moved = step[rows[rows < shared]]
    return ColumnDifference(
        name=name,
        rows=after.shape[0],
        changed=len(rows),
        largest=float(moved.max(initial=0.0)),
        mean=float(moved.mean()) if moved.size else 0.0,
    )
