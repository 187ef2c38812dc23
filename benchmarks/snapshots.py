"""What a snapshot costs: against the same bytes written raw, for one percent of change, in the learner's pause.

    python benchmarks/snapshots.py [--users 60000] [--items 20000]

Raw is one write + fsync + BLAKE3 of the same bytes, in the same run. The pause is what the learner stands still for: a
fork of this process, which holds the state and what a learner holds beside it.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from blake3 import blake3

from online.fold import Fold
from online.history import Entries, History
from online.records import Begin, Event, Record, encode
from online.settings import Settings, settings_text
from online.snapshot import find_snapshot, load_snapshot, write_snapshot
from online.state import State

SETTINGS = Settings()
ROUNDS = 5


class Records(Entries):
    """A log in memory."""

    def __init__(self, payloads: list[bytes]) -> None:
        self.payloads = payloads

    def read(self, after: int, count: int, block_ms: int) -> list[tuple[int, bytes]]:
        return list(enumerate(self.payloads[after : after + count], start=after + 1))

    def entry(self, position: int) -> bytes | None:
        return self.payloads[position - 1]

    def head(self) -> int:
        return len(self.payloads)


def events(first: int, n: int, users: int, items: int, chance: np.random.Generator) -> list[Record]:
    """n plays; users in turn at first, so that all of them are known, then at random."""
    drawn = chance.integers(items, size=n)
    return [
        Event(
            f"e{first + k}", "play", f"u{(first + k) % users}", f"i{drawn[k]}", 1_700_000_000_000 + 50 * (first + k), 0
        )
        for k in range(n)
    ]


def timed(work) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def raw_write(path: Path, content: bytes) -> float:
    began = time.perf_counter()
    blake3(content).hexdigest()
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - began


def fork_pause() -> float:
    began = time.perf_counter()
    child = os.fork()
    if child == 0:
        os._exit(0)
    pause = time.perf_counter() - began
    os.waitpid(child, 0)
    return pause


def tell_pause(folder: Path, snapshot: str) -> None:
    """In a process that holds the state and no more, as a learner does."""
    state = load_snapshot(folder, find_snapshot(folder, snapshot), None)
    pauses = [fork_pause() * 1e3 for _ in range(21)]
    print(f"the learner's pause: {statistics.median(pauses):.2f} ms, {max(pauses):.2f} at most of {len(pauses)}")
    assert state.position


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pause", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--snapshot", help=argparse.SUPPRESS)
    parser.add_argument("--users", type=int, default=60_000)
    parser.add_argument("--items", type=int, default=20_000)
    options = parser.parse_args()
    if options.pause:
        tell_pause(options.pause, options.snapshot)
        return
    chance = np.random.Generator(np.random.Philox(key=1))
    records: list[Record] = [Begin(1, "", 0, settings_text(SETTINGS), 0)]
    records += events(0, options.users + 20_000, options.users, options.items, chance)
    state = State(SETTINGS, None)
    fold = Fold(state)
    fold.entries(enumerate(records[:1_025], start=1))
    seconds = timed(lambda: fold.entries(enumerate(records[1_025:], start=1_026)))
    print(f"folded {len(records):,} records, {(len(records) - 1_025) / seconds:,.0f}/s on one core")
    with tempfile.TemporaryDirectory() as folder:
        wholes, raws, parts = [], [], []
        for k in range(ROUNDS):
            place = Path(folder) / f"{k}"
            began = time.perf_counter()
            whole = write_snapshot(place, state, entry=b"", reason="bench", counters={})
            wholes.append(time.perf_counter() - began)
            content = (place / whole.file).read_bytes()
            raws.append(raw_write(place / "raw", content))
            more = events(len(records), options.users // 100, options.users, options.items, chance)
            fold.entries(enumerate(more, start=state.position + 1))
            records += more
            began = time.perf_counter()
            part = write_snapshot(place, state, entry=b"", reason="bench", counters={})
            parts.append(time.perf_counter() - began)
            began = time.perf_counter()
            load_snapshot(place, part, None)
            loads = time.perf_counter() - began
        print(
            f"whole snapshot {whole.bytes / 1e6:.1f} MB: {statistics.median(wholes) * 1e3:.0f} ms, raw write + fsync + "
            f"hash {statistics.median(raws) * 1e3:.0f} ms, ratio {statistics.median(np.divide(wholes, raws)):.2f}"
        )
        print(
            f"{options.users // 100} users with one event more (1 %): {part.bytes / 1e6:.2f} MB, "
            f"{part.bytes / whole.bytes:.1%} of the whole, {statistics.median(parts) * 1e3:.0f} ms beside the fold"
        )
        lean = [sys.executable, __file__, "--pause", f"{folder}/{ROUNDS - 1}", "--snapshot", whole.id]
        print(subprocess.run(lean, check=True, capture_output=True, text=True).stdout.strip())
        print(f"loading that difference and its base, every byte verified: {loads * 1e3:.0f} ms")
        history = History(Records([encode(record) for record in records]), lambda _: None, snapshots=Path(folder) / "0")
        target = len(records)
        seconds = timed(lambda: history.state_at(target))
        print(f"travel to position {target:,} from the nearest snapshot: {seconds:.2f} s")


if __name__ == "__main__":
    main()
