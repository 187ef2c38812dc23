"""Travel to a random minute of a long history: how long until the state of that moment is there.

    python benchmarks/travel.py [--records 10000000] [--travels 20] [--home DIR] [--seconds 540]

The history is made by folding it: segments of the archive as the learner writes them, a snapshot after each, and of
those what the retention policy keeps. With a home it goes on where it ended, for so many seconds a time, and travels
once it is whole. A travel is a time drawn from the whole history: its position is looked for, the nearest snapshot
before it read and verified, and the records behind that folded, out of the archive's files. Every tenth travel goes to
a position whose digest was noted when it was first folded, and has to find it again.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from online.archive import SEGMENT, Archive
from online.fold import Fold
from online.history import Entries, History
from online.lineage import Lineage
from online.records import Begin, Event, Record, encode
from online.retention import remove_old
from online.settings import Settings, settings_text
from online.snapshot import Snapshot, list_snapshots, load_snapshot, newest_first, write_snapshot
from online.state import State

SETTINGS = Settings()
USERS, ITEMS = 24_000, 8_000
BEGAN_MS = 1_700_000_000_000
APART_MS = 8.64  # between two events: ten million in a day


class Archived(Entries):
    """A log whose every record is in the archive."""

    def __init__(self, archive: Archive) -> None:
        self.archive = archive

    def read(self, after: int, count: int, block_ms: int) -> list[tuple[int, bytes]]:
        return self.archive.read(after, count)

    def entry(self, position: int) -> bytes | None:
        found = self.archive.read(position - 1, 1) if 0 < position <= self.archive.last else []
        return found[0][1] if found else None

    def head(self) -> int:
        return self.archive.last


def at_ms(position: int) -> int:
    return BEGAN_MS + int(APART_MS * position)


def segment(first: int) -> list[Record]:
    """The records from a position on: plays and clicks, few users and items often, most of them seldom."""
    chance = np.random.Generator(np.random.Philox(key=first))
    users = (USERS * chance.random(SEGMENT) ** 2).astype(int).tolist()
    items = (ITEMS * chance.random(SEGMENT) ** 3).astype(int).tolist()
    records: list[Record] = [
        Event(f"e{at}", "play", f"u{user}", f"i{item}", at_ms(at), at_ms(at))
        for at, (user, item) in enumerate(zip(users, items, strict=True), start=first)
    ]
    if first == 1:
        records[0] = Begin(1, "", 0, settings_text(SETTINGS), at_ms(0))
    return records


def made(home: Path, records: int, seconds: float) -> bool:
    """Go on making the history; whether it is whole now."""
    archive, folder, noted = Archive(home / "archive"), home / "snapshots", home / "digests.json"
    state, digests = State(SETTINGS, None), {}
    for snapshot in newest_first(folder):
        if isinstance(snapshot, Snapshot) and snapshot.position == archive.last:
            state, digests = load_snapshot(folder, snapshot, None), json.loads(noted.read_text())
            break
    assert state.position == archive.last, "the history was broken off between a segment and its snapshot: make it anew"
    fold, began, folding = Fold(state), time.monotonic(), 0.0
    from_position = archive.last
    while archive.last < records and time.monotonic() - began < seconds:
        first = archive.last + 1
        more = segment(first)
        stop = int(np.random.Generator(np.random.Philox(key=first)).integers(1, SEGMENT))
        for part in (slice(0, stop), slice(stop, None)):
            entries = list(enumerate(more, start=first))[part]
            clock = time.monotonic()
            fold.entries(entries)
            folding += time.monotonic() - clock
            if part.start == 0 and first % (10 * SEGMENT) == 1:
                digests[str(state.position)] = state.digest()
        lineage = Lineage("").grown(1, state.position)
        write_snapshot(folder, state, entry=encode(more[-1]), reason="schedule", counters={}, lineage=lineage)
        remove_old(folder)
        noted.write_text(json.dumps(digests))
        archive.append(first, [encode(record) for record in more])
    many = archive.last - from_position
    if many:
        print(
            f"made {many:,} records, {archive.last:,} of {records:,}: folding {many / folding:,.0f}/s, with encoding, "
            f"archive and snapshots {many / (time.monotonic() - began):,.0f}/s",
            flush=True,
        )
    return archive.last >= records


def travelled(home: Path, travels: int, seed: int) -> None:
    """Go to random minutes, each with nothing kept from the one before; tell how long it took."""
    reader = Archived(Archive(home / "archive"))
    kept = list_snapshots(home / "snapshots")
    apart = np.diff([0, *(snapshot.position for snapshot in kept), reader.head()])
    size = sum(path.stat().st_size for path in home.rglob("*") if path.is_file())
    print(
        f"{reader.head():,} records over {(at_ms(reader.head()) - BEGAN_MS) / 3.6e6:.1f} h, {len(kept)} snapshots, "
        f"{int(apart.max()):,} records between two of them at most, {size / 1e9:.2f} GB in all"
    )
    digests = {int(at): digest for at, digest in json.loads((home / "digests.json").read_text()).items()}
    chance = np.random.Generator(np.random.Philox(key=seed))
    took: list[tuple[float, float, int, float]] = []
    for number in range(travels):
        check = number % 10 == 9
        position = int(chance.choice(sorted(digests))) if check else int(chance.integers(1, reader.head() + 1))
        began, began_cpu = time.monotonic(), time.process_time()
        history = History(Archived(Archive(home / "archive")), lambda _: None, snapshots=home / "snapshots")
        found = history.position_at(at_ms(position))
        searched = time.monotonic() - began
        place = history.state_at(found)
        seconds, busy = time.monotonic() - began, time.process_time() - began_cpu
        took.append((seconds, searched, found - (place.snapshot.position if place.snapshot else 0), busy))
        assert found == position == place.state.position
        assert not check or place.state.digest() == digests[position], f"another state at {position}"
    waits, search, folded, cpu = ([one[k] for one in took] for k in range(4))
    print(
        f"{travels} travels to random minutes: median {statistics.median(waits):.2f} s, worst {max(waits):.2f} s, "
        f"{statistics.median(cpu):.2f} s and {max(cpu):.2f} s of it computing; "
        f"finding the position {statistics.median(search):.2f} s of it, {statistics.median(folded):,.0f} records "
        f"folded ({max(folded):,} at most); {travels // 10} of them held against a digest noted before, all the same"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--travels", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=3_600.0, help="of making, then it stops and can go on")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--home", type=Path, help="where the history is kept; else a folder that is removed")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        home = options.home or Path(folder)
        (home / "snapshots").mkdir(parents=True, exist_ok=True)
        if made(home, options.records, options.seconds):
            travelled(home, options.travels, options.seed)


if __name__ == "__main__":
    main()
