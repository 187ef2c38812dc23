"""Decide what a record tells again, from a state: recommendation's slates and pricing's fares.

Taken over from the record is only what its decision did not decide: who asked, for what, and when.
"""

from collections.abc import Callable

from online.artifact import Artifact
from online.pricing.quote import FareDecider, FlightUnknown, decided_again
from online.pricing.records import Quote
from online.recommendation.decide import Champion, Decider, Request, arm_of
from online.records import Decision, Record
from online.settings import Settings
from online.state import COLUMN_BY_NAME, State
from online.views import bind, read_only

Decided = Decision | Quote


class Again:
    """Decides again. Keeps the champions of the artifacts that it met."""

    def __init__(self, settings: Settings, artifacts: Callable[[str], Artifact | None]) -> None:
        self._settings = settings
        self._artifacts = artifacts
        self._champions: dict[str, Champion] = {}
        self._decider = Decider(settings)
        self._fares = FareDecider(settings.pricing)

    def decided(self, state: State, recorded: Decided) -> Record | None:
        """The record that this state's decision would have been; None where it could not have been made at all.

        Raises ArtifactMissing, ArtifactCorrupt.
        """
        return self._slate(state, recorded) if isinstance(recorded, Decision) else self._fare(state, recorded)

    def same(self, state: State, recorded: Decided) -> bool:
        """Whether the answer is the same: the items in their order, the fare."""
        derived = self.decided(state, recorded)
        if isinstance(recorded, Decision):
            return isinstance(derived, Decision) and derived.item_ids == recorded.item_ids
        return isinstance(derived, Quote) and derived.fare_cents == recorded.fare_cents

    def _slate(self, state: State, recorded: Decision) -> Decision:
        request = Request(
            decision_id=recorded.decision_id,
            user_id=recorded.user_id,
            n=recorded.n,
            at_ms=recorded.at_ms,
            context=recorded.context,
            candidates=recorded.candidates,
            exclude=recorded.exclude,
        )
        artifact = self._artifacts(state.artifact_id)
        champion = self._champion(artifact) if artifact and arm_of(state.settings, recorded.user_id) else None
        slate = self._decider.decide(bind(read_only(state.arrays, COLUMN_BY_NAME), state.settings), champion, request)
        return slate.recorded(
            request,
            item_ids=[state.item_id(row) for row in slate.rows],
            arm=1 if champion else 0,
            read_position=recorded.read_position,
            artifact_id=state.artifact_id,
            received_ms=recorded.received_ms,
            staleness_ms=recorded.staleness_ms,
            client=recorded.client,
        )

    def _fare(self, state: State, recorded: Quote) -> Quote | None:
        views = bind(read_only(state.arrays, COLUMN_BY_NAME), state.settings)
        pricing = self._settings.pricing
        try:
            return decided_again(
                views.pricing, views.selling, pricing, self._fares, recorded, state.pricing_artifact_id
            )
        except FlightUnknown:
            return None

    def _champion(self, artifact: Artifact) -> Champion:
        if artifact.id not in self._champions:
            self._champions[artifact.id] = Champion(self._settings, artifact)
        return self._champions[artifact.id]


def decision_id_of(record: Record) -> str:
    """The id under which a record answers for a decision; "" where it is none."""
    match record:
        case Decision():
            return record.decision_id
        case Quote():
            return record.quote_id
    return ""
