"""How a decision's time and the memory grow with the catalogue and the users, and what a first look misses.

    python benchmarks/growth.py [--items 1000,10000,100000] [--users 20000] [--events 60000] [--decisions 2000]

Per size of the catalogue, in this process: a state is folded from made-up events over made-up trained vectors (in
clusters, as trained ones are; the backbone as it is before training), and slates are decided from it as a worker does.
The decision is timed twice: under one published version, and under a new one each time. `found` is how many of the ten
best of all items, each looked at, are on the slate picked from a few hundred. Memory is counted from the arrays:
what a row takes in the learner's state, and on both sides of the shared memory.
"""

import argparse
import itertools
import sys
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from online.artifact import Artifact, pack_ids  # noqa: E402
from online.chance import hash64  # noqa: E402
from online.fold import Fold  # noqa: E402
from online.recommendation.decide import Decider, Request  # noqa: E402
from online.recommendation.front import ANEW  # noqa: E402
from online.recommendation.layout import DIMENSION  # noqa: E402
from online.records import Begin, Event, Record  # noqa: E402
from online.settings import Settings, settings_text  # noqa: E402
from online.state import COLUMN_BY_NAME, COLUMNS, State  # noqa: E402
from online.views import Views, bind, read_only  # noqa: E402

START_MS = 1_700_000_000_000
CLUSTER = 50  # items of one cluster
SLATE = 10


def made_up(items: int) -> Artifact:
    """An artifact of so many items, their vectors in clusters, around a backbone that nobody trained."""
    import torch

    from batch.network import Network, NetworkConfig, exported

    torch.manual_seed(0)
    draw = np.random.default_rng(1)
    centres = draw.normal(size=(max(1, items // CLUSTER), DIMENSION))
    vectors = centres[np.arange(items) % len(centres)] + 0.5 * draw.normal(size=(items, DIMENSION))
    blob, starts = pack_ids([f"i{k}" for k in range(items)])
    tensors = exported(Network(NetworkConfig(), items=1))
    tensors |= {"items.ids": blob, "items.id_starts": starts, "items.vectors": (0.1 * vectors).astype(np.float32)}
    return Artifact(id=f"made-up-{items}", manifest={"kind": "recommendation"}, tensors=tensors)


def events(items: int, users: int, count: int) -> list[Record]:
    """Takes, a tenth of the items with most of them; users stay near where they are."""
    draw = np.random.default_rng(2)
    chosen = (items * draw.random(count) ** 3).astype(int)
    who = draw.integers(users, size=count)
    records: list[Record] = []
    for k in range(count):
        at = START_MS + k * 50
        records.append(Event(f"e{k}", "play", f"u{who[k]}", f"i{chosen[k]}", at, at))
    return records


def decided(decider: Decider, views: Views, users: list[str], versions: itertools.repeat, at_ms: int) -> np.ndarray:
    """Microseconds of each decision."""
    took = np.empty(len(users))
    for k, (user, version) in enumerate(zip(users, versions, strict=False)):
        request = Request(f"d{k}", user, SLATE, at_ms)
        began = time.perf_counter()
        decider.decide(views, None, request, version)
        took[k] = 1e6 * (time.perf_counter() - began)
    return took


def found(decider: Decider, views: Views, users: list[str], items: int, at_ms: int) -> float:
    """The share of the ten best of all items that the slate has."""
    everything, both = tuple(f"i{k}" for k in range(items)), 0
    for user in users:
        slate = decider.decide(views, None, Request("d", user, SLATE, at_ms))
        whole = decider.decide(views, None, Request("d", user, SLATE, at_ms, candidates=everything))
        both += len(set(slate.rows) & set(whole.rows))
    return both / (SLATE * len(users))


def bytes_of_a_row(table: str, *, served: bool) -> int:
    """Of the table's columns: in the state, or of those that are published, on both sides."""
    columns = [column for column in COLUMNS if column.table == table and (column.served or not served)]
    size = sum(np.dtype(column.dtype).itemsize * int(np.prod(column.shape)) for column in columns)
    return 2 * size if served else size


def main() -> None:
    """A line per size, then the bytes of a row."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", default="1000,10000,100000")
    parser.add_argument("--users", type=int, default=20_000)
    parser.add_argument("--events", type=int, default=60_000)
    parser.add_argument("--decisions", type=int, default=2_000)
    options = parser.parse_args()
    settings = Settings(exploration=0.0)
    print("     items   folded/s   one version: p50   p99 us   a new one: p50   p99 us   found of ten best")
    for items in map(int, options.items.split(",")):
        artifact = made_up(items)
        state = State(settings, artifact)
        fold, records = Fold(state), events(items, options.users, options.events)
        fold.entries([(1, Begin(1, artifact.id, 0, settings_text(settings), START_MS))])
        fold.entries(enumerate(records[:1_000], start=2))
        began = time.process_time()
        fold.entries(enumerate(records[1_000:], start=1_002))
        folded = (len(records) - 1_000) / (time.process_time() - began)
        views = bind(read_only(state.arrays, COLUMN_BY_NAME), settings)
        at_ms = START_MS + 50 * options.events
        draw = np.random.default_rng(3)
        asking = [f"u{k}" for k in draw.integers(options.users, size=options.decisions)]
        for user in asking:
            hash64(user)
        decider = Decider(settings)
        decided(decider, views, asking[:200], itertools.repeat(0), at_ms)
        same = np.percentile(decided(decider, views, asking, itertools.repeat(0), at_ms), (50, 99))
        anew = np.percentile(decided(decider, views, asking, itertools.repeat(ANEW), at_ms), (50, 99))
        hit = found(decider, views, asking[:50], items, at_ms)
        print(
            f"{items:>10,} {folded:>10,.0f} {same[0]:>18,.0f} {same[1]:>8,.0f} {anew[0]:>16,.0f} {anew[1]:>8,.0f}"
            f" {hit:>18.3f}",
            flush=True,
        )
    for table in ("users", "items"):
        state_bytes, shared = bytes_of_a_row(table, served=False), bytes_of_a_row(table, served=True)
        per_million = (state_bytes + shared) * 1e6 / 2**30
        print(f"{table}: {state_bytes:,} bytes a row in the state, {shared:,} shared; {per_million:.2f} GiB a million")
    hidden = next(column for column in COLUMNS if column.name == "users.hidden")
    print(f"of a user's, the backbone's hidden state is {4 * int(np.prod(hidden.shape)):,}")


if __name__ == "__main__":
    main()
