"""Finding a decision again, and saying what it was.

The fold knows where the decisions of its attribution window stand. Older ones are found by the millisecond inside their
id (`online.search`).
"""

from api.fare_decisions import describe_fare
from api.identifiers import made_at_ms
from api.problems import Problem
from api.schemas import DecisionReply, ModelOfDecision, RecommendationReply
from api.schemas_fares import FareDecisionReply
from api.service import Service
from api.values import rfc3339
from online import records
from online.again import decision_id_of
from online.pricing.records import Quote
from online.recommendation.decide import recommended
from online.search import find_by_time


async def describe(service: Service, decision_id: str) -> DecisionReply | FareDecisionReply:
    """A decision as recorded, a slate or a fare. Raises Problem: decision_unknown, log_unavailable."""
    position, record = await _found(service, decision_id)
    return describe_fare(record, position) if isinstance(record, Quote) else _described(record, position)


async def describe_slate(service: Service, decision_id: str) -> DecisionReply:
    """A slate as recorded. Raises Problem: decision_unknown, log_unavailable."""
    position, record = await _found(service, decision_id)
    if isinstance(record, Quote):
        raise Problem("decision_unknown", "This is a fare: see GET /v1/decisions/{quote_id}.")
    return _described(record, position)


async def _found(service: Service, decision_id: str) -> tuple[int, records.Decision | Quote]:
    position = await find_position(service, decision_id, search=True)
    payload = None if position is None else await service.entry(position)
    record = None if payload is None else records.decode(payload)
    if position is not None and record is not None and decision_id_of(record) == decision_id:
        assert isinstance(record, records.Decision | Quote)
        return position, record
    raise Problem("decision_unknown")


def _described(decision: records.Decision, position: int) -> DecisionReply:
    reply = reply_of(decision)
    return DecisionReply(
        decision_id=decision.decision_id,
        user_id=decision.user_id,
        decided_at=rfc3339(decision.at_ms),
        received_at=rfc3339(decision.received_ms),
        n=decision.n,
        items=reply.items,
        model=reply.model,
        log_position=position,
        context=decision.context,
        candidates=None if decision.candidates is None else list(decision.candidates),
        exclude=None if decision.exclude is None else list(decision.exclude),
        client=decision.client,
    )


def reply_of(decision: records.Decision, *, recorded: bool = True) -> RecommendationReply:
    """What is answered, out of what is recorded."""
    return RecommendationReply(
        decision_id=decision.decision_id,
        items=recommended(decision),
        model=ModelOfDecision(
            artifact=decision.artifact_id,
            position=decision.read_position,
            staleness_ms=decision.staleness_ms,
            arm=records.ARMS[decision.arm],
            recorded=recorded,
        ),
    )


async def find_position(service: Service, decision_id: str, *, search: bool) -> int | None:
    """Where a decision stands in the log; `search` also looks through the log by the time inside the id."""
    position = service.recent_decisions.get(decision_id)
    model = service.model_if_ready
    if position is None and model is not None:
        position = model.decision_position(decision_id)
    if position is None and model is not None and (quoted := model.pricing.entry(decision_id)) is not None:
        position = quoted.position
    if position is None and search:
        made_ms = made_at_ms(decision_id)
        if made_ms is not None:
            position = await service.read(lambda reader: find_by_time(reader, decision_id, made_ms))
    return position
