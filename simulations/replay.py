"""`perennial replay recommendation`: test, then learn, over the later part of a file of interactions.

Every event of the stream is first ranked, against the whole catalogue known at that moment, then folded, by the same
kernels that serve: three variants side by side.

    frozen         neither parameters nor users move after the batch
    frozen+state   every user's own state follows, parameters don't
    continued      both; with `refresh_every_s` the parameters move in batches of that many seconds of event time,
                   while the users' own states follow at once, as they would in a service that redeploys its model

`simulations/protocol.py` says what is ranked when, `simulations/ranking.py` how
`simulations/stream.py` lives through it.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from online.artifact import Artifact, read_artifact
from online.batch import LENGTH
from online.fold import Fold
from online.interactions import Interactions, read_interactions
from online.recommendation.feeding import Feed, fold_interactions, import_settings
from online.recommendation.layout import UserArrays
from online.recommendation.settings import Settings as RecommendationSettings
from online.records import Act
from online.state import State
from simulations.progress import Bar
from simulations.protocol import Protocol, Ties, in_groups, slices, stream_start
from simulations.ranking import Ranked
from simulations.ranks import write_ranks
from simulations.stream import Runner


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
    results: Path | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """The object that CONTRACT names, and per variant how the figures were come by.

    Without an artifact the batch part is trained on first, for as long as `pretrain` would take by itself.
    results: a Parquet file to write, with the rank of every scored event (`simulations/ranks.py`).
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
        results=results,
        quiet=quiet,
    )


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
    results: Path | None = None,
    quiet: bool = True,
) -> dict[str, Any]:
    """As `replay_recommendation`, over interactions that were read; rows from `first` on are the stream."""
    source = in_groups(source, first)
    protocol = Protocol.of(source, first, score_every=score_every, together=ties == "together", seen=include_seen)
    bar = Bar(quiet)
    past = lived_batch(source, first, artifact, seed=seed, settings=settings, report=bar.of("batch"))
    ranks: dict[str, Ranked] = {}
    seconds = dict.fromkeys(variants, 0.0)
    digest = ""
    if "frozen" in variants or "frozen+state" in variants:
        state = past.again() if "continued" in variants else past.state
        ranks["frozen"], ranks["frozen+state"], seconds["frozen+state"] = past.frozen(
            state, protocol, both="frozen" in variants, report=bar.of("frozen")
        )
        digest = state.digest()
        del state
    if "continued" in variants:
        ranks["continued"], seconds["continued"] = past.continued(
            past.state, protocol, refresh_every_s=refresh_every_s, report=bar.of("continued")
        )
        digest = past.state.digest()
    bar.close()
    if results is not None:
        write_ranks(results, source, first, {name: ranks[name].rank for name in variants})

    parts = slices(source, first)
    catalogue = len(np.unique(source.item)) if artifact is None else past.state.count("items")
    slowest = max(seconds.values())
    return {
        "events": len(source) - first,
        "pretrain_events": first,
        "events_per_second": round((len(source) - first) / slowest, 1) if slowest > 0 else None,
        "variants": {name: ranks[name].figures(parts, catalogue) for name in variants},
        "state_digest": digest,
        "fold_events_per_second": past.events_per_second,
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


@dataclass(slots=True)
class Past:
    """A state that has lived through the batch part, and what each way of living on from there finds."""

    state: State
    feed: Feed
    settings: Any  # of the log
    artifact: Artifact | None
    first: int
    events_per_second: float | None

    def again(self) -> State:
        """The same state once more."""
        other = State(self.settings, self.artifact, known_users=False)
        other.load(dict(self.state.canonical()))
        return other

    def frozen(self, state: State, protocol: Protocol, *, both: bool, report: Any) -> tuple[Ranked, Ranked, float]:
        """Parameters stay as they are; -> with users as they were (where `both`), with users that move on, seconds"""
        users_then = None
        if both:
            users = state.views.learners.users
            users_then = users._replace(
                **{name: getattr(users, name).copy() for name in UserArrays._fields if name != "hidden"}
            )
        _act(Fold(state), "freeze")
        runner = Runner(state, self.feed, protocol, users_then=users_then)
        took = runner.run(self.first, len(self.feed.interactions), report)
        return runner.frozen, runner.followed, took

    def continued(
        self,
        state: State,
        protocol: Protocol,
        *,
        refresh_every_s: float = 0.0,
        moving: Callable[[str], bool] | None = None,
        report: Any,
    ) -> tuple[Ranked, float]:
        """The state learns; what ranks gets its parameters at once, or once in so many seconds those of `moving`."""
        last = len(self.feed.interactions)
        if refresh_every_s <= 0:
            runner = Runner(state, self.feed, protocol)
            return runner.followed, runner.run(self.first, last, report)
        served = self.again()
        _act(Fold(served), "freeze")
        runner = Runner(served, self.feed, protocol)
        every_ms = int(refresh_every_s * 1000)
        took = runner.run_lagging(Fold(state), self.first, last, every_ms, report, moving=moving)
        return runner.followed, took


def lived_batch(
    source: Interactions,
    first: int,
    artifact: Artifact | None,
    *,
    seed: int = 0,
    settings: RecommendationSettings | None = None,
    report: Any = None,
) -> Past:
    """Users' states out of the batch part in any case, parameters where the artifact does not bring them.

    What trained the backbone flatters it, so its taste has no part in learning the mixing weights there.
    """
    chosen = import_settings(source, settings or RecommendationSettings(), seed=seed)
    feed = Feed(source, chosen)
    flattered = msgspec.structs.replace(
        chosen, recommendation=msgspec.structs.replace(chosen.recommendation, mixes_taste=False)
    )
    state = State(flattered, artifact, known_users=False)
    batch = Fold(state)
    learned = artifact is not None and any(name.startswith("learners.") for name in artifact.tensors)
    if learned:
        _act(batch, "freeze")
    begun = min(LENGTH, first)  # the first micro-batch compiles the kernels; the rest tells how fast the fold is
    fold_interactions(batch, feed, 0, begun)
    started = time.perf_counter()
    fold_interactions(batch, feed, begun, first, report=report)
    seconds = time.perf_counter() - started
    if learned:
        _act(batch, "resume")
    state.settings = chosen
    state.rebind()
    rate = round((first - begun) / seconds, 1) if first > begun else None
    return Past(state, feed, chosen, artifact, first, rate)


def _act(fold: Fold, act: str) -> None:
    """An operator's act, folded as the log would bring it."""
    record = Act(act=act, reason="replay", received_ms=0)
    fold.entries([(fold.state.position + 1, record)])
