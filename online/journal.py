"""Which rows moved since the last publication: what shared memory and incremental snapshots copy.

A kernel that writes a row notes its number here. Noting a row twice costs nothing but space; a full journal says
so (`overflowed`), and its reader then takes the whole table.
"""

from typing import Any, NamedTuple

import numpy as np

from online.compiling import kernel

LENGTH = 1 << 16


class RowJournal(NamedTuple):
    """Row numbers written since the journal was emptied."""

    rows: np.ndarray[Any, np.dtype[np.int32]]  # [LENGTH]
    used: np.ndarray[Any, np.dtype[np.int64]]  # [1], may run past LENGTH: then it overflowed


class Journal(NamedTuple):
    """One journal for each table that grows."""

    users: RowJournal
    items: RowJournal
    contexts: RowJournal


def empty_journal() -> Journal:
    """A journal of each table, with nothing noted."""
    return Journal(*(RowJournal(np.zeros(LENGTH, np.int32), np.zeros(1, np.int64)) for _ in Journal._fields))


@kernel
def touch(journal: RowJournal, row: int) -> None:
    """Note that `row` was written."""
    used = journal.used[0]
    if used < journal.rows.shape[0]:
        journal.rows[used] = row
    journal.used[0] = used + 1


@kernel
def touch_all(journal: RowJournal) -> None:
    """Note that every row was written."""
    journal.used[0] = journal.rows.shape[0] + 1


def taken(journal: RowJournal) -> np.ndarray[Any, np.dtype[np.int32]] | None:
    """The distinct rows noted, ascending, and the journal emptied; None where it overflowed: take all."""
    used = int(journal.used[0])
    journal.used[0] = 0
    return np.unique(journal.rows[:used]) if used <= LENGTH else None
