"""Finding a decision again, and saying what it was.

The fold knows where the decisions of its attribution window stand. Older ones are found by the millisecond
inside their id: records stand in the log in the order of their arrival, give or take the moment that a
batch waits.
"""

from api.identifiers import made_at_ms
from api.problems import Problem
from api.schemas import DecisionReply, ModelOfDecision, RecommendationReply
from api.service import Service
from api.values import rfc3339
from online import records
from online.log import LogReader
from online.recommendation.decide import recommended

# Workers read their clocks before they append: a record may stand this far from where its time would put it.
_SLACK_MS = 5_000
_SCAN_COUNT = 1_000
_SCAN_MAX = 200_000


async def describe(service: Service, decision_id: str) -> DecisionReply:
    """A decision as recorded. Raises Problem: decision_unknown, log_unavailable."""
    position = await find_position(service, decision_id, search=True)
    payload = None if position is None else await service.entry(position)
    decision = None if payload is None else records.decode(payload)
    if position is None or not isinstance(decision, records.Decision) or decision.decision_id != decision_id:
        raise Problem("decision_unknown")
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


def reply_of(decision: records.Decision) -> RecommendationReply:
    """What was answered, out of what was recorded: the numbers are the record's own bits."""
    return RecommendationReply(
        decision_id=decision.decision_id,
        items=recommended(
            decision.item_ids,
            list(records.unpack_floats(decision.scores)),
            list(records.unpack_floats(decision.propensities)),
            records.unpack_because(decision.because),
        ),
        model=ModelOfDecision(
            artifact=decision.artifact_id,
            position=decision.read_position,
            staleness_ms=decision.staleness_ms,
            arm=records.ARMS[decision.arm],
            recorded=True,
        ),
    )


async def find_position(service: Service, decision_id: str, *, search: bool) -> int | None:
    """Where a decision stands in the log; `search` also looks through the log by the time inside the id."""
    position = service.recent_decisions.get(decision_id)
    model = service.model_if_ready
    if position is None and model is not None:
        position = model.decision_position(decision_id)
    if position is None and search:
        made_ms = made_at_ms(decision_id)
        if made_ms is not None:
            position = await service.read(lambda reader: _search(reader, decision_id, made_ms))
    return position


def _search(reader: LogReader, decision_id: str, made_ms: int) -> int | None:
    """Binary search for the time, then a look at the records around it."""
    low, high = reader.first(), reader.head()
    if low < 1 or high < low:
        return None
    last = high
    while low < high:
        middle = (low + high) // 2
        payload = reader.entry(middle)
        if payload is not None and records.decode(payload).received_ms >= made_ms - _SLACK_MS:
            high = middle
        else:
            low = middle + 1
    needle = decision_id.encode()
    after = low - 1
    for _ in range(0, _SCAN_MAX, _SCAN_COUNT):
        if after >= last:
            return None
        entries = reader.read(after, _SCAN_COUNT, 0)
        if not entries:
            return None
        for position, payload in entries:
            if needle in payload:
                found = records.decode(payload)
                if isinstance(found, records.Decision) and found.decision_id == decision_id:
                    return position
        after = entries[-1][0]
        if records.decode(entries[-1][1]).received_ms > made_ms + _SLACK_MS:
            return None
    return None
