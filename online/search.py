"""Where a decision stands in the log, found by its id.

An id that the service made holds its millisecond, and records stand in the log in the order of their arrival, give or
take the moment that a batch waits: a search over time finds it in some tens of reads. Any other id is looked for from
the log's end backwards.
"""

from collections.abc import Callable

from online.again import decision_id_of
from online.history import Entries
from online.records import RecordMalformed, decode

# Workers read their clocks before they append: a record may stand this far from where its time would put it.
_SLACK_MS = 5_000
_SCAN_COUNT = 1_000
_SCAN_MAX = 200_000


def find_by_time(reader: Entries, decision_id: str, made_ms: int) -> int | None:
    """Binary search for the time, then a look at the records around it."""
    low, high = 1, reader.head()
    last = high
    while low < high:
        middle = (low + high) // 2
        payload = reader.entry(middle)
        if payload is not None and decode(payload).received_ms >= made_ms - _SLACK_MS:
            high = middle
        else:
            low = middle + 1
    after = low - 1
    for _ in range(0, _SCAN_MAX, _SCAN_COUNT):
        if after >= last:
            return None
        entries = reader.read(after, _SCAN_COUNT, 0)
        if not entries:
            return None
        position = _among(entries, decision_id)
        if position is not None:
            return position
        after = entries[-1][0]
        if decode(entries[-1][1]).received_ms > made_ms + _SLACK_MS:
            return None
    return None


def find_backwards(reader: Entries, decision_id: str, *, progress: Callable[[int], None] | None = None) -> int | None:
    """Look at every record, the newest first."""
    last = reader.head()
    while last > 0:
        after = max(0, last - _SCAN_COUNT)
        position = _among(reader.read(after, last - after, 0), decision_id)
        if position is not None:
            return position
        last = after
        if progress:
            progress(last)
    return None


def _among(entries: list[tuple[int, bytes]], decision_id: str) -> int | None:
    needle = decision_id.encode()
    for position, payload in entries:
        if needle in payload:
            try:
                if decision_id_of(decode(payload)) == decision_id:
                    return position
            except RecordMalformed:
                continue
    return None
