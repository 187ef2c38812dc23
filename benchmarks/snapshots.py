"""What a snapshot costs: against the same bytes written raw, for one percent of change, in the learner's pause, and in
folding.

    python benchmarks/snapshots.py [--users 24000] [--items 8000]

Raw is one write + fsync + BLAKE3 of the same bytes, in the same run. The pause is what the learner stands still for: a
fork of a process that holds the state and all that a learner holds beside it, behind a copy that lived while it
folded. What folding loses is found by rounds in turn: published alone, with every moved row noted for the next
snapshot, and with a snapshot out of a copy as well.
"""

import argparse
import importlib
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
from online.heap import give_back, into_large_pages
from online.history import Entries, History
from online.journal import taken
from online.kernels import ready_to_fold
from online.publication import Publisher
from online.records import Begin, Event, Record, encode
from online.settings import Settings, settings_text
from online.snapshot import find_snapshot, load_snapshot, write_snapshot
from online.state import State
from online.touched import Touched

SETTINGS = Settings()
ROUNDS = 7
BATCH = 1_024
EVERY_S = 300  # between two snapshots of a service, unless it is told otherwise


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


def events(
    first: int, n: int, users: int, items: int, chance: np.random.Generator, *, apart: bool = False
) -> list[Record]:
    """n plays; users in turn at first, so that all of them are known, then at random; `apart`: no user twice."""
    drawn = chance.integers(items, size=n)
    whom = chance.choice(users, n, replace=False) if apart else chance.integers(users, size=n)
    known = min(n, max(0, users - first))
    whom[:known] = np.arange(first, first + known)
    return [
        Event(f"e{first + k}", "play", f"u{whom[k]}", f"i{drawn[k]}", 1_700_000_000_000 + 50 * (first + k), 0)
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


def in_turn(folder: Path, state: State, fold: Fold, records: list[Record], users: int, items: int, chance) -> str:
    """CPU seconds of a round of folding and publishing, three ways in turn; what noting and a snapshot add."""
    publisher = Publisher(folder / "shared", state)
    took: dict[str, list[float]] = {"alone": [], "noted": [], "snapshot": []}
    events_a_round = 6 * BATCH
    for turn in range(3 * ROUNDS):
        kind = tuple(took)[turn % 3]
        more = events(len(records), events_a_round, users, items, chance)
        records += more
        touched = Touched(state.position, state.arrays)
        publisher.watch = None if kind == "alone" else touched.note
        child = 0
        began = time.process_time()  # this process's own: what writes the snapshot has another core
        for first in range(0, len(more), BATCH):
            if first == 2 * BATCH and kind == "snapshot":
                child = os.fork()
                if child == 0:
                    write_snapshot(folder, state, entry=b"", reason="bench", counters={}, touched=touched)
                    os._exit(0)
            fold.entries(enumerate(more[first : first + BATCH], start=state.position + 1))
            publisher.publish()
        took[kind].append(time.process_time() - began)
        if child:
            os.waitpid(child, 0)
    publisher.close()
    alone, noted, snapshot = (statistics.median(took[kind]) for kind in took)
    each = max(0.0, snapshot - noted)
    return (
        f"folding and publishing {events_a_round:,} events: {alone * 1e3:.0f} ms, {events_a_round / alone:,.0f}/s; "
        f"every moved row noted {noted / alone - 1:+.1%}, with a snapshot beside it {snapshot / alone - 1:+.1%}\n"
        f"one snapshot takes {each * 1e3:.0f} ms of folding: at one in {EVERY_S} s {each / EVERY_S:.3%}, "
        f"together with noting {noted / alone - 1 + each / EVERY_S:+.1%}"
    )


def tell_pause(folder: Path, snapshot: str, users: int, items: int) -> None:
    """In a process that holds what a learner holds: the state, its kernels, its monitors. The first copy is made as it
    is once ready; the later ones behind a copy that lived while the fold wrote, its memory gathered since or not."""
    importlib.import_module("online.learner")  # what it and its monitors bring is part of what a fork copies
    importlib.import_module("online.detectors")
    chance = np.random.Generator(np.random.Philox(key=2))
    state = load_snapshot(folder, find_snapshot(folder, snapshot), None)
    ready_to_fold()
    fold = Fold(state)
    done = state.position

    def folded() -> None:
        nonlocal done
        fold.entries(enumerate(events(done, 2 * BATCH, users, items, chance), start=state.position + 1))
        done += 2 * BATCH

    folded()
    give_back()
    steps: list[float] = []
    pauses: dict[str, list[float]] = {"gathered": [], "as it is left": []}
    for turn in range(4 * ROUNDS):
        kind = ("gathered", "as it is left")[turn % 2]
        if kind == "gathered":
            gathering = into_large_pages()
            while True:
                began = time.perf_counter()
                if next(gathering, None) is None:
                    break
                steps.append((time.perf_counter() - began) * 1e3)
        reading, writing = os.pipe()
        began = time.perf_counter()
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the other end is closed
            os._exit(0)
        pauses[kind].append((time.perf_counter() - began) * 1e3)
        os.close(reading)
        folded()
        os.close(writing)
        os.waitpid(child, 0)
    told = (f"{kind} {statistics.median(took):.2f} ms, {max(took):.2f} at most" for kind, took in pauses.items())
    print(
        f"the learner's pause, of {2 * ROUNDS} each, {2 * BATCH:,} events folded beside the one before, memory "
        f"{'; '.join(told)}; gathering it is {len(steps) // (2 * ROUNDS)} steps of {statistics.median(steps):.2f} ms, "
        f"{np.percentile(steps, 99):.2f} at the 99th percentile"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pause", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--snapshot", help=argparse.SUPPRESS)
    parser.add_argument("--users", type=int, default=24_000)
    parser.add_argument("--items", type=int, default=8_000)
    options = parser.parse_args()
    if options.pause:
        tell_pause(options.pause, options.snapshot, options.users, options.items)
        return
    chance = np.random.Generator(np.random.Philox(key=1))
    records: list[Record] = [Begin(1, "", 0, settings_text(SETTINGS), 0)]
    early = SETTINGS.recommendation.mixing_all_until
    records += events(0, max(options.users, early) + 20_000, options.users, options.items, chance)
    state = State(SETTINGS, None)
    fold = Fold(state)
    fold.entries(enumerate(records[:1_025], start=1))
    at_first = timed(lambda: fold.entries(enumerate(records[1_025 : early + 1], start=1_026)))
    later = timed(lambda: fold.entries(enumerate(records[early + 1 :], start=early + 2)))
    print(
        f"folded {len(records):,} records on one core: {(early - 1_024) / at_first:,.0f}/s up to event {early:,}, as "
        f"long as the weights learn from every one, {(len(records) - early - 1) / later:,.0f}/s behind it"
    )
    with tempfile.TemporaryDirectory() as folder:
        wholes, raws, parts, compared, busy = [], [], [], [], []
        for k in range(ROUNDS):
            place = Path(folder) / f"{k}"
            began = time.perf_counter()
            whole = write_snapshot(place, state, entry=b"", reason="bench", counters={})
            wholes.append(time.perf_counter() - began)
            content = (place / whole.file).read_bytes()
            raws.append(raw_write(place / "raw", content))
            for journal in state.journals().values():
                taken(journal)
            touched = Touched(state.position, state.arrays)
            more = events(len(records), options.users // 100, options.users, options.items, chance, apart=True)
            fold.entries(enumerate(more, start=state.position + 1))
            records += more
            touched.note({name: taken(journal) for name, journal in state.journals().items()})
            assert touched.known
            wrote = touched.rows("items")
            began, began_cpu = time.perf_counter(), time.process_time()
            part = write_snapshot(place, state, entry=b"", reason="bench", counters={}, touched=touched)
            parts.append(time.perf_counter() - began)
            busy.append(time.process_time() - began_cpu)
            (place / f"{part.id}.json").unlink()
            began = time.perf_counter()
            slow = write_snapshot(place, state, entry=b"", reason="bench", counters={})
            compared.append(time.perf_counter() - began)
            assert slow.state_digest == part.state_digest, "by noted rows or by comparing: one digest"
            began = time.perf_counter()
            load_snapshot(place, slow, None)
            loads = time.perf_counter() - began
        print(
            f"whole snapshot {whole.bytes / 1e6:.1f} MB: {statistics.median(wholes) * 1e3:.0f} ms, raw write + fsync + "
            f"hash {statistics.median(raws) * 1e3:.0f} ms, ratio {statistics.median(np.divide(wholes, raws)):.2f}"
        )
        print(
            f"{options.users // 100} users at random with one event more (1 %), which wrote {len(wrote)} of "
            f"{options.items:,} items: {part.bytes / 1e6:.2f} MB, {part.bytes / whole.bytes:.1%} of the whole, "
            f"{statistics.median(parts) * 1e3:.1f} ms beside the fold "
            f"({min(parts) * 1e3:.1f} at least, {statistics.median(busy) * 1e3:.1f} of it computing), by comparing "
            f"everything {statistics.median(compared) * 1e3:.0f} ms"
        )
        lean = [sys.executable, __file__, "--pause", f"{folder}/{ROUNDS - 1}", "--snapshot", whole.id]
        lean += ["--users", str(options.users), "--items", str(options.items)]
        print(subprocess.run(lean, check=True, capture_output=True, text=True).stdout.strip())
        print(f"loading that difference and its base, every byte verified: {loads * 1e3:.0f} ms")
        history = History(Records([encode(record) for record in records]), lambda _: None, snapshots=Path(folder) / "0")
        target = len(records)
        print(in_turn(Path(folder) / f"{ROUNDS - 1}", state, fold, records, options.users, options.items, chance))
        seconds = timed(lambda: history.state_at(target))
        print(f"travel to position {target:,} from the nearest snapshot: {seconds:.2f} s")


if __name__ == "__main__":
    main()
