"""Decide a recorded decision again, from the state of its moment, and hold the bytes against each other (law 6).

Compared is the record itself as it is encoded in the log: items, scores, propensities, reasons, arm, artifact. Taken
over from the record is only what the decision did not decide: who asked, for what, and when.
"""

import msgspec
from blake3 import blake3

from online.artifact import Artifact, ArtifactCorrupt, ArtifactMissing
from online.history import History, Place, Progress
from online.lineage import Arguments
from online.pricing.quote import FareDecider, decided_again
from online.pricing.records import Quote
from online.recommendation.decide import Champion, Decider, Request, arm_of
from online.records import Decision, Record, decode, encode, unpack_because, unpack_floats
from online.snapshot import environment
from online.state import COLUMN_BY_NAME, State
from online.views import bind, read_only

_FLOATS = ("scores", "propensities", "demand")


class Unreproducible(Exception):
    """A record that no decision made."""


class Difference(msgspec.Struct, frozen=True):
    """A field of the record that came out otherwise."""

    field: str
    recorded: str
    derived: str


class Reproduction(msgspec.Struct, frozen=True, kw_only=True):
    """What came of deciding again. `promised` is false where records that it rested on have been erased since."""

    decision_id: str
    log_position: int
    read_position: int
    identical: bool
    promised: bool
    digest: str  # BLAKE3 of the record as it is derived now; "" where it could not be
    expected_digest: str  # of the record as it stands in the log
    differences: list[Difference]
    why: str  # of a difference, or of a promise that is gone; "" where there is nothing to say
    snapshot: str  # that the state was folded on from; "" the artifact


class Reproducer:
    """Decides again out of one history; keeps the last state, from which a later moment is not far."""

    def __init__(self, history: History) -> None:
        self.history = history
        self._near: Place | None = None
        self._champions: dict[str, Champion] = {}
        self._decider = Decider(history.settings)

    def reproduce(self, position: int, *, progress: Progress | None = None) -> Reproduction:
        """The decision at a log position. Raises Unreproducible, PositionUnknown, LogForeign."""
        payload = self.history.reader.entry(position)
        recorded = decode(payload) if payload is not None else None
        if payload is None or not isinstance(recorded, Decision | Quote):
            raise Unreproducible(f"position {position} holds no decision")
        self.history.scan(self.history.reader.head())
        why = self._erased_since(position, recorded.read_position)
        promised = not why
        try:
            place = self.history.state_at(recorded.read_position, progress=progress, near=self._near)
            self._near = place
            derived = self._again(place, recorded)
        except (ArtifactMissing, ArtifactCorrupt) as error:
            self._near = None
            return self._result(position, recorded, payload, None, promised, f"an artifact is missing: {error}", "")
        except BaseException:
            self._near = None
            raise
        snapshot = place.snapshot.id if place.snapshot else ""
        if encode(derived) != payload and not why:
            why = self._reason(place)
        return self._result(position, recorded, payload, derived, promised, why, snapshot)

    def _again(self, place: Place, recorded: Decision | Quote) -> Record:
        state = place.state
        if isinstance(recorded, Quote):
            views = bind(read_only(state.arrays, COLUMN_BY_NAME), state.settings)
            pricing, decider = state.settings.pricing, FareDecider(state.settings.pricing)
            return decided_again(views.pricing, views.selling, pricing, decider, recorded, state.pricing_artifact_id)
        request = Request(
            decision_id=recorded.decision_id,
            user_id=recorded.user_id,
            n=recorded.n,
            at_ms=recorded.at_ms,
            context=recorded.context,
            candidates=recorded.candidates,
            exclude=recorded.exclude,
        )
        artifact = self.history.artifacts(state.artifact_id)
        champion = self._champion(artifact) if artifact and arm_of(state.settings, recorded.user_id) else None
        return decided(state, self._decider, champion, request, recorded)

    def _champion(self, artifact: Artifact) -> Champion:
        if artifact.id not in self._champions:
            self._champions[artifact.id] = Champion(self.history.settings, artifact)
        return self._champions[artifact.id]

    def _erased_since(self, position: int, read_position: int) -> str:
        for at, act in self.history.lineages.acts:
            if act.act == "erase" and at > position and at not in self.history.lineages.void:
                told = msgspec.json.decode(act.arguments, type=Arguments)
                if told.to is not None and told.to < read_position:
                    return f"the act at position {at} erased records that this decision rested on"
        return ""

    def _reason(self, place: Place) -> str:
        here = environment()
        if place.snapshot is not None:
            there = place.snapshot.environment
            other = [f"{name} {there.get(name)} → {here[name]}" for name in here if there.get(name) != here[name]]
            if other:
                return f"the snapshot {place.snapshot.id} was made in another environment: {', '.join(other)}"
        return "the environment is the same: this record, or one before it, is not what was written"

    def _result(
        self,
        position: int,
        recorded: Decision | Quote,
        payload: bytes,
        derived: Record | None,
        promised: bool,
        why: str,
        snapshot: str,
    ) -> Reproduction:
        again = encode(derived) if derived is not None else b""
        return Reproduction(
            decision_id=recorded.quote_id if isinstance(recorded, Quote) else recorded.decision_id,
            log_position=position,
            read_position=recorded.read_position,
            identical=again == payload,
            promised=promised,
            digest=blake3(again).hexdigest()[:32] if again else "",
            expected_digest=blake3(payload).hexdigest()[:32],
            differences=differences(recorded, derived) if derived is not None else [],
            why=why,
            snapshot=snapshot,
        )


def decided(
    state: State, decider: Decider, champion: Champion | None, request: Request, recorded: Decision
) -> Decision:
    """The record that this state's decision would have been, received as the recorded one was."""
    slate = decider.decide(bind(read_only(state.arrays, COLUMN_BY_NAME), state.settings), champion, request)
    derived, _ = slate.recorded(
        request,
        item_id=state.item_id,
        arm=1 if champion else 0,
        read_position=recorded.read_position,
        artifact_id=state.artifact_id,
        received_ms=recorded.received_ms,
        staleness_ms=recorded.staleness_ms,
        client=recorded.client,
    )
    return derived


def differences(recorded: Record, derived: Record) -> list[Difference]:
    """Fields that are not the same, in the record's order; floats are told as numbers."""
    found = []
    for name in recorded.__struct_fields__:
        one, other = getattr(recorded, name), getattr(derived, name)
        if one != other:
            found.append(Difference(name, _told(name, one), _told(name, other)))
    return found


def _told(name: str, value: object) -> str:
    if isinstance(value, bytes):
        value = unpack_floats(value) if name in _FLOATS else unpack_because(value) if name == "because" else value.hex()
    return msgspec.json.encode(value).decode()[:1_000]
