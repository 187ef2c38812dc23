"""The service's app: FastAPI for the addresses, their documentation and whatever is not hot, behind the bare edge."""

import contextlib
import os
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import unquote_to_bytes

import msgspec
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException
from starlette.routing import Match, Route

from api import schemas
from api.acts import act
from api.dashboard.pulse import Pulse
from api.dashboard.routes import add_dashboard_routes
from api.decisions import describe
from api.door import ANYBODY, Principal
from api.fare_routes import add_fare_routes
from api.feedback import take_events
from api.heads import Headers
from api.hot import App, Edge, read_body
from api.idempotency import Answer
from api.items import post_items, put_item
from api.login import add_login_routes
from api.openapi import (
    BODY_PROBLEMS,
    IDEMPOTENCY_HEADER,
    MIN_POSITION_HEADER,
    complete,
    operation,
)
from api.pages import problem_page, problems_page
from api.past_routes import add_past_routes
from api.problems import CATALOGUE, Fault, Pointer, Problem
from api.readiness import readiness
from api.recommendations import recommend
from api.reference import reference_page, reference_script
from api.reports import experiment, state
from api.schemas_fares import AnyAct
from api.service import Answering, Call, Service, snapshot_age_s
from api.settings import ServiceSettings
from api.spans import Spans

TITLE = "Perennial"
VERSION = "0.1.0"
SUMMARY = "Recommendations that keep learning while they serve, each derived again on demand from an ordered log."

_encoder = msgspec.json.Encoder()


def create_app(settings: ServiceSettings, spans: Spans | None = None) -> App:
    """The ASGI app of one worker. Nothing is connected before its lifespan begins."""
    service = Service(settings, spans)
    pulse = Pulse(service)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        await service.start()
        pulse.start()
        try:
            yield
        finally:
            await pulse.stop()
            await service.stop()
            if spans is not None:
                await spans.close()

    app = FastAPI(
        title=TITLE,
        version=VERSION,
        summary=SUMMARY,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
    )
    app.exception_handler(Problem)(_on_problem)
    app.exception_handler(HTTPException)(_on_http_exception)
    app.exception_handler(RequestValidationError)(_on_validation_error)
    app.exception_handler(Exception)(_on_defect)
    _add_recommendation_routes(app, service)
    _add_act_routes(app, service)
    add_past_routes(app, service, run, check_path)
    add_fare_routes(app, service, run, check_path)
    _add_reading_routes(app, service)
    _add_health_routes(app, service)
    add_dashboard_routes(app, service, pulse)
    add_login_routes(app, service.door)

    def document() -> dict[str, Any]:
        if app.openapi_schema is None:
            found = get_openapi(title=TITLE, version=VERSION, summary=SUMMARY, routes=app.routes)
            app.openapi_schema = complete(found)
        return app.openapi_schema

    app.openapi = document  # type: ignore[method-assign]
    edge = Edge(app, service, document)
    return edge if spans is None else spans.around(edge)


async def run(service: Service, request: Request, name: str, answering: Answering) -> Response:
    """Answer a call that has a body, once per Idempotency-Key."""
    headers = Headers(request.scope["headers"])
    call = Call(
        body=await read_body(request.receive, headers),
        request_id=request_id_of(request),
        idempotency_key=headers.text(b"idempotency-key"),
        min_position=headers.text(b"x-min-position"),
        client=principal_of(request).name,
        may=principal_of(request).may,
    )
    return _response(await service.once(name, call, answering))


def _add_recommendation_routes(app: FastAPI, service: Service) -> None:
    # The edge answers these two before they come here; they stand here for /docs, and for apps without the
    # edge.
    @app.post(
        "/v1/recommendations",
        name="recommendations",
        summary="A slate for one user",
        tags=["recommendations"],
        status_code=201,
        response_class=Response,
        openapi_extra=operation(
            request=schemas.RecommendationRequest,
            replies={201: schemas.RecommendationReply},
            problems=(
                *BODY_PROBLEMS,
                "header_invalid",
                "decision_conflict",
                "idempotency_key_reused",
                "learner_behind",
                "learner_not_ready",
            ),
            headers=(IDEMPOTENCY_HEADER, MIN_POSITION_HEADER),
        ),
    )
    async def post_recommendations(request: Request) -> Response:
        return await run(service, request, "recommendations", recommend)

    @app.post(
        "/v1/events",
        name="events",
        summary="What users did, 1 to 1,000 at a time; one bad event rejects itself, not the batch",
        tags=["recommendations"],
        status_code=202,
        response_class=Response,
        openapi_extra=operation(
            request=schemas.EventsRequest,
            replies={202: schemas.EventsReply},
            problems=(
                *BODY_PROBLEMS,
                "header_invalid",
                "idempotency_key_reused",
                "log_unavailable",
                "learner_not_ready",
            ),
            headers=(IDEMPOTENCY_HEADER,),
        ),
    )
    async def post_events(request: Request) -> Response:
        return await run(service, request, "events", take_events)

    @app.post(
        "/v1/items",
        name="items",
        summary="Items of the catalogue: one, or many under `items`",
        tags=["catalogue"],
        status_code=201,
        response_class=Response,
        openapi_extra=operation(
            request=schemas.ItemsRequest,
            replies={201: schemas.ItemsReply},
            problems=(
                *BODY_PROBLEMS,
                "header_invalid",
                "idempotency_key_reused",
                "log_unavailable",
                "learner_not_ready",
            ),
            headers=(IDEMPOTENCY_HEADER,),
        ),
    )
    async def post_items_(request: Request) -> Response:
        return await run(service, request, "items", post_items)

    @app.put(
        "/v1/items/{item_id:path}",
        name="item",
        summary="Say what an item is; the newest word replaces the ones before it",
        tags=["catalogue"],
        response_class=Response,
        openapi_extra=operation(
            request=schemas.ItemBody,
            replies={200: schemas.ItemsReply},
            problems=(*BODY_PROBLEMS, "log_unavailable", "learner_not_ready"),
        ),
    )
    async def put_item_(item_id: str, request: Request) -> Response:
        check_path(request)
        body = await read_body(request.receive, Headers(request.scope["headers"]))
        return _response(await put_item(service, item_id, body, principal_of(request).name))


def _add_act_routes(app: FastAPI, service: Service) -> None:
    @app.post(
        "/v1/acts",
        name="acts",
        summary="What an operator does: freeze, resume, rules; with `admin` also promote and erase; each is a record",
        tags=["operation"],
        response_class=Response,
        openapi_extra=operation(
            request=AnyAct,
            replies={200: schemas.ActReply},
            problems=(
                *BODY_PROBLEMS,
                "header_invalid",
                "idempotency_key_reused",
                "history_refused",
                "act_overtaken",
                "learner_behind",
                "log_unavailable",
                "learner_not_ready",
            ),
            headers=(IDEMPOTENCY_HEADER,),
        ),
    )
    async def post_acts(request: Request) -> Response:
        return await run(service, request, "acts", act)


def _add_reading_routes(app: FastAPI, service: Service) -> None:
    @app.get(
        "/v1/decisions/{decision_id:path}",
        name="decision",
        summary="A decision as it was recorded",
        tags=["audit"],
        response_class=Response,
        openapi_extra=operation(
            replies={200: schemas.DecisionReply},
            problems=("invalid_request", "decision_unknown", "log_unavailable"),
        ),
    )
    async def get_decision(decision_id: str, request: Request) -> Response:
        check_path(request)
        return _json(await describe(service, decision_id))

    @app.get(
        "/v1/state",
        name="state",
        summary="Where the model is: position, digest, accounting, freshness",
        tags=["audit"],
        response_class=Response,
        openapi_extra=operation(replies={200: schemas.StateReply}, problems=("learner_not_ready",)),
    )
    async def get_state() -> Response:
        return _json(await state(service))

    @app.get(
        "/v1/experiment",
        name="experiment",
        summary="The frozen champion against the model that goes on learning",
        tags=["audit"],
        response_class=Response,
        openapi_extra=operation(replies={200: schemas.ExperimentReply}, problems=("learner_not_ready",)),
    )
    async def get_experiment() -> Response:
        return _json(experiment(service.model))


def _add_health_routes(app: FastAPI, service: Service) -> None:
    @app.get(
        "/livez",
        name="livez",
        summary="This process answers",
        tags=["health"],
        response_class=Response,
        openapi_extra=operation(replies={200: schemas.LiveReply}, problems=()),
    )
    async def livez() -> Response:
        return _json(schemas.LiveReply(live=True, pid=os.getpid()))

    @app.get(
        "/readyz",
        name="readyz",
        summary="Every precondition of serving, each with its cure; 503 where one is not met",
        tags=["health"],
        response_class=Response,
        openapi_extra=operation(replies={200: schemas.ReadyReply, 503: schemas.ReadyReply}, problems=()),
    )
    async def readyz() -> Response:
        found = await readiness(service)
        headers = {} if found.ready else {"Retry-After": "1"}
        return Response(
            _encoder.encode(found),
            status_code=200 if found.ready else 503,
            media_type="application/json",
            headers=headers,
        )

    @app.get("/metrics", name="metrics", summary="Prometheus", tags=["health"], response_class=Response)
    async def metrics() -> Response:
        age_s = snapshot_age_s(service.home)
        text = service.metrics.exposition(service.model_if_ready, service.writer.head, age_s)
        return Response(text, headers={"Content-Type": CONTENT_TYPE_LATEST})

    @app.get("/docs", name="docs", include_in_schema=False)
    async def docs() -> Response:
        return reference_page(app.openapi())

    @app.get("/docs.js", name="docs_script", include_in_schema=False)
    async def docs_script() -> Response:
        return reference_script()

    @app.get("/problems", name="problems", include_in_schema=False)
    async def problems() -> Response:
        return problems_page()

    @app.get("/problems/{code}", name="problem", include_in_schema=False)
    async def problem(code: str) -> Response:
        if code not in CATALOGUE:
            raise Problem("problem_unknown")
        return problem_page(CATALOGUE[code])


def request_id_of(request: Request) -> str:
    """The id that the edge gave this request."""
    found: str = request.scope.get("state", {}).get("request_id", "")
    return found


def principal_of(request: Request) -> Principal:
    """Who asks, as the door knows them. Without the edge nobody has been let in."""
    found: Principal = request.scope.get("state", {}).get("principal", ANYBODY)
    return found


def check_path(request: Request) -> None:
    """Raises Problem where the address is not UTF-8: what was decoded from it would be another id."""
    try:
        unquote_to_bytes(request.scope.get("raw_path") or b"").decode("utf-8")
    except UnicodeDecodeError:
        fault = Fault("id_not_printable", "The id in the address is not UTF-8.")
        raise Problem("invalid_request", fault.detail, errors=(Pointer("", fault.code, fault.detail),)) from None


def _response(answer: Answer) -> Response:
    response = Response(answer.body, status_code=answer.status, media_type="application/json")
    for name, value in answer.headers:
        response.headers[name.decode()] = value.decode()
    return response


def _json(reply: msgspec.Struct) -> Response:
    return Response(_encoder.encode(reply), media_type="application/json")


async def _on_problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return _problem_response(request, error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    """The framework's own refusals: no such address, no such method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return _problem_response(request, Problem("method_not_allowed", allow=_allowed(request)))
    if error.status_code == 413:
        return _problem_response(request, Problem("body_too_large"))
    if error.status_code >= 500:
        return _problem_response(request, Problem("internal"))
    return _problem_response(request, Problem("not_found"))


def _allowed(request: Request) -> str:
    """The methods of every route at this address; the framework names those of the first alone."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    first = next((route.path for route in routes if route.matches(request.scope)[0] is not Match.NONE), "")
    return ", ".join(sorted({method for route in routes if route.path == first for method in route.methods or ()}))


async def _on_validation_error(request: Request, error: Exception) -> Response:
    """A parameter of the address; bodies are decoded by ourselves. The input is not repeated."""
    assert isinstance(error, RequestValidationError)
    errors = tuple(
        Pointer("/" + "/".join(str(part) for part in found["loc"]), "wrong_type", str(found["type"]))
        for found in error.errors()
    )
    return _problem_response(request, Problem("invalid_request", errors=errors))


async def _on_defect(request: Request, error: Exception) -> Response:
    # Answered here; the edge logs the traceback, which the framework raises again behind this answer.
    return _problem_response(request, Problem("internal"))


def _problem_response(request: Request, problem: Problem) -> Response:
    response = Response(
        problem.body(request_id_of(request)),
        status_code=problem.status,
        media_type="application/problem+json",
    )
    for name, value in problem.headers():
        response.headers[name.decode()] = value.decode()
    return response
