"""`perennial replay recommendation`: test, then learn, over the later part of a file of interactions.

Every event of the stream is first ranked, against the whole catalogue known at that moment, then folded, by the same
kernels that serve: three variants side by side.

    frozen         neither parameters nor users move after the batch
    frozen+state   every user's own state follows, parameters don't
    continued      both; with `refresh_every_s` the parameters move in batches of that many seconds of event time,
                   while the users' own states follow at once, as they would in a service that redeploys its model

The protocol is CONTRACT's. Events of one user at one timestamp are ranked together, before any of them is learned
(`ties="together"`), or one after the other as the file has them (`ties="file-order"`).
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numba import njit

from online.artifact import Artifact, read_artifact
from online.batch import LENGTH, BatchBuilder, rules
from online.fold import Fold
from online.fold_kernel import fold_batch
from online.interactions import Interactions, read_interactions
from online.recommendation.feeding import Feed, fold_interactions, import_settings
from online.recommendation.layout import Learners, UserArrays
from online.recommendation.ranking import SHORTLIST, rank
from online.recommendation.settings import Settings as RecommendationSettings
from online.records import Act
from online.rows import find_row
from online.state import State

TOP = 10
NOT_SCORED, MISS = -1, 0

Ties = Literal["together", "file-order"]


class NothingToReplay(ValueError):
    """A split that leaves no batch or no stream."""


def replay_recommendation(
    interactions: Path,
    *,
    artifact: Path | None = None,
    pretrain_share: float = 0.8,
    stream_from_ms: int | None = None,
    seed: int = 0,
    score_every: int = 1,
    refresh_every_s: float = 0.0,
    include_seen: bool = False,
    ties: Ties = "together",
    variants: tuple[str, ...] = ("frozen", "frozen+state", "continued"),
    settings: RecommendationSettings | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """The object that CONTRACT names, and per variant how the figures were come by.

    Without an artifact the batch part is trained on first, for as long as `pretrain` would take by itself.
    Raises NothingToReplay, InteractionsMalformed, ArtifactMissing, ArtifactCorrupt, ArtifactUnsuitable.
    """
    source = read_interactions(Path(interactions))
    first = stream_start(source, pretrain_share=pretrain_share, stream_from_ms=stream_from_ms)
    if artifact is not None:
        chosen = read_artifact(Path(artifact))
    else:
        chosen = _pretrained(Path(interactions), int(source.at_ms[first]), quiet=quiet)
    return replay_stream(
        source,
        first,
        chosen,
        seed=seed,
        score_every=score_every,
        refresh_every_s=refresh_every_s,
        include_seen=include_seen,
        ties=ties,
        variants=variants,
        settings=settings,
        quiet=quiet,
    )


def stream_start(source: Interactions, *, pretrain_share: float, stream_from_ms: int | None) -> int:
    """The first row of the stream. A share never cuts a timestamp in two. Raises NothingToReplay."""
    if stream_from_ms is not None:
        first = int(np.searchsorted(source.at_ms, stream_from_ms, side="left"))
    else:
        cut = min(max(int(len(source) * pretrain_share), 0), len(source) - 1)
        first = int(np.searchsorted(source.at_ms, source.at_ms[cut], side="left"))
    if not 0 < first < len(source):
        raise NothingToReplay(
            f"{first} events before and {len(source) - first} after the split: both sides need some. "
            "Give another pretrain share or time."
        )
    return first


def _pretrained(path: Path, until_ms: int, *, quiet: bool) -> Artifact:
    from batch.train import pretrain

    with tempfile.TemporaryDirectory(prefix="perennial-replay-") as folder:
        return pretrain(path, Path(folder) / "artifact", until_ms=until_ms, quiet=quiet)


def replay_stream(
    source: Interactions,
    first: int,
    artifact: Artifact | None,
    *,
    seed: int = 0,
    score_every: int = 1,
    refresh_every_s: float = 0.0,
    include_seen: bool = False,
    ties: Ties = "together",
    variants: tuple[str, ...] = ("frozen", "frozen+state", "continued"),
    settings: RecommendationSettings | None = None,
    quiet: bool = True,
) -> dict[str, Any]:
    """As `replay_recommendation`, over interactions that were read; rows from `first` on are the stream."""
    source = in_groups(source, first)
    protocol = Protocol.of(source, first, score_every=score_every, together=ties == "together", seen=include_seen)
    chosen = import_settings(source, settings or RecommendationSettings(), seed=seed)
    feed = Feed(source, chosen)
    bar = _Bar(quiet)

    # The batch: users' states out of it in any case, parameters where the artifact does not bring them. What trained
    # the backbone flatters it, so its taste has no part in learning the mixing weights there.
    flattered = msgspec.structs.replace(
        chosen, recommendation=msgspec.structs.replace(chosen.recommendation, mixes_taste=False)
    )
    warmed = State(flattered, artifact, known_users=False)
    batch = Fold(warmed)
    learned = artifact is not None and any(name.startswith("learners.") for name in artifact.tensors)
    if learned:
        _act(batch, "freeze")
    begun = min(LENGTH, first)  # the first micro-batch compiles the kernels; the rest tells how fast the fold is
    fold_interactions(batch, feed, 0, begun)
    started = time.perf_counter()
    fold_interactions(batch, feed, begun, first, report=bar.of("batch"))
    fold_seconds = time.perf_counter() - started
    if learned:
        _act(batch, "resume")
    warmed.settings = chosen
    warmed.rebind()
    users_then = None
    if "frozen" in variants:
        users = warmed.views.learners.users
        users_then = users._replace(
            **{name: getattr(users, name).copy() for name in UserArrays._fields if name != "hidden"}
        )

    ranks: dict[str, Ranked] = {}
    seconds = dict.fromkeys(variants, 0.0)
    digest = ""
    if "frozen" in variants or "frozen+state" in variants:
        still = _copy(warmed, chosen, artifact) if "continued" in variants else warmed
        _act(Fold(still), "freeze")
        runner = Runner(still, feed, protocol, users_then=users_then)
        took = runner.run(first, len(source), bar.of("frozen"))
        seconds["frozen+state"] = took
        ranks["frozen+state"] = runner.followed
        ranks["frozen"] = runner.frozen
        digest = still.digest()
        del still, runner
    if "continued" in variants:
        if refresh_every_s > 0:
            served = _copy(warmed, chosen, artifact)
            _act(Fold(served), "freeze")
            runner = Runner(served, feed, protocol)
            seconds["continued"] = runner.run_lagging(
                Fold(warmed), first, len(source), int(refresh_every_s * 1000), bar.of("continued")
            )
        else:
            runner = Runner(warmed, feed, protocol)
            seconds["continued"] = runner.run(first, len(source), bar.of("continued"))
        ranks["continued"] = runner.followed
        digest = warmed.digest()
    bar.close()

    slices = _slices(source, first)
    catalogue = len(np.unique(source.item)) if artifact is None else warmed.count("items")
    slowest = max(seconds.values())
    return {
        "events": len(source) - first,
        "pretrain_events": first,
        "events_per_second": round((len(source) - first) / slowest, 1) if slowest > 0 else None,
        "variants": {name: ranks[name].figures(slices, catalogue) for name in variants},
        "state_digest": digest,
        "fold_events_per_second": round((first - begun) / fold_seconds, 1) if first > begun else None,
        "seconds": {name: round(took, 3) for name, took in seconds.items() if took > 0},
        "protocol": {
            "score_every": score_every,
            "refresh_every_s": refresh_every_s,
            "include_seen": include_seen,
            "ties": ties,
            "stream_from_ms": int(source.at_ms[first]),
            "catalogue": catalogue,
            "artifact": artifact.id if artifact else None,
        },
    }


def in_groups(source: Interactions, first: int) -> Interactions:
    """The same interactions, events of one user at one timestamp of the stream side by side; else in the file's order.

    Users keep the order in which they first appear at that timestamp, and each user's events their own.
    """
    from dataclasses import replace

    n = len(source)
    at, user = source.at_ms, source.user
    stamp = np.cumsum(np.r_[True, at[1:] != at[:-1]]) if n else np.zeros(0, np.int64)
    _, group = np.unique(stamp * (int(user.max()) + 1) + user, return_inverse=True)
    earliest = np.full(int(group.max()) + 1, n, np.int64)
    np.minimum.at(earliest, group, np.arange(n))
    order = np.lexsort((np.arange(n), earliest[group], stamp))
    order[:first] = np.arange(first)
    return replace(
        source,
        user=user[order],
        item=source.item[order],
        at_ms=at[order],
        value=source.value[order],
        event_type=source.event_type[order],
        session=None if source.session is None else source.session[order],
        context={name: codes[order] for name, codes in source.context.items()},
    )


def _act(fold: Fold, act: str) -> None:
    """An operator's act, folded as the log would bring it."""
    record = Act(act=act, reason="replay", received_ms=0)
    fold.entries([(fold.state.position + 1, record)])


def _copy(state: State, settings: Any, artifact: Artifact | None) -> State:
    other = State(settings, artifact, known_users=False)
    other.load(dict(state.canonical()))
    return other


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is ranked, and against what."""

    group_end: np.ndarray  # i8 [n] row after the last one that is ranked before this one is learned
    scored: np.ndarray  # bool [n]
    include_seen: bool
    first: int
    items: int  # distinct in the file

    @classmethod
    def of(cls, source: Interactions, first: int, *, score_every: int, together: bool, seen: bool) -> Protocol:
        """The protocol for these interactions, in groups already."""
        n = len(source)
        scored = np.zeros(n, np.bool_)
        scored[first::score_every] = True
        end = np.arange(1, n + 1)
        if together:
            same = (source.at_ms[1:] == source.at_ms[:-1]) & (source.user[1:] == source.user[:-1])
            if first:
                same[first - 1] = False
            for row in range(n - 2, -1, -1):
                if same[row]:
                    end[row] = end[row + 1]
        return cls(end, scored, seen, first, len(source.item_ids))


class Ranked:
    """Ranks of the scored events, and what was shown."""

    def __init__(self, events: int, items: int) -> None:
        self.rank = np.full(events, NOT_SCORED, np.int64)  # 1 is best, MISS is none
        self.shown = np.zeros(items, np.int64)  # top-10 places, by row

    def figures(self, slices: dict[str, np.ndarray], catalogue: int) -> dict[str, Any]:
        """HR@10, NDCG@10 and MRR of all and of each slice; coverage and Gini of what stood in the top 10."""
        scored = self.rank != NOT_SCORED
        result: dict[str, Any] = {"all": _figures(self.rank[scored])}
        for name, mask in slices.items():
            result[name] = _figures(self.rank[scored & mask])
        shown = np.zeros(catalogue, np.int64)
        shown[: min(catalogue, len(self.shown))] = self.shown[:catalogue]
        result["coverage"] = round(float((shown > 0).mean()), 4)
        result["gini"] = round(gini(shown), 4)
        return result


def _figures(rank: np.ndarray) -> dict[str, Any]:
    n = len(rank)
    if n == 0:
        return {"n": 0, "hr@10": None, "ndcg@10": None, "mrr": None}
    found = rank[rank > MISS].astype(np.float64)
    hit = found[found <= TOP]
    return {
        "n": n,
        "hr@10": round(len(hit) / n, 4),
        "ndcg@10": round(float((1.0 / np.log2(1.0 + hit)).sum() / n), 4),
        "mrr": round(float((1.0 / found).sum() / n), 4),
    }


def gini(counts: np.ndarray) -> float:
    """Inequality of exposure: 0 all items alike, near 1 one item has everything.

    >>> gini(np.array([1, 1, 1, 1])), gini(np.array([0, 0, 0, 4]))
    (0.0, 0.75)
    """
    total = int(counts.sum())
    if total == 0:
        return 0.0
    ordered = np.sort(counts).astype(np.float64)
    n = len(ordered)
    return float((2.0 * np.arange(1, n + 1) - n - 1.0) @ ordered / (n * total))


def _slices(source: Interactions, first: int) -> dict[str, np.ndarray]:
    known_user = np.zeros(len(source.user_ids), np.bool_)
    known_user[source.user[:first]] = True
    known_item = np.zeros(len(source.item_ids), np.bool_)
    known_item[source.item[:first]] = True
    user, item = known_user[source.user[first:]], known_item[source.item[first:]]
    return {"returning_users": user, "new_users": ~user, "known_items": item, "new_items": ~item}


class Runner:
    """One state that lives through the stream, ranking before it learns."""

    def __init__(self, state: State, feed: Feed, protocol: Protocol, *, users_then: UserArrays | None = None) -> None:
        source = feed.interactions
        events = len(source) - protocol.first
        self.state, self.feed, self.protocol = state, feed, protocol
        self.builder = BatchBuilder(state.settings)
        self.rules = rules(state.settings)
        self.knobs = np.array([1e15, 1.0, state.settings.user_budget_per_hour])
        self.users_then = users_then
        rows = state.count("items") + len(source.item_ids)
        self.followed = Ranked(events, rows)
        self.frozen = Ranked(events, rows)
        self.item_row = np.full(len(source.item_ids), -1, np.int64)
        self.scores = np.zeros(rows, np.float32)
        self.stamp = np.full(rows, -1, np.int64)
        # Each user's items so far: the newest row of the file, and from each row the one before.
        self.last_of = np.full(len(source.user_ids), -1, np.int64)
        self.before = np.full(len(source), -1, np.int64)
        _link(source.user, 0, protocol.first, self.last_of, self.before)

    def run(self, first: int, last: int, report: Any) -> float:
        """Rank and fold rows first … last - 1; seconds that it took, without compiling the kernels."""
        self._span(first, first)
        started = time.perf_counter()
        for start in range(first, last, LENGTH):
            self._span(start, min(start + LENGTH, last))
            report(min(start + LENGTH, last) - first, last - first)
        return time.perf_counter() - started

    def run_lagging(self, learner: Fold, first: int, last: int, every_ms: int, report: Any) -> float:
        """As `run`, with parameters that a second state learns, and hands over once in `every_ms` of event time."""
        self._span(first, first)
        started = time.perf_counter()
        at_ms = self.feed.interactions.at_ms
        origin = int(at_ms[first])
        start = first
        while start < last:
            boundary = origin + ((int(at_ms[start]) - origin) // every_ms + 1) * every_ms
            end = min(int(np.searchsorted(at_ms, boundary, side="left")), last)
            for span in range(start, end, LENGTH):
                self._span(span, min(span + LENGTH, end))
                report(min(span + LENGTH, end) - first, last - first)
            fold_interactions(learner, self.feed, start, end)
            mine = self.state.parameters()
            for name, newest in learner.state.parameters().items():
                mine[name][...] = newest
            start = end
        return time.perf_counter() - started

    def _span(self, start: int, end: int) -> None:
        state, feed, source = self.state, self.feed, self.feed.interactions
        state.ensure("users", end - start)
        state.ensure("items", end - start)
        feed.fill(self.builder, start, end, state.position + 1)
        known = state.count("items")
        views = state.views
        learners = views.learners
        still = learners if self.users_then is None else learners._replace(users=self.users_then)
        reached = rank_and_fold(
            learners,
            still,
            self.users_then is not None,
            views.frame,
            views.seen,
            views.users,
            views.items,
            state.arrays["users.last_position"],
            state.arrays["users.budget"],
            state.arrays["users.budget_at_ms"],
            state.arrays["items.last_position"],
            views.decisions,
            views.slots,
            state.journal,
            self.builder.batch,
            self.rules,
            self.knobs,
            start,
            end - start,
            self.protocol.first,
            source.user,
            source.item,
            source.at_ms,
            feed.context,
            feed.user_key,
            feed.item_key,
            self.protocol.group_end,
            self.protocol.scored,
            self.protocol.include_seen,
            self.item_row,
            self.last_of,
            self.before,
            self.scores,
            self.stamp,
            self.followed.rank,
            self.followed.shown,
            self.frozen.rank,
            self.frozen.shown,
        )
        if reached != end - start:
            raise NothingToReplay(f"row {start + reached}: the tables are full")
        for row in range(known, state.count("items")):
            state.name_item(row, self.builder.ids[int(views.items.key[row])])
        self.builder.clear()
        for journal in state.journal:
            journal.used[0] = 0


@njit(cache=True)
def _link(user: Any, first: int, last: int, last_of: Any, before: Any) -> None:
    for row in range(first, last):
        before[row] = last_of[user[row]]
        last_of[user[row]] = row


@njit(cache=True)
def rank_of(scores: Any, allowed: Any, count: int, target: int, pool: Any, pooled: int, shown: Any) -> int:
    """The target's place among the first `count` rows that are allowed, ties against it; the top 10 are counted.

    pool[:pooled]: the best rows, in order; they rank before all others. A score that is no number ranks last.
    """
    for at in range(min(pooled, TOP)):
        shown[pool[at]] += 1
    goal = scores[target]
    if goal != goal:
        return count
    rank = 1
    inside = False
    for at in range(pooled):
        if pool[at] == target:
            inside = True
        elif scores[pool[at]] >= goal:
            rank += 1
    if inside:
        return rank
    rank = 1 + pooled
    for at in range(pooled):
        allowed[pool[at]] = False
    for row in range(count):
        if allowed[row] and row != target and scores[row] >= goal:
            rank += 1
    return rank


@njit(cache=True)
def _allow(allowed: Any, stamp: Any, excluded: int, count: int) -> None:
    """All rows but those that hold the stamp `excluded`."""
    for row in range(count):
        allowed[row] = stamp[row] != excluded


@njit(cache=True)
def rank_and_fold(
    learners: Learners,
    still: Learners,
    both: bool,
    frame: Any,
    seen: Any,
    users: Any,
    items: Any,
    users_last_position: Any,
    users_budget: Any,
    users_budget_at_ms: Any,
    items_last_position: Any,
    decisions: Any,
    slots: Any,
    journal: Any,
    batch: Any,
    rules: Any,
    knobs: Any,
    start: int,
    n: int,
    stream_first: int,
    user: Any,
    item: Any,
    at_ms: Any,
    context: Any,
    user_key: Any,
    item_key: Any,
    group_end: Any,
    scored: Any,
    include_seen: bool,
    item_row: Any,
    last_of: Any,
    before: Any,
    scores: Any,
    stamp: Any,
    followed_rank: Any,
    followed_shown: Any,
    frozen_rank: Any,
    frozen_shown: Any,
) -> int:
    """Rows start … start + n - 1: each group is ranked as a whole, then its rows are folded one by one."""
    pool = np.zeros(SHORTLIST, np.int64)
    allowed = np.zeros(scores.shape[0], np.bool_)
    known_users = still.users.taken.shape[0]
    for b in range(n):
        x = start + b
        opens = x == stream_first or group_end[x - 1] == x
        if opens:
            for y in range(x, group_end[x]):
                if not scored[y]:
                    continue
                out = y - stream_first
                followed_rank[out] = MISS
                if both:
                    frozen_rank[out] = MISS
                count = items.handed_out[0]
                target = find_row(items, item_key[item[y]])
                if not include_seen:
                    z = last_of[user[y]]
                    while z >= 0:
                        row = item_row[item[z]]
                        if row < 0:
                            row = find_row(items, item_key[item[z]])
                            item_row[item[z]] = row
                        stamp[row] = y
                        z = before[z]
                hopeless = target < 0
                if not hopeless and stamp[target] == y:
                    hopeless = True
                row = find_row(users, user_key[user[y]])
                _allow(allowed, stamp, y, count)
                pooled = rank(learners, row, at_ms[y], context[y], count, allowed, scores, pool)
                place = rank_of(scores, allowed, count, max(target, 0), pool, pooled, followed_shown)
                if not hopeless:
                    followed_rank[out] = place
                if both:
                    row = row if row < known_users else -1
                    _allow(allowed, stamp, y, count)
                    pooled = rank(still, row, at_ms[y], context[y], count, allowed, scores, pool)
                    place = rank_of(scores, allowed, count, max(target, 0), pool, pooled, frozen_shown)
                    if not hopeless:
                        frozen_rank[out] = place
        reached = fold_batch(
            frame,
            seen,
            users,
            items,
            users_last_position,
            users_budget,
            users_budget_at_ms,
            items_last_position,
            decisions,
            slots,
            learners,
            journal,
            batch,
            b,
            b + 1,
            rules,
            knobs,
        )
        if reached != b + 1:
            return b
        before[x] = last_of[user[x]]
        last_of[user[x]] = x
    return n


class _Bar:
    """Progress on stderr, with the rate and the time left; silent where nobody looks."""

    def __init__(self, quiet: bool) -> None:
        self.progress: Any = None
        if not quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            self.progress = Progress(
                TextColumn("{task.description:>10}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                console=Console(stderr=True),
            )
            self.progress.start()

    def of(self, name: str) -> Any:
        """A report function for one part of the work."""
        if self.progress is None:
            return lambda done, total: None
        task = self.progress.add_task(name, rate="")
        started = time.perf_counter()

        def report(done: int, total: int) -> None:
            rate = done / max(time.perf_counter() - started, 1e-9)
            self.progress.update(task, completed=done, total=total, rate=f"{rate:,.0f}/s")

        return report

    def close(self) -> None:
        """Leave the terminal as it was."""
        if self.progress is not None:
            self.progress.stop()
