"""The calls about flights, fares, seats and rules. The edge answers quotes and outcomes before they come here; they
stand here for /docs, and for apps without the edge."""

from collections.abc import Awaitable, Callable
from functools import partial

import msgspec
from fastapi import FastAPI, Request, Response

from api import schemas_fares as schemas
from api.fare_rules import rules_in_force
from api.fares import quote
from api.flights import put_flight
from api.heads import Headers
from api.hot import read_body
from api.openapi import BODY_PROBLEMS, IDEMPOTENCY_HEADER, MIN_POSITION_HEADER, operation
from api.outcomes import cancel, outcome
from api.service import Answering, Service

_CHANGING = (*BODY_PROBLEMS, "header_invalid", "idempotency_key_reused")
_AWAY = ("log_unavailable", "learner_not_ready", "learner_behind", "seats_unknown")
_encoder = msgspec.json.Encoder()


def add_fare_routes(
    app: FastAPI,
    service: Service,
    run: Callable[[Service, Request, str, Answering], Awaitable[Response]],
    check_path: Callable[[Request], None],
) -> None:
    """Add them to the app; `run` answers a call that has a body, once per Idempotency-Key."""

    @app.put(
        "/v1/flights/{flight_id:path}",
        name="flight",
        summary="Say what a flight is; the newest word replaces the ones before it",
        tags=["fares"],
        response_class=Response,
        openapi_extra=operation(
            request=schemas.FlightBody,
            replies={200: schemas.FlightReply},
            problems=(*BODY_PROBLEMS, "capacity_in_use", *_AWAY),
        ),
    )
    async def put_flight_(flight_id: str, request: Request) -> Response:
        check_path(request)
        body = await read_body(request.receive, Headers(request.scope["headers"]))
        client = request.scope.get("state", {}).get("principal")
        answer = await put_flight(service, flight_id, body, client=client.name if client else "")
        return Response(answer.body, status_code=answer.status, media_type="application/json")

    @app.post(
        "/v1/quotes",
        name="quotes",
        summary="A fare for one seat, honoured until it expires if seats remain",
        tags=["fares"],
        status_code=201,
        response_class=Response,
        openapi_extra=operation(
            request=schemas.QuoteRequest,
            replies={201: schemas.QuoteReply},
            problems=(*_CHANGING, "flight_unknown", *_AWAY),
            headers=(IDEMPOTENCY_HEADER, MIN_POSITION_HEADER),
        ),
    )
    async def post_quotes(request: Request) -> Response:
        return await run(service, request, "quotes", quote)

    @app.post(
        "/v1/quotes/{quote_id}/outcome",
        name="outcomes",
        summary="What the traveller said: booked, or declined",
        tags=["fares"],
        response_class=Response,
        openapi_extra=operation(
            request=schemas.OutcomeRequest,
            replies={200: schemas.OutcomeReply},
            problems=(*_CHANGING, "quote_unknown", "sold_out", "outcome_conflict", "quote_expired", *_AWAY),
            headers=(IDEMPOTENCY_HEADER, MIN_POSITION_HEADER),
        ),
    )
    async def post_outcome(quote_id: str, request: Request) -> Response:
        return await run(service, request, f"outcomes {quote_id}", partial(outcome, quote_id=quote_id))

    @app.post(
        "/v1/bookings/{booking_id}/cancel",
        name="cancellations",
        summary="Give a booking back; its seat is for sale again",
        tags=["fares"],
        response_class=Response,
        openapi_extra=operation(
            request=schemas.CancelRequest,
            replies={200: schemas.CancelReply},
            problems=(*_CHANGING, "booking_unknown", *_AWAY),
            headers=(IDEMPOTENCY_HEADER,),
        ),
    )
    async def post_cancel(booking_id: str, request: Request) -> Response:
        if request.headers.get("content-length", "0") == "0" and "content-type" not in request.headers:
            request.scope["headers"].append((b"content-type", b"application/json"))  # no body says nothing, rightly
        return await run(service, request, f"cancellations {booking_id}", partial(cancel, booking=booking_id))

    @app.get(
        "/v1/rules",
        name="rules",
        summary="The rules for fares that are in force",
        tags=["fares"],
        response_class=Response,
        openapi_extra=operation(replies={200: schemas.RulesReply}, problems=("learner_not_ready",)),
    )
    async def get_rules() -> Response:
        return Response(_encoder.encode(rules_in_force(service)), media_type="application/json")
