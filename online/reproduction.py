"""Decide a recorded decision again, from the state of its moment, and hold the bytes against each other (law 6).

Compared is the record itself as it is encoded in the log: items, scores, propensities, fare, rules, reasons, arm,
artifact. `online.again` decides.
"""

import msgspec
from blake3 import blake3

from online.again import Again, Decided, decision_id_of
from online.artifact import ArtifactCorrupt, ArtifactMissing
from online.history import History, Place, Progress
from online.lineage import Arguments
from online.records import Record, decode, encode, unpack_because, unpack_floats
from online.snapshot import environment

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
        self._known_change = 0
        self._again = Again(history.settings, history.artifacts)

    def reproduce(self, position: int, *, progress: Progress | None = None) -> Reproduction:
        """The decision at a log position. Raises Unreproducible, PositionUnknown, LogForeign."""
        payload = self.history.reader.entry(position)
        recorded = decode(payload) if payload is not None else None
        if payload is None or not isinstance(recorded, Decided):
            raise Unreproducible(f"position {position} holds no decision")
        self.history.scan(self.history.reader.head())
        if self.history.lineages.newest_change > self._known_change:  # it may have erased somebody: nothing is kept
            self._near, self._known_change = None, self.history.lineages.newest_change
        why = self._erased_since(position, recorded.read_position)
        promised = not why
        try:
            place = self.history.state_at(recorded.read_position, progress=progress, near=self._near)
            self._near = place
            derived = self._again.decided(place.state, recorded)
        except (ArtifactMissing, ArtifactCorrupt) as error:
            self._near = None
            return self._result(position, recorded, payload, None, promised, f"an artifact is missing: {error}", "")
        except BaseException:
            self._near = None
            raise
        snapshot = place.snapshot.id if place.snapshot else ""
        if derived is None:
            why = why or "the state of that moment knows no such flight"
        elif encode(derived) != payload and not why:
            why = self._reason(place)
        return self._result(position, recorded, payload, derived, promised, why, snapshot)

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
        recorded: Decided,
        payload: bytes,
        derived: Record | None,
        promised: bool,
        why: str,
        snapshot: str,
    ) -> Reproduction:
        again = encode(derived) if derived is not None else b""
        return Reproduction(
            decision_id=decision_id_of(recorded),
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
