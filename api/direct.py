"""The plain request for a slate, from its connection to the log and back without a task and without ASGI.

Most requests for a slate are alike: a body that came along with its head, and nothing in the head that changes what is
done. For these, what `api.hot` does is done in one step when the last byte is read and one when the log has the
decision. All others, and all that take longer, go the way of `api.hot`.
"""

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api.door import ANYBODY
from api.heads import JSON, Headers, RequestIds
from api.idempotency import Answer
from api.load import Load
from api.problems import MEDIA_TYPE, Problem
from api.recommendations import Question, answer_of, ask, decide
from api.service import Service
from online import records
from online.log import LogError
from online.records import Decision

if TYPE_CHECKING:
    from api.connection import Connection

PATH = "/v1/recommendations"
NAME = "recommendations"
_BODY_BYTES_MAX = 16_384
_NOT_PLAIN = frozenset({b"idempotency-key", b"x-min-position", b"content-encoding"})
_CLOSE = (b"connection", b"close")

log = structlog.get_logger("perennial.direct")


class Exchange:
    """A request under way, and as uvicorn's connection looks at its cycle."""

    __slots__ = (
        "_connection",
        "asked",
        "decision",
        "disconnected",
        "keep_alive",
        "message_event",
        "principal",
        "request_id",
        "response_complete",
        "scope",
        "started",
    )

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self.scope = {"path": PATH}
        self.message_event = _NOBODY_WAITS
        self.disconnected = False
        self.keep_alive = True  # until the worker ends
        self.response_complete = False
        self.started = time.perf_counter()
        self.request_id = ""
        self.principal = ANYBODY
        self.asked: Question
        self.decision: Decision

    def respond(self, answer: Answer) -> None:
        """Write a finished answer, and let the connection go on."""
        self.response_complete = True
        connection = self._connection
        if self.disconnected or connection.transport.is_closing():
            return
        headers = (
            *connection.server_state.default_headers,
            (b"content-type", JSON if answer.status < 400 else MEDIA_TYPE),
            (b"content-length", b"%d" % len(answer.body)),
            (b"x-request-id", self.request_id.encode("latin-1")),
            *answer.headers,
        )
        content = [STATUS_LINE[answer.status]]
        for name, value in headers:
            content += (name, b": ", value, b"\r\n")
        content.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")
        content.append(answer.body)
        connection.transport.write(b"".join(content))
        if not self.keep_alive:
            connection.transport.close()
        connection.on_response_complete()


class Direct:
    """What answers plain requests in one worker."""

    def __init__(self, service: Service, request_ids: RequestIds, load: Load) -> None:
        self._service = service
        self._request_ids = request_ids
        self._load = load
        self._waiting: list[Exchange] = []

    def takes(self, headers: Headers, body: bytes) -> bool:
        """Whether this request is plain."""
        if len(body) > _BODY_BYTES_MAX or self._load.busy >= self._load.decisions_max:
            return False
        if b"decision_id" in body or b"\\" in body:  # in an escape, a name could hide
            return False
        return headers.get(b"content-type") == JSON and _NOT_PLAIN.isdisjoint(headers.found)

    def begin(self, exchange: Exchange, headers: Headers, body: bytes, peer: str) -> None:
        """Let it in and read it. Those that came in one turn of the loop are decided at its end, one after the other:
        what deciding reads, and its code, stays in the processor's caches meanwhile."""
        self._load.busy += 1
        try:
            exchange.request_id = self._request_ids.of(headers)
            exchange.principal = self._service.door.admit("POST", PATH, headers.found, peer)
            exchange.asked = ask(body)
        except Exception as error:
            self._refuse(exchange, error)
            return
        if not self._waiting:
            asyncio.get_running_loop().call_soon(self._decide)
        self._waiting.append(exchange)

    def _decide(self) -> None:
        """Decide, and hand the decisions to the log; the answers are written when the log has them."""
        waiting, self._waiting = self._waiting, []
        service, decided = self._service, []
        for exchange in waiting:
            try:
                exchange.decision = decide(service, exchange.asked, client=exchange.principal.name)
                decided.append(exchange)
            except Exception as error:
                self._refuse(exchange, error)
        for exchange in decided:
            try:
                service.writer.tell(records.encode(exchange.decision), partial(self._finish, exchange))
            except LogError as error:
                self._finish(exchange, None, error)
            except Exception as error:
                self._refuse(exchange, error)

    def _finish(self, exchange: Exchange, position: int | None, failed: Exception | None) -> None:
        """position: the decision's in the log; or else why it has none. Never raises."""
        try:
            if failed is not None and not isinstance(failed, LogError):
                raise failed
            answer = answer_of(self._service, exchange.decision, position)
        except Exception as error:
            self._refuse(exchange, error)
            return
        limits = exchange.principal.headers
        self._answer(exchange, Answer(answer.status, answer.body, limits) if limits else answer)

    def _refuse(self, exchange: Exchange, error: Exception) -> None:
        """A problem is told; anything else is a defect, and told as one."""
        if not isinstance(error, Problem):
            log.error("defect", call=NAME, request_id=exchange.request_id, error=type(error).__name__, exc_info=error)
            error = Problem("internal")
        headers = tuple(error.headers())
        if _CLOSE in headers:
            exchange.keep_alive = False
            headers = tuple(one for one in headers if one != _CLOSE)
        self._answer(exchange, Answer(error.status, error.body(exchange.request_id), headers))

    def _answer(self, exchange: Exchange, answer: Answer) -> None:
        self._load.busy -= 1
        try:
            exchange.respond(answer)
        except Exception as error:  # the next one is answered all the same
            log.error("defect", call=NAME, request_id=exchange.request_id, error=type(error).__name__, exc_info=error)
        self._service.metrics.answered(NAME, answer.status, time.perf_counter() - exchange.started)


class _Nobody:
    """The event of a request whose body is there: nobody waits for more of it."""

    def set(self) -> None:
        """Nothing."""


_NOBODY_WAITS = _Nobody()
