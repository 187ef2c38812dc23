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
    bar = Bar(quiet)

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

    parts = slices(source, first)
    catalogue = len(np.unique(source.item)) if artifact is None else warmed.count("items")
    slowest = max(seconds.values())
    return {
        "events": len(source) - first,
        "pretrain_events": first,
        "events_per_second": round((len(source) - first) / slowest, 1) if slowest > 0 else None,
        "variants": {name: ranks[name].figures(parts, catalogue) for name in variants},
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


def _act(fold: Fold, act: str) -> None:
    """An operator's act, folded as the log would bring it."""
    record = Act(act=act, reason="replay", received_ms=0)
    fold.entries([(fold.state.position + 1, record)])


def _copy(state: State, settings: Any, artifact: Artifact | None) -> State:
    other = State(settings, artifact, known_users=False)
    other.load(dict(state.canonical()))
    return other
