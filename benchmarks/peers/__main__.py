"""perennial beside what one would pick instead: the same stream, the same rules, the same scored events, in one run.

    pip install -r benchmarks/peers/requirements.txt
    python -m benchmarks.peers --interactions FILE --stream-from TIME [--artifact DIR] [--score-every K] [--out FOLDER]

First `perennial replay recommendation --results …` runs as anyone would run it, in a process of its own. Then every
peer is tuned on the last tenth of the batch part and taken through the same protocol (benchmarks/peers/stream.py).
Ranks are kept per event, so that differences are paired; their intervals draw users (benchmarks/peers/intervals.py).
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from benchmarks.peers.intervals import paired_interval
from benchmarks.peers.recipes import SETS, recipes
from benchmarks.peers.stream import Stream, Walked, gains, hits, reciprocals, walk
from benchmarks.peers.tuning import Recipe, tuned
from online.interactions import Interactions, parse_time_ms, read_interactions
from simulations.protocol import slices, stream_start
from simulations.ranking import NOT_SCORED
from simulations.ranks import read_ranks, write_ranks

OURS = "perennial"
SLICES = ("new_users", "new_items", "burst_starts")  # shown, and compared by themselves
BURST_MS = 30 * 60_000  # a pause this long begins a burst


def ours(options: argparse.Namespace, folder: Path) -> tuple[dict[str, Any], np.ndarray, dict[str, np.ndarray]]:
    """The command itself. -> its --json, rows of the stream, ranks by variant"""
    written = folder / "perennial.parquet"
    command = [sys.executable, "-m", "api.command", "replay", "recommendation", "--json"]
    command += ["--interactions", str(options.interactions), "--ties", options.ties]
    command += ["--score-every", str(options.score_every), "--results", str(written)]
    command += ["--stream-from", options.stream_from] if options.stream_from else []
    command += ["--pretrain-share", str(options.pretrain_share)] if not options.stream_from else []
    command += ["--artifact", str(options.artifact)] if options.artifact else []
    kept = folder / "perennial.json"
    if options.keep and kept.exists() and (before := json.loads(kept.read_text("utf-8")))["command"] == command:
        return before["answer"], *read_ranks(written)
    answer = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    kept.write_text(json.dumps({"command": command, "answer": answer}), encoding="utf-8")
    return answer, *read_ranks(written)


def figures_of(rank: np.ndarray, parts: dict[str, np.ndarray]) -> dict[str, Any]:
    """HR@10, NDCG@10 and MRR of all scored events and of each slice; rank: [stream], NOT_SCORED where there is none."""
    figures: dict[str, Any] = {}
    scored = rank != NOT_SCORED
    for name, mask in {"all": np.ones(len(rank), np.bool_), **parts}.items():
        found = rank[scored & mask]
        n = len(found)
        means = [round(float(one(found).mean()), 4) if n else None for one in (hits, gains, reciprocals)]
        figures[name] = dict(zip(("n", "hr@10", "ndcg@10", "mrr"), (n, *means), strict=True))
    return figures


def bursts(source: Interactions, first: int) -> np.ndarray:
    """Events of the stream that open a burst: the user's first, or the first after half an hour. bool [stream]"""
    order = np.lexsort((np.arange(len(source)), source.user))
    user, at = source.user[order], source.at_ms[order]
    opens = np.r_[True, (user[1:] != user[:-1]) | (at[1:] - at[:-1] > BURST_MS)]
    result = np.zeros(len(source), np.bool_)
    result[order] = opens
    return result[first:]


def compared(
    mine: np.ndarray, theirs: np.ndarray, user: np.ndarray, parts: dict[str, np.ndarray]
) -> dict[str, list[float]]:
    """Ours less theirs on the events that both ranked, and HR@10 of some slices: mean and 95 % interval."""
    both = (mine != NOT_SCORED) & (theirs != NOT_SCORED)
    differences = {}
    for name, one, mask in (
        ("hr@10", hits, both),
        ("ndcg@10", gains, both),
        *((f"hr@10 {part}", hits, both & parts[part]) for part in SLICES if (both & parts[part]).any()),
    ):
        difference = one(mine[mask]) - one(theirs[mask])
        differences[name] = [round(value, 4) for value in paired_interval(difference, user[mask])]
    return differences


def run_peer(
    recipe: Recipe, stream: Stream, options: argparse.Namespace, after: dict[str, Any]
) -> tuple[Walked, dict[str, Any]]:
    """after: the settings of the recipe that this one starts from."""
    started = time.process_time()
    settings, tries = dict(after), []
    if not options.untuned:
        settings, tries = tuned(recipe, stream.source, stream.first, ties=options.ties, after=after)
    tuning_s = time.process_time() - started
    learn_from = max(0, stream.first - recipe.learned) if recipe.learned else 0
    peer = recipe.peer(stream.size, **settings)
    walked = walk(peer, stream, learn_from=learn_from, at_most=recipe.at_most)
    about: dict[str, Any] = {
        "settings": settings,
        "tried": len(tries),
        "tail_hr@10": max((found for _, found in tries), default=None),
        "tuning_cpu_s": round(tuning_s, 1),
        "seconds": round(walked.seconds, 1),
        "fits": getattr(peer, "fits", None),
        "learned_of_batch": stream.first - learn_from,
    }
    return walked, {name: value for name, value in about.items() if value is not None}


def line(name: str, figures: dict[str, Any], versus: dict[str, list[float]] | None) -> str:
    whole = figures["all"]
    cells = [f"{whole['hr@10']:.4f}", f"{whole['ndcg@10']:.4f}", f"{whole['mrr']:.4f}"]
    cells += [f"{figures['coverage']:.3f}", f"{figures['gini']:.3f}"] if "coverage" in figures else ["", ""]
    for part in SLICES:
        here = figures[part]["hr@10"]
        cells.append("" if here is None else f"{here:.4f}")
    ahead = "" if versus is None else "{:+.4f} [{:+.4f}, {:+.4f}]".format(*versus["hr@10"])
    return f"{name:34}" + "".join(f"{cell:>8}" for cell in cells) + f"   {ahead}" + f"{whole['n']:>9,}"


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.peers", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--interactions", type=Path)
    parser.add_argument("--artifact", type=Path, help="of the batch part alone; without it is trained first")
    parser.add_argument("--stream-from", help="where the stream begins: 2017-10-09, or Unix time")
    parser.add_argument("--pretrain-share", type=float, default=0.8, help="where there is no --stream-from")
    parser.add_argument("--score-every", type=int, default=1)
    parser.add_argument("--ties", choices=("together", "file-order"), default="together")
    parser.add_argument("--peers", default=",".join(SETS), help="sets, of " + ", ".join(SETS))
    parser.add_argument("--only", default="", help="only peers whose name holds this")
    parser.add_argument("--refresh-every", type=float, default=86_400.0, help="seconds between fits of implicit's")
    parser.add_argument("--keep", action="store_true", help="go on with what the same command left in --out")
    parser.add_argument("--untuned", action="store_true", help="every peer with its first settings")
    parser.add_argument("--out", type=Path, default=Path("build/peers"), help="folder of results")
    options = parser.parse_args()
    if options.interactions is None:
        print("no --interactions FILE: nothing to compare on")
        return
    sets = set(options.peers.split(","))
    if unknown := sets - set(SETS):
        parser.error(f"no such set of peers: {', '.join(sorted(unknown))}")
    options.out.mkdir(parents=True, exist_ok=True)
    source = read_interactions(options.interactions)
    from_ms = parse_time_ms(options.stream_from) if options.stream_from else None
    first = stream_start(source, pretrain_share=options.pretrain_share, stream_from_ms=from_ms)
    stream = Stream(source, first, score_every=options.score_every, ties=options.ties)
    parts = {**slices(stream.source, first), "burst_starts": bursts(stream.source, first)}
    user = stream.source.user[first:]
    catalogue = len(np.unique(source.item))

    print(f"batch {first:,} events, stream {len(source) - first:,}, ties {options.ties}", flush=True)
    head = ("HR@10", "NDCG@10", "MRR", "cover", "Gini", "new us.", "new it.", "bursts")
    print(f"{'':34}" + "".join(f"{word:>8}" for word in head) + "   perennial less it, HR@10        scored")
    answer, row, variants = ours(options, options.out)
    ranks: dict[str, np.ndarray] = {}
    report: dict[str, Any] = {
        "protocol": {**answer["protocol"], "events": answer["events"], "pretrain_events": answer["pretrain_events"]},
        "perennial": {},
        "peers": {},
    }
    for variant, found in variants.items():
        name = OURS if variant == "continued" else f"{OURS}, {variant}"
        ranks[name] = np.full(len(user), NOT_SCORED)
        ranks[name][row] = found
        spread = {key: answer["variants"][variant][key] for key in ("coverage", "gini")}
        report["perennial"][variant] = {**figures_of(ranks[name], parts), **spread}
    mine = ranks[OURS]
    for variant, figures in report["perennial"].items():
        name = OURS if variant == "continued" else f"{OURS}, {variant}"
        if variant != "continued":
            figures["continued_less_it"] = compared(mine, ranks[name], user, parts)
        print(line(name, figures, figures.get("continued_less_it")), flush=True)
    results = options.out / "results.json"
    if options.keep and results.exists():
        before = json.loads(results.read_text("utf-8"))
        if before["protocol"] == report["protocol"]:
            report["peers"] = before["peers"]
            row, found = read_ranks(options.out / "ranks.parquet")
            for name in before["peers"]:
                ranks[name] = np.full(len(user), NOT_SCORED)
                ranks[name][row] = found[name]
                report["peers"][name]["perennial_less_it"] = compared(mine, ranks[name], user, parts)
    for recipe in recipes(sets, refresh_s=options.refresh_every):
        if options.only not in recipe.name or recipe.name in report["peers"]:
            continue
        after = report["peers"].get(recipe.after, {}).get("settings", {})
        walked, about = run_peer(recipe, stream, options, after)
        ranks[recipe.name] = walked.ranked.rank
        figures = figures_of(walked.ranked.rank, parts)
        spread = walked.ranked.figures({}, catalogue)
        figures |= {"coverage": spread["coverage"], "gini": spread["gini"]} if not recipe.at_most else {}
        versus = compared(mine, walked.ranked.rank, user, parts)
        report["peers"][recipe.name] = {**figures, "perennial_less_it": versus, **about}
        print(line(recipe.name, figures, versus), flush=True)
        write_ranks(options.out / "ranks.parquet", stream.source, first, ranks)
        results.write_text(json.dumps(report, indent=1), encoding="utf-8")
    print(
        "Intervals: 95 %, 2,000 draws of users. Settings: one after the other on the last tenth of the batch part\n"
        f"(HR@10 of about 2,000 events); those chosen stand in {options.out}/results.json, ranks per event beside it."
    )


if __name__ == "__main__":
    main()
