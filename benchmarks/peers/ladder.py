"""What each part of learning brings, and how old parameters may be: the same stream with less and less of it frozen.

    python -m benchmarks.peers.ladder --interactions FILE --artifact DIR --stream-from TIME [--part ladder|lag]

ladder: two states fold the stream; one learns, the other ranks, follows its users, and is handed some of the learned
parameters every `--hand-over` seconds of event time: none, popularity, memories, and so on up to all of them. lag: all
of them, once in so many seconds. Events, ranking and kernels are those of `perennial replay recommendation`.
"""

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.peers.intervals import paired_interval
from benchmarks.peers.lag_plot import lag_plot
from benchmarks.peers.stream import hits
from online.artifact import read_artifact
from online.interactions import parse_time_ms, read_interactions
from simulations.protocol import Protocol, in_groups, slices, stream_start
from simulations.ranking import Ranked
from simulations.replay import Past, lived_batch

# What moves on each rung, beside what moves on those below it; by the names of the state's arrays.
RUNGS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("+ popularity", ("items.heat", "items.taken", "popularity.", "mixing_clock.")),
    ("+ memories of what follows what", ("items.fast_", "items.slow_", "items.around_")),
    ("+ the newest items", ("newest", "items.since_ms")),
    ("+ what is taken in which context", ("contexts.",)),
    ("+ items' vectors and biases", ("items.vector", "items.anchor", "items.gradient", "items.bias", "items.trained")),
    ("+ weights, trust, network: all", ("",)),
)
LAGS = (("24 h", 86_400), ("6 h", 21_600), ("1 h", 3_600), ("10 min", 600), ("1 min", 60), ("each event", 0))


def climbed(past: Past, protocol: Protocol, hand_over_s: float) -> Iterator[tuple[str, Ranked]]:
    """Each rung's ranks, from frozen to everything."""
    still, followed, _ = past.frozen(past.again(), protocol, both=True, report=_silent)
    yield "frozen", still
    yield "+ users' own states", followed
    moving: tuple[str, ...] = ()
    for name, arrays in RUNGS:
        moving += arrays
        yield name, continued(past, protocol, hand_over_s, lambda array, m=moving: array.startswith(m))


def aged(past: Past, protocol: Protocol) -> Iterator[tuple[str, Ranked]]:
    """Ranks with parameters as old as each lag, from never renewed to renewed by each event."""
    _, followed, _ = past.frozen(past.again(), protocol, both=False, report=_silent)
    yield "never", followed
    for name, lag_s in LAGS:
        yield name, continued(past, protocol, lag_s, None)


def continued(past: Past, protocol: Protocol, lag_s: float, moving: Callable[[str], bool] | None) -> Ranked:
    return past.continued(past.again(), protocol, refresh_every_s=lag_s, moving=moving, report=_silent)[0]


def _silent(done: int, total: int) -> None:
    """Nobody looks."""


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers.ladder",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--interactions", type=Path)
    parser.add_argument("--artifact", type=Path, help="of the batch part alone")
    parser.add_argument("--stream-from", help="2017-10-09, or Unix time; the last fifth without")
    parser.add_argument("--until", help="where it ends, for a shorter look")
    parser.add_argument("--score-every", type=int, default=1)
    parser.add_argument("--ties", choices=("together", "file-order"), default="together")
    parser.add_argument("--part", choices=("ladder", "lag"), default="ladder")
    parser.add_argument("--hand-over", type=float, default=300.0, help="seconds of event time, for the ladder")
    parser.add_argument("--out", type=Path, default=Path("build/peers"), help="folder of results")
    options = parser.parse_args()
    if options.interactions is None:
        print("no --interactions FILE: nothing to climb on")
        return
    until_ms = parse_time_ms(options.until) if options.until else None
    source = read_interactions(options.interactions, until_ms=until_ms)
    from_ms = parse_time_ms(options.stream_from) if options.stream_from else None
    first = stream_start(source, pretrain_share=0.8, stream_from_ms=from_ms)
    together = options.ties == "together"
    source = in_groups(source, first)
    protocol = Protocol.of(source, first, score_every=options.score_every, together=together, seen=False)
    artifact = read_artifact(options.artifact) if options.artifact else None
    past = lived_batch(source, first, artifact)
    parts = slices(source, first)
    catalogue = len(np.unique(source.item))
    user = source.user[first:]
    runs = climbed(past, protocol, options.hand_over) if options.part == "ladder" else aged(past, protocol)

    handed = f"handed over every {options.hand_over:.0f} s, " if options.part == "ladder" else ""
    print(f"batch {first:,} events, stream {len(source) - first:,}, {handed}ties {options.ties}", flush=True)
    print(f"{'':36}  HR@10  NDCG@10    new items   less the row above, HR@10           CPU s")
    report: dict[str, Any] = {}
    above: np.ndarray | None = None
    started = time.process_time()
    for name, ranked in runs:
        figures = ranked.figures(parts, catalogue)
        scored = ranked.rank >= 0
        found = hits(ranked.rank[scored])
        step = (
            "" if above is None else "{:+.4f} [{:+.4f}, {:+.4f}]".format(*paired_interval(found - above, user[scored]))
        )
        above = found
        report[name] = {**figures, "step": step}
        whole, new = figures["all"], figures["new_items"]["hr@10"]
        cpu_s = time.process_time() - started
        started = time.process_time()
        print(
            f"{name:36} {whole['hr@10']:.4f}   {whole['ndcg@10']:.4f}       {new or 0.0:.4f}   {step:30} {cpu_s:8.0f}",
            flush=True,
        )
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / f"{options.part}.json").write_text(json.dumps(report, indent=1), encoding="utf-8")
    if options.part == "lag":
        drawn = lag_plot({name: figures["all"]["hr@10"] for name, figures in report.items()})
        (options.out / "lag.svg").write_text(drawn, encoding="utf-8")
    print(f"written to {options.out}; intervals: 95 %, users drawn again")


if __name__ == "__main__":
    main()
