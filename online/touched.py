"""Which rows were written since a place in the log: what a snapshot has to look at, instead of at everything.

The publisher empties the fold's journals (`online.journal`) a thousand times a second and hands them on to here. What
is noted may be more than what moved, never less; where that cannot be known (a journal ran over, arrays were replaced)
a table counts as written all over, and the snapshot compares everything. Rings need no journal: between two places
only what was pushed was written, and the slots of slates that were open.
"""

from collections.abc import Mapping

import numpy as np

from online.tables import Array, Arrays

PIECES_MAX = 512  # noted apart, before they are put together


class Touched:
    """Rows by table, since the state was the fold of its lineage up to `since`."""

    def __init__(self, since: int, arrays: Arrays | None = None) -> None:
        """`arrays`: the state's, as they are at `since`: then its rings are known too."""
        self.since = since
        self._marks = None if arrays is None else _marks(arrays)
        self._pieces: dict[str, list[Array]] = {}
        self._whole: set[str] = set()

    def note(self, rows: Mapping[str, Array | None]) -> None:
        """These rows were written, by table; None: all of them, or it is not known which."""
        for table, some in rows.items():
            if some is None:
                self._whole.add(table)
                self._pieces.pop(table, None)
            elif table not in self._whole and some.size:
                pieces = self._pieces.setdefault(table, [])
                pieces.append(some)
                if len(pieces) >= PIECES_MAX:
                    self._pieces[table] = [np.unique(np.concatenate(pieces))]
            else:
                self._pieces.setdefault(table, [])

    def joined(self, earlier: "Touched") -> "Touched":
        """What was written since the earlier place."""
        both = Touched(earlier.since)
        both._marks = earlier._marks
        both.note(dict.fromkeys(self._whole | earlier._whole))
        for one in (earlier, self):
            for table, pieces in one._pieces.items():
                both.note(dict.fromkeys([table], np.concatenate([*pieces, np.zeros(0, np.int32)])))
        return both

    def note_rings(self, arrays: Arrays) -> None:
        """What was written to the rings up to now."""
        if self._marks is None:
            return
        seen, decisions, slot = self._marks
        now_seen, now_decisions, _ = _marks(arrays)
        used = int(arrays["decisions_cursor.cursor"][1])
        for table, column, first, last in (
            ("seen", "seen.key", seen, now_seen),
            ("decisions", "decisions.key", decisions, now_decisions),
            ("slots", "slots.item", slot, used),
        ):
            capacity = arrays[column].shape[0]
            self.note({table: np.arange(max(first, last - capacity), last) % capacity})
        if not int(arrays["quotes_count.count"][0]):  # what is written there later need not be the newest
            self.note({"quotes": np.zeros(0, np.int64)})

    def rows(self, table: str) -> Array | None:
        """Rows of a table, ascending; None where all of them may have been written, or nobody notes this table's."""
        if table in self._whole or table not in self._pieces:
            return None
        found: Array = np.unique(np.concatenate([*self._pieces[table], np.zeros(0, np.int32)])).astype(np.int64)
        return found

    @property
    def known(self) -> bool:
        """Whether there is anything to gain from it: every table that is noted is known row by row."""
        return bool(self._pieces) and not self._whole


def _marks(arrays: Arrays) -> tuple[int, int, int]:
    """Keys ever seen, slates ever pending, and the first slot that may still be written: the oldest open slate's."""
    pushed = int(arrays["decisions_count.count"][0])
    oldest, used = (int(number) for number in arrays["decisions_cursor.cursor"])
    start = arrays["decisions.start"]
    first = int(start[oldest % start.shape[0]]) if oldest < pushed else used
    return int(arrays["seen_count.count"][0]), pushed, first
