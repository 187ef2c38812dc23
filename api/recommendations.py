"""POST /v1/recommendations: read, decide from memory, record, answer.

A decision is recorded before it is answered, so that its outcome finds it. Where the log is away the answer
is given all the same and says so (`recorded: false`): reads do not wait for the log.
"""

import msgspec
import structlog
from msgspec import UNSET

from api.body import decode_once, has_duplicate_key, keys_are_single
from api.decisions import find_position, reply_of
from api.idempotency import Answer
from api.identifiers import clock_ms, id_from_key, make_id
from api.problems import Fault, Problem
from api.schemas import RecommendationRequest
from api.service import Call, Service
from api.settings import N_DEFAULT
from api.values import context_of, event_time_ms, identifier, identifiers
from online import records
from online.log import LogError
from online.records import Decision

_decoder = msgspec.json.Decoder(RecommendationRequest)
_encoder = msgspec.json.Encoder()


class Question(msgspec.Struct, frozen=True):
    """A request, checked."""

    user_id: str
    n: int
    context: dict[str, str] | None
    candidates: list[str] | None
    exclude: list[str] | None
    at_ms: int
    given_at_ms: int | None
    decision_id: str | None
    received_ms: int


async def recommend(service: Service, call: Call) -> Answer:
    """Answer one call. Raises Problem."""
    question = ask(call.body)
    if call.min_position is not None:
        await service.learned(call.min_position)
    decision_id = question.decision_id
    if decision_id is None and call.idempotency_key is not None:
        decision_id = id_from_key(service.settings.secret, call.own_key, purpose="decision")
    if decision_id is not None:
        earlier = await _earlier(service, decision_id, question, call.client)
        if earlier is not None:
            return earlier
    decision = decide(service, question, decision_id=decision_id, client=call.client)
    try:
        position = await service.writer.append([records.encode(decision)])
    except LogError:
        position = None
    return answer_of(service, decision, position)


def ask(body: bytes) -> Question:
    """What a body asks. Raises Problem."""
    received_ms = clock_ms()
    request = decode_once(_decoder, body)
    if not _proved_single(request, body) and has_duplicate_key(body):
        raise Problem("duplicate_key")
    try:
        given_at_ms = None
        if request.asked_at is not None:
            given_at_ms = event_time_ms(request.asked_at, received_ms, "/asked_at")
        return Question(
            user_id=identifier(request.user_id, "/user_id"),
            n=N_DEFAULT if request.n is UNSET else request.n,
            context=context_of(request.context, "/context") if request.context else None,
            candidates=None if request.candidates is None else identifiers(request.candidates, "/candidates"),
            exclude=identifiers(request.exclude, "/exclude") if request.exclude else None,
            at_ms=received_ms if given_at_ms is None else given_at_ms,
            given_at_ms=given_at_ms,
            decision_id=None if request.decision_id is None else identifier(request.decision_id, "/decision_id"),
            received_ms=received_ms,
        )
    except Fault as fault:
        raise fault.problem() from fault


def decide(service: Service, question: Question, *, decision_id: str | None = None, client: str = "") -> Decision:
    """The decision, from memory, under a new id where none is given; it is not in the log yet. Raises Problem."""
    decision_id = decision_id or make_id(question.received_ms)
    if service.settings.access_log:
        structlog.contextvars.bind_contextvars(decision_id=decision_id)
    return service.model.recommend(
        decision_id=decision_id,
        user_id=question.user_id,
        n=question.n,
        context=question.context,
        candidates=question.candidates,
        exclude=question.exclude,
        at_ms=question.at_ms,
        received_ms=question.received_ms,
        client=client,
        head=service.writer.head,
    )


def answer_of(service: Service, decision: Decision, position: int | None) -> Answer:
    """What is answered, once the decision stands in the log at `position`; None where the log is away."""
    if position is None:
        service.metrics.unrecorded()
    else:
        service.remember_decision(decision.decision_id, position)
    return Answer(201, _encoder.encode(reply_of(decision, recorded=position is not None)))


def _proved_single(request: RecommendationRequest, body: bytes) -> bool:
    """The cheap proof, for the requests that are most: few fields, no lists. An explicit null voids it."""
    if request.candidates is not None or request.exclude is not None:
        return False
    keys, colons = (1 if request.n is UNSET else 2), 0
    for value in (request.user_id, request.asked_at, request.decision_id):
        if type(value) is str:
            colons += value.count(":")
    keys += (request.asked_at is not None) + (request.decision_id is not None)
    if request.context is not None:
        keys += 1 + len(request.context)
        for name, text in request.context.items():
            colons += name.count(":") + (text.count(":") if type(text) is str else 0)
    return keys_are_single(body, keys=keys, colons_in_strings=colons)


async def _earlier(service: Service, decision_id: str, question: Question, client: str) -> Answer | None:
    """The first answer under this decision_id, if there was one. Raises Problem where it answered another question."""
    position = await find_position(service, decision_id, search=False)
    if position is None:
        return None
    payload = await service.entry(position)
    decision = None if payload is None else records.decode(payload)
    if not isinstance(decision, records.Decision) or decision.decision_id != decision_id:
        return None
    same = (
        decision.user_id == question.user_id
        and decision.n == question.n
        and decision.context == question.context
        and decision.candidates == (None if question.candidates is None else tuple(question.candidates))
        and decision.exclude == (None if question.exclude is None else tuple(question.exclude))
        and question.given_at_ms in (None, decision.at_ms)
        and decision.client == client
    )
    if not same:
        raise Problem("decision_conflict")
    return Answer(201, _encoder.encode(reply_of(decision)), ((b"idempotent-replayed", b"true"),))
