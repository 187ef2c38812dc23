"""Decide a slate: candidates → exact scores → rules → exploration → slate, a pure function of state and request.

The same code answers a request in a worker, ranks in a replay, and decides again in a reproduction. What it needs is
in the views (of one log position), in the champion where the user's arm is the champion's, and in the request.
"""

from collections.abc import Sequence
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import msgspec
import numpy as np

from online.artifact import Artifact
from online.batch import context_keys
from online.chance import hash64, uniform
from online.held import Keeper
from online.recommendation.arrays import EXPERTS
from online.recommendation.availability import Open
from online.recommendation.front import ANEW, empty_front
from online.recommendation.layout import CANDIDATES_MAX, Learners
from online.recommendation.ranking import BEYOND, SHORTLIST
from online.recommendation.slate_kernel import Asked, Shown, Sight, decide_slate
from online.records import (
    BECAUSE_TERMS,
    NO_BECAUSE,
    TERM,
    Decision,
    pack_floats,
    unpack_floats,
    unpack_terms,
)
from online.rows import find_row
from online.settings import CONTEXT_FEATURES_MAX, SLATE_MAX, Settings
from online.state import COLUMN_BY_NAME, State
from online.views import Views, bind, read_only

SIGHTS_KEPT = 4  # two sides of the shared memory, two arms
_ARM_DRAW = 1 << 32  # a draw's number that no position uses
_NO_KEYS = np.zeros(0, np.uint64)


class Because(msgspec.Struct, frozen=True, gc=False):
    """A part of a score: the expert's name and what it added."""

    expert: str
    contribution: float


class Recommended(msgspec.Struct, frozen=True, gc=False):
    """One position of a slate, as a client sees it."""

    item_id: str
    position: int  # from 1
    score: float
    propensity: float  # P(this item here | the ones above it)
    because: list[Because]


class Request(NamedTuple):
    """What is asked, as it will stand in the log."""

    decision_id: str
    user_id: str
    n: int
    at_ms: int
    context: dict[str, str] | None = None
    candidates: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None


def arm_of(settings: Settings, user_id: str) -> int:
    """0 live, 1 champion: a fixed share of the users, by hash of user and seed."""
    return int(_arm_drawn(settings.seed, user_id) < settings.champion_share)


@lru_cache(maxsize=1 << 16)
def _arm_drawn(seed: int, user_id: str) -> float:
    return float(uniform(np.uint64(seed), np.uint64(hash64(user_id)), _ARM_DRAW))


class Champion:
    """The frozen artifact as learners: its parameters never move, the hidden states it reads follow the users."""

    def __init__(self, settings: Settings, artifact: Artifact) -> None:
        views = bind(read_only(State(settings, artifact, known_users=False).arrays, COLUMN_BY_NAME), settings)
        self.items = views.items
        self.learners = views.learners


class Slate(NamedTuple):
    """What was decided. Numbers stand as they go into the record."""

    rows: list[int]  # of the items' table
    keys: list[int]
    scores: bytes  # f4 [positions]
    propensities: bytes  # f4 [positions]
    because: bytes  # records.TERM [positions, BECAUSE_TERMS]
    unknown: tuple[str, ...]  # candidates that nothing is known of, after all others

    def recorded(
        self,
        request: Request,
        *,
        item_ids: Sequence[str],
        arm: int,
        read_position: int,
        artifact_id: str,
        received_ms: int,
        staleness_ms: int,
        client: str,
    ) -> Decision:
        """The record for the log. item_ids: of `rows`."""
        more = len(self.unknown)
        return Decision(
            decision_id=request.decision_id,
            user_id=request.user_id,
            at_ms=request.at_ms,
            received_ms=received_ms,
            read_position=read_position,
            arm=arm,
            n=request.n,
            item_ids=(*item_ids, *self.unknown),
            scores=self.scores + pack_floats([0.0] * more) if more else self.scores,
            propensities=self.propensities + pack_floats([1.0] * more) if more else self.propensities,
            because=self.because + NO_BECAUSE * more,
            context=request.context,
            candidates=request.candidates,
            exclude=request.exclude,
            artifact_id=artifact_id,
            staleness_ms=staleness_ms,
            client=client,
        )


def recommended(decision: Decision) -> list[Recommended]:
    """The positions of a recorded slate, as a client sees them: the numbers are the record's own bits."""
    terms = iter([Because(EXPERTS[expert], part) for expert, part in unpack_terms(decision.because)])
    because = [[one for one in few if one.contribution] for few in zip(*[terms] * BECAUSE_TERMS, strict=True)]
    scores, propensities = unpack_floats(decision.scores), unpack_floats(decision.propensities)
    return list(map(Recommended, decision.item_ids, count(1), scores, propensities, because))


def _keys(ids: tuple[str, ...] | None) -> Any:
    return np.array([hash64(one) for one in ids], np.uint64) if ids else _NO_KEYS


class Decider:
    """Decides requests; holds the buffers that doing so takes. Not to be used by two threads at a time."""

    def __init__(self, settings: Settings) -> None:
        self._asked = Asked(
            context=np.zeros(CONTEXT_FEATURES_MAX, np.uint64),
            caps=np.array([cap.most for cap in settings.caps], np.int64),
            exploration=settings.exploration,
            seed=np.uint64(settings.seed),
        )
        self._shown = Shown(
            rows=np.zeros(SLATE_MAX, np.int64),
            keys=np.zeros(SLATE_MAX, np.uint64),
            scores=np.zeros(SLATE_MAX, np.float32),
            propensities=np.zeros(SLATE_MAX, np.float32),
            because=np.zeros((SLATE_MAX, BECAUSE_TERMS), TERM),
            pool=np.zeros(CANDIDATES_MAX, np.int64),
        )
        self._keeper = Keeper(SIGHTS_KEPT)

    def _sight(self, views: Views, champion: Champion | None) -> Any:
        """The held Sight of these views."""

        def sight() -> Sight:
            learners = views.learners if champion is None else with_users(champion.learners, views.learners)
            scored_key = views.items.key if champion is None else champion.items.key
            rows = Open(views.catalogue, views.items.key, scored_key, learners.scratch.stamp)
            many = views.items.key.shape[0]
            scores = np.empty(many, np.float32)
            front = empty_front(many)
            return Sight(views.users, views.items, learners, rows, front, scores, self._asked, self._shown)

        return self._keeper.held((views, champion), sight)

    def decide(self, views: Views, champion: Champion | None, request: Request, version: int = ANEW) -> Slate:
        """The slate for `request` from the state in `views`, which changes with `version` and not without; ANEW says
        nothing about that."""
        asked, shown = self._asked, self._shown
        asked.context[:] = 0
        for k, key in enumerate(context_keys(request.context)):
            asked.context[k] = key
        n = min(request.n, SLATE_MAX)
        filled = decide_slate(
            self._sight(views, champion),
            version,
            np.uint64(hash64(request.user_id)),
            request.at_ms,
            _keys(request.candidates),
            request.candidates is not None,
            _keys(request.exclude),
            n,
            np.uint64(hash64(request.decision_id)),
            CANDIDATES_MAX if len(asked.caps) else max(SHORTLIST, n + BEYOND),
        )
        return Slate(
            rows=shown.rows[:filled].tolist(),
            keys=shown.keys[:filled].tolist(),
            scores=shown.scores[:filled].tobytes(),
            propensities=shown.propensities[:filled].tobytes(),
            because=shown.because[:filled].tobytes(),
            unknown=self._unknown(views, request, n - filled),
        )

    def _unknown(self, views: Views, request: Request, room: int) -> tuple[str, ...]:
        """Candidates that have no row: nothing speaks for them, and nobody may lose them either."""
        if not request.candidates or room <= 0:
            return ()
        excluded = set(request.exclude or ())
        new = [c for c in request.candidates if find_row(views.items, np.uint64(hash64(c))) < 0 and c not in excluded]
        return tuple(dict.fromkeys(new))[:room]


def with_users(learners: Learners, live: Learners) -> Learners:
    """The champion's parameters over the users' own state, which is the same for both arms."""
    return learners._replace(users=live.users)
