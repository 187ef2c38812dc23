"""What an API worker knows: the learner's published state, read only, and the decisions made from it.

A decision pins one version of the shared memory: it is made from the state at one log position, or made again.
"""

import asyncio
import json
import time
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np

from online.artifact import Artifact, read_artifact
from online.chance import hash64
from online.fifo import find
from online.frame import COUNTERS
from online.monitor import NAMES
from online.pricing.live import LivePricing
from online.pricing.markets import feature_names
from online.publication import (
    DIGEST_ANSWERED,
    DIGEST_ASKED,
    DIGEST_HIGH,
    DIGEST_LOW,
    DIGEST_POSITION,
    FRESHNESS_P50_US,
    FRESHNESS_P99_US,
    GENERATION,
    HEARTBEAT_MS,
    LEARNING,
    POSITION,
    PUBLISHED_AT_MS,
    VERSION,
    WRITING,
    LearnerNotReady,
    map_arena,
    monitors,
    open_control,
    shared_folder,
)
from online.recommendation.decide import Champion, Decider, Request, arm_of
from online.records import ARMS, Decision
from online.settings import Settings, read_settings
from online.state import COLUMN_BY_NAME
from online.tables import Arrays
from online.text import read_text
from online.views import Views, bind, read_only

__all__ = ["ArmReward", "LearnerNotReady", "LiveModel"]
REMAPS_MAX = 200
READS_MAX = 1_000  # a read that the learner overtook is made again; more than this means it writes without a pause


class ArmReward(NamedTuple):
    """Closed decisions of an arm; mean and variance of a slate's mean reward."""

    arm: str
    n: int
    mean_reward: float
    variance: float


class LiveModel:
    """The learner's shared memory, attached."""

    def __init__(
        self, folder: Path, settings: Settings, artifact: Artifact | None, pricing: Artifact | None = None
    ) -> None:
        self._folder = folder
        self.pricing_artifact_id = pricing.id if pricing else ""
        self._fare_features = feature_names(pricing)
        self._control = open_control(folder)
        self.settings = settings
        self.artifact_id = artifact.id if artifact else ""
        self.lineage_at = 0  # position of the newest act that changed the past, as far as this model shows it
        self._champion = Champion(settings, artifact) if artifact else None
        self._decider = Decider(settings)
        self.pricing = LivePricing(self)
        self._generation = -1
        self._arrays: tuple[Arrays, ...] = ()
        self._views: tuple[Views, ...] = ()
        self._item_ids: dict[int, str] = {}  # by key
        self._remap()

    @classmethod
    def attach(cls, home: Path, *, artifact: Path | None = None) -> Self:
        """Attach to the learner of this home. Raises LearnerNotReady where none has published."""
        folder = shared_folder(home)
        control = open_control(folder)
        if control[VERSION] == 0:
            raise LearnerNotReady(f"the learner of {home} has not published yet")
        layout = _layout(folder, int(control[GENERATION]))
        settings = _settings(layout)
        known = layout["artifact_folder"]
        chosen = artifact or (Path(known) if known else None)
        pricing = layout.get("pricing_artifact_folder")
        return cls(
            folder,
            settings,
            read_artifact(chosen) if chosen else None,
            read_artifact(Path(pricing)) if pricing else None,
        )

    def _remap(self) -> None:
        """Take the newest generation's arrays. Raises LearnerNotReady where there is none to take."""
        for _ in range(REMAPS_MAX):
            if self._generation == int(self._control[GENERATION]):
                return
            generation = int(self._control[GENERATION])
            try:
                layout = _layout(self._folder, generation)
                sides = [
                    map_arena(self._folder / f"arena-{generation}-{side}", layout, writable=False) for side in (0, 1)
                ]
            except (FileNotFoundError, LearnerNotReady):
                time.sleep(0.001)  # a newer generation is taking its place
                continue
            self._take_artifact(layout)
            self.lineage_at = int(layout.get("lineage_at", 0))
            self._arrays = tuple(read_only(side, COLUMN_BY_NAME) for side in sides)
            self._views = tuple(bind(arrays, self.settings) for arrays in self._arrays)
            self._item_ids.clear()
            self._decider = Decider(self.settings)  # the one before holds views of arrays that are gone
            self.pricing.let_go()
            self._generation = generation
        raise LearnerNotReady(f"the arrays under {self._folder} are gone: the learner has stopped")

    @property
    def fare_features(self) -> tuple[str, ...] | None:
        """The features that fares are made from, of the artifact that serves now; None: any name may come."""
        self._front()
        return self._fare_features

    def _take_artifact(self, layout: dict[str, Any]) -> None:
        """Other artifacts where an operator has promoted them: the champion is the new one from here on."""
        if layout.get("pricing_artifact_id", "") != self.pricing_artifact_id:
            folder = layout["pricing_artifact_folder"]
            self._fare_features = feature_names(read_artifact(Path(folder)) if folder else None)
            self.pricing_artifact_id = layout["pricing_artifact_id"]
        if layout["artifact_id"] == self.artifact_id:
            return
        artifact = read_artifact(Path(layout["artifact_folder"])) if layout["artifact_folder"] else None
        self.artifact_id = layout["artifact_id"]
        self._champion = Champion(self.settings, artifact) if artifact else None

    def _front(self) -> tuple[int, Views]:
        if self._control[GENERATION] != self._generation:
            self._remap()
        version = int(self._control[VERSION])
        return version, self._views[version & 1]

    def front(self) -> tuple[int, Views]:
        """The version in front and its views, read only; ask `holds` after reading them."""
        return self._front()

    def front_arrays(self) -> tuple[int, Arrays]:
        """The version in front and its arrays, read only; ask `holds` after reading them."""
        version, _ = self._front()
        return version, self._arrays[version & 1]

    def holds(self, version: int) -> bool:
        """Whether what was read under `version` is whole: nobody has begun to write that side since."""
        return bool(self._control[WRITING] <= version + 1 and self._control[GENERATION] == self._generation)

    # Figures --------------------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """Log position of what is shown."""
        return int(self._control[POSITION])

    @property
    def learning(self) -> Literal["on", "frozen"]:
        """Whether feedback moves the shared parameters."""
        return "on" if self._control[LEARNING] else "frozen"

    @property
    def published_at_ms(self) -> int:
        """When the learner last published, by its clock."""
        return int(self._control[PUBLISHED_AT_MS])

    @property
    def heartbeat_ms(self) -> int:
        """When the learner last gave a sign of life."""
        return int(self._control[HEARTBEAT_MS])

    def counters(self) -> dict[str, int]:
        """The accounting, by name."""
        _, views = self._front()
        counts = dict(zip(COUNTERS, map(int, views.frame.counters), strict=True))
        return {**counts, "users": int(views.users.handed_out[0]), "items": int(views.items.handed_out[0])}

    def freshness_ms(self) -> tuple[float, float]:
        """p50 and p99 of acknowledged → published, over the newest events."""
        return float(self._control[FRESHNESS_P50_US]) / 1e3, float(self._control[FRESHNESS_P99_US]) / 1e3

    def monitors(self) -> dict[str, float]:
        """What the learner's monitors see: losses, rewards, drifts."""
        return dict(zip(NAMES, map(float, monitors(self._control)), strict=False))

    def arms(self) -> list[ArmReward]:
        """The reward of each arm, over all closed decisions."""
        _, views = self._front()
        rewards = []
        for arm, (n, total, squares) in zip(ARMS, views.decisions.arms.tolist(), strict=True):
            mean = total / n if n else 0.0
            variance = max(0.0, squares / n - mean * mean) if n else 0.0
            rewards.append(ArmReward(arm, int(n), mean, variance))
        return rewards

    def knows_event(self, event_id: str) -> bool:
        """Whether the fold has seen this event: a hint, the fold itself has the last word."""
        _, views = self._front()
        return bool(find(views.seen, np.uint64(hash64(event_id))) >= 0)

    def decision_position(self, decision_id: str) -> int | None:
        """The log position of a recent decision, or None."""
        key = np.uint64(hash64(decision_id))
        for _ in range(READS_MAX):
            version, views = self._front()
            number = int(find(views.decisions.ring, key))
            found = int(views.decisions.position[number % len(views.decisions.position)]) if number >= 0 else None
            if self.holds(version):
                return found
        return None

    async def wait_for(self, position: int, timeout_s: float) -> bool:
        """Wait until `position` has been learned; whether it was in time."""
        deadline = time.monotonic() + timeout_s
        while self._control[POSITION] < position:
            if time.monotonic() >= deadline:
                return False
            await asyncio.sleep(0.0005)
        return True

    async def digest(self, timeout_s: float) -> tuple[int, str] | None:
        """(position, digest) of the state, computed by the learner at the end of a batch; None if it takes too long."""
        control = self._control
        asked = time.time_ns()
        control[DIGEST_ASKED] = asked
        deadline = time.monotonic() + timeout_s
        while control[DIGEST_ANSWERED] < asked:
            if time.monotonic() >= deadline:
                return None
            await asyncio.sleep(0.001)
        words = np.array([control[DIGEST_LOW], control[DIGEST_HIGH]])
        return int(control[DIGEST_POSITION]), words.tobytes().hex()

    # Decisions ------------------------------------------------------------------------------------------------------

    def recommend(
        self,
        *,
        decision_id: str,
        user_id: str,
        n: int,
        at_ms: int,
        received_ms: int,
        context: dict[str, str] | None = None,
        candidates: list[str] | None = None,
        exclude: list[str] | None = None,
        client: str = "",
        head: int = 0,
    ) -> Decision:
        """Decide a slate from the state in front. `head`: the log's last position that the caller knows of."""
        request = Request(
            decision_id=decision_id,
            user_id=user_id,
            n=n,
            at_ms=at_ms,
            context=context,
            candidates=tuple(candidates) if candidates is not None else None,
            exclude=tuple(exclude) if exclude is not None else None,
        )
        champion = self._champion if arm_of(self.settings, user_id) else None
        for _ in range(READS_MAX):
            version, views = self._front()
            slate = self._decider.decide(views, champion, request, version)
            position = int(views.frame.position[0])
            known = self._item_ids
            new = [(row, key) for row, key in zip(slate.rows, slate.keys, strict=True) if key not in known]
            try:
                texts = [(key, read_text(views.id_text, row)) for row, key in new]
            except UnicodeDecodeError:
                continue  # of two versions
            if self.holds(version):
                if texts:
                    known.update(texts)  # else one may be of two versions
                break
        else:
            raise LearnerNotReady("the learner overtook every read")
        staleness_ms = 0 if position >= head else max(0, received_ms - self.published_at_ms)
        return slate.recorded(
            request,
            item_ids=[known[key] for key in slate.keys],
            arm=1 if champion else 0,
            read_position=position,
            artifact_id=self.artifact_id,
            received_ms=received_ms,
            staleness_ms=staleness_ms,
            client=client,
        )


def _layout(folder: Path, generation: int) -> dict[str, Any]:
    try:
        layout: dict[str, Any] = json.loads((folder / f"layout-{generation}.json").read_text())
    except FileNotFoundError as error:
        raise LearnerNotReady(f"generation {generation} under {folder} is being replaced") from error
    return layout


def _settings(layout: dict[str, Any]) -> Settings:
    return read_settings(layout["settings"])
