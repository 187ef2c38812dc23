"""The edge of the service, in bare ASGI: the two calls that everything waits for, and what all calls share.

A request for a slate or with events never enters the framework: its body is read, answered and written
here, which is worth a factor of about two in requests per CPU second. Everything else passes through to the
framework's app, under the same request ids, the same limit of the body's size and the same last resort for
defects.
"""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any
from urllib.parse import quote

import structlog
from structlog.contextvars import bind_contextvars, clear_contextvars

from api.connection import STREAM
from api.direct import Direct
from api.door import Principal
from api.fares import quote as quote_fare
from api.feedback import take_events
from api.heads import JSON, Headers, RequestIds, Scope, peer_of
from api.idempotency import Answer
from api.load import Load
from api.outcomes import outcome
from api.problems import MEDIA_TYPE, Problem
from api.recommendations import recommend
from api.schemas import BODY_BYTES_MAX
from api.scopes import scope_of
from api.service import Answering, Call, Service
from api.settings import BODY_TIMEOUT_S

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_DECIDING = frozenset({"recommendations", "quotes"})
_QUOTES, _OUTCOME = "/v1/quotes/", "/outcome"
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")

log = structlog.get_logger("perennial.edge")


class ClientWentAway(Exception):
    """The connection closed before the body was complete: there is nobody to answer."""


class Edge:
    """ASGI in, ASGI out."""

    def __init__(self, app: App, service: Service, document: Callable[[], dict[str, Any]]) -> None:
        self._app = app
        self.document = document  # what /openapi.json answers
        self._service = service
        self._hot: dict[str, tuple[str, Answering]] = {
            "/v1/recommendations": ("recommendations", recommend),
            "/v1/events": ("events", take_events),
            "/v1/quotes": ("quotes", quote_fare),
        }
        self._request_ids = RequestIds()
        self._load = Load()
        # Lines about single requests are bound to a task's context.
        logged = service.settings.access_log
        self.direct = None if logged else Direct(service, self._request_ids, self._load)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        hot = self._answering(scope["path"]) if scope["method"] == "POST" else None
        if hot is None:
            await self._pass(scope, receive, send)
            return
        started = time.perf_counter()
        name, answering = hot
        request_id = ""
        load = self._load
        load.busy += 1
        try:
            headers = Headers(scope["headers"])
            request_id = self._request_ids.of(headers)
            if load.busy > (load.decisions_max if name in _DECIDING else load.feedback_max):
                raise load.refuse()
            self._bind(headers, request_id)
            principal = self._service.door.admit("POST", scope["path"], headers.found, peer_of(scope))
            self._bind_client(principal)
            body = await read_body(receive, headers)
            call = Call(
                body=body,
                request_id=request_id,
                idempotency_key=headers.text(b"idempotency-key"),
                min_position=headers.text(b"x-min-position"),
                client=principal.name,
            )
            # One key may stand for one outcome of each quote.
            address = scope["path"] if name == "outcomes" else name
            answer = await self._service.once(address, call, answering)
            if principal.headers:
                answer = Answer(answer.status, answer.body, (*answer.headers, *principal.headers))
            await respond(send, answer, request_id)
            status = answer.status
        except Problem as problem:
            await refuse(send, problem, request_id)
            status = problem.status
        except ClientWentAway:
            return
        except Exception as error:
            log.exception("defect", call=name, request_id=request_id, error=type(error).__name__)
            await refuse(send, Problem("internal"), request_id)
            status = 500
        finally:
            load.busy -= 1
        self._answered(name, status, time.perf_counter() - started)

    def _answered(self, name: str, status: int, seconds: float) -> None:
        self._service.metrics.answered(name, status, seconds)
        if self._service.settings.access_log:
            log.info("request", call=name, status=status, ms=round(seconds * 1_000, 2))

    def _bind(self, headers: Headers, request_id: str) -> None:
        """What every line about this request carries, where there is one for each: its id, and the trace it is in."""
        if self._service.settings.access_log:
            clear_contextvars()
            bind_contextvars(request_id=request_id)
            trace = headers.text(b"traceparent")
            if trace is not None and _TRACEPARENT.fullmatch(trace):
                bind_contextvars(traceparent=trace)

    def _bind_client(self, principal: Principal) -> None:
        if self._service.settings.access_log:
            bind_contextvars(client=principal.name)

    def _answering(self, path: str) -> tuple[str, Answering] | None:
        """The name of a hot call and what answers it; None for all others."""
        if path.startswith(_QUOTES) and path.endswith(_OUTCOME):
            quote_id = path[len(_QUOTES) : -len(_OUTCOME)]
            if quote_id and "/" not in quote_id:
                return "outcomes", partial(outcome, quote_id=quote_id)
        return self._hot.get(path)

    async def _pass(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = time.perf_counter()
        headers = Headers(scope["headers"])
        request_id = self._request_ids.of(headers)
        scope.setdefault("state", {})["request_id"] = request_id
        self._bind(headers, request_id)
        status = 0
        said: list[tuple[bytes, bytes]] = [(b"x-request-id", request_id.encode("latin-1"))]

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *said]
            await send(message)

        load = self._load
        counted = scope["path"] != STREAM  # which never ends
        load.busy += counted
        try:
            most = load.most(scope["method"], scope_of(scope["method"], scope["path"]))
            if most is not None and load.busy > most:
                raise load.refuse()
            peer = peer_of(scope)
            principal = self._service.door.admit(scope["method"], scope["path"], headers.found, peer)
            scope["state"]["principal"] = principal
            said += principal.headers
            self._bind_client(principal)
            await self._app(scope, receive, send_with_id)
        except Problem as problem:
            status = problem.status
            if problem.kind.code == "key_missing" and b"text/html" in (headers.get(b"accept") or b""):
                status = 303
                await redirect(send, f"/login?next={quote(scope['path'], safe='/')}", request_id)
            else:
                await refuse(send, problem, request_id)
        except ClientWentAway:
            return
        except Exception as error:
            # The framework has answered already where it could; the traceback belongs in the log either way.
            log.exception("defect", path=scope["path"][:256], request_id=request_id, error=type(error).__name__)
            if status == 0:
                await refuse(send, Problem("internal"), request_id)
                status = 500
        finally:
            load.busy -= counted
        route = scope.get("route")
        name = getattr(route, "name", None) or "other"
        self._answered(name, status, time.perf_counter() - started)


async def read_body(receive: Receive, headers: Headers) -> bytes:
    """The whole body, within its limits of kind, size and time. Raises Problem, ClientWentAway."""
    declared = headers.get(b"content-type")
    if declared != JSON and not _is_json(declared):
        raise Problem("unsupported_media_type")
    if headers.get(b"content-encoding") not in (None, b"identity"):
        raise Problem("unsupported_media_type", "Compressed bodies are not read.")
    length = headers.get(b"content-length")
    if length is not None and length.isdigit() and int(length) > BODY_BYTES_MAX:
        raise _too_large()
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientWentAway
    body: bytes = message.get("body", b"")
    if message.get("more_body"):
        try:
            async with asyncio.timeout(BODY_TIMEOUT_S):
                body = await _rest_of_body(receive, body)
        except TimeoutError as error:
            raise Problem("body_timeout") from error
    if len(body) > BODY_BYTES_MAX:
        raise _too_large()
    return body


async def _rest_of_body(receive: Receive, first: bytes) -> bytes:
    parts, size = [first], len(first)
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientWentAway
        part = message.get("body", b"")
        size += len(part)
        if size > BODY_BYTES_MAX:
            raise _too_large()
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)


def _too_large() -> Problem:
    return Problem("body_too_large", f"A body has {BODY_BYTES_MAX} bytes at most.")


def _is_json(declared: bytes | None) -> bool:
    if declared is None:
        return False
    kind = declared.split(b";", 1)[0].strip().lower()
    return kind == JSON or (kind.startswith(b"application/") and kind.endswith(b"+json"))


async def respond(send: Send, answer: Answer, request_id: str) -> None:
    """Write a finished answer."""
    await send(
        {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [
                (b"content-type", JSON),
                (b"content-length", b"%d" % len(answer.body)),
                (b"x-request-id", request_id.encode("latin-1")),
                *answer.headers,
            ],
        }
    )
    await send({"type": "http.response.body", "body": answer.body})


async def refuse(send: Send, problem: Problem, request_id: str) -> None:
    """Write a problem."""
    body = problem.body(request_id)
    await send(
        {
            "type": "http.response.start",
            "status": problem.status,
            "headers": [
                (b"content-type", MEDIA_TYPE),
                (b"content-length", b"%d" % len(body)),
                (b"x-request-id", request_id.encode("latin-1")),
                *problem.headers(),
            ],
        }
    )
    await send({"type": "http.response.body", "body": body})


async def redirect(send: Send, address: str, request_id: str) -> None:
    """Send a browser elsewhere, to be read with GET."""
    headers = [(b"location", address.encode("ascii")), (b"content-length", b"0"), (b"cache-control", b"no-store")]
    headers.append((b"x-request-id", request_id.encode("latin-1")))
    await send({"type": "http.response.start", "status": 303, "headers": headers})
    await send({"type": "http.response.body", "body": b""})
