"""The plain request for a slate, from its connection to the log and back without a task and without ASGI.

Most requests for a slate are alike: a body that came along with its head, and nothing in the head that changes what is
done. For these, what `api.hot` does is done in one step when the last byte is read and one when the log has the
decision: a third less work in Python. All others, and all that take longer, go the way of `api.hot`.
"""

import asyncio
import time
from functools import partial
from typing import TYPE_CHECKING

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from api.heads import JSON, Headers, RequestIds
from api.idempotency import Answer
from api.load import Load
from api.problems import MEDIA_TYPE, Problem
from api.recommendations import answer_of, ask, decide
from api.service import Service
from online import records
from online.log import LogError

if TYPE_CHECKING:
    from api.connection import Connection

PATH = "/v1/recommendations"
NAME = "recommendations"
_BODY_BYTES_MAX = 16_384
_NOT_PLAIN = frozenset({b"idempotency-key", b"x-min-position", b"content-encoding"})
_CLOSE = (b"connection", b"close")

log = structlog.get_logger("perennial.direct")

Raw = list[tuple[bytes, bytes]]


class Exchange:
    """A request under way, as uvicorn's connection looks at its cycle."""

    __slots__ = ("_connection", "disconnected", "keep_alive", "message_event", "response_complete", "scope")

    def __init__(self, connection: "Connection") -> None:
        self._connection = connection
        self.scope = {"path": PATH}
        self.message_event = _NOBODY_WAITS
        self.disconnected = False
        self.keep_alive = True  # until the worker ends
        self.response_complete = False

    def respond(self, answer: Answer, request_id: str) -> None:
        """Write a finished answer, and let the connection go on."""
        self.response_complete = True
        connection = self._connection
        if self.disconnected or connection.transport.is_closing():
            return
        headers = (
            *connection.server_state.default_headers,
            (b"content-type", JSON if answer.status < 400 else MEDIA_TYPE),
            (b"content-length", b"%d" % len(answer.body)),
            (b"x-request-id", request_id.encode("latin-1")),
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

    def takes(self, headers: Raw, body: bytes) -> bool:
        """Whether this request is plain. headers: names in lower case."""
        if len(body) > _BODY_BYTES_MAX or self._load.busy >= self._load.decisions_max:
            return False
        if b"decision_id" in body or b"\\" in body:  # in an escape, a name could hide
            return False
        found = dict(headers)
        return found.get(b"content-type") == JSON and _NOT_PLAIN.isdisjoint(found)

    def begin(self, exchange: Exchange, headers: Raw, body: bytes, peer: str) -> None:
        """Decide, hand the decision to the log; the answer is written when the log has it."""
        started, service = time.perf_counter(), self._service
        self._load.busy += 1
        request_id = ""
        try:
            known = Headers(headers)
            request_id = self._request_ids.of(known)
            principal = service.door.admit("POST", PATH, known.found, peer)
            asked = ask(body)
            decision = decide(service, asked, client=principal.name)
            finish = partial(self._finish, exchange, request_id, principal.headers, started, decision)
            try:
                service.writer.submit([records.encode(decision)]).add_done_callback(finish)
            except LogError:
                finish(None)
        except Problem as problem:
            self._refuse(exchange, request_id, problem, started)
        except Exception as error:
            log.exception("defect", call=NAME, request_id=request_id, error=type(error).__name__)
            self._refuse(exchange, request_id, Problem("internal"), started)

    def _finish(
        self,
        exchange: Exchange,
        request_id: str,
        headers: tuple[tuple[bytes, bytes], ...],
        started: float,
        decision: records.Decision,
        kept: "asyncio.Future[int] | None",
    ) -> None:
        """kept: the decision's position in the log, or why it has none; None where the log did not take it."""
        try:
            failed = None if kept is None else kept.exception()
            if failed is not None and not isinstance(failed, LogError):
                raise failed
            position = None if kept is None or failed is not None else kept.result()
            answer = answer_of(self._service, decision, position)
        except Exception as error:
            log.exception("defect", call=NAME, request_id=request_id, error=type(error).__name__)
            self._refuse(exchange, request_id, Problem("internal"), started)
            return
        self._answer(exchange, request_id, Answer(answer.status, answer.body, headers), started)

    def _refuse(self, exchange: Exchange, request_id: str, problem: Problem, started: float) -> None:
        headers = tuple(problem.headers())
        if _CLOSE in headers:
            exchange.keep_alive = False
            headers = tuple(one for one in headers if one != _CLOSE)
        answer = Answer(problem.status, problem.body(request_id), headers)
        self._answer(exchange, request_id, answer, started)

    def _answer(self, exchange: Exchange, request_id: str, answer: Answer, started: float) -> None:
        self._load.busy -= 1
        exchange.respond(answer, request_id)
        self._service.metrics.answered(NAME, answer.status, time.perf_counter() - started)


class _Nobody:
    """The event of a request whose body is there: nobody waits for more of it."""

    def set(self) -> None:
        """Nothing."""


_NOBODY_WAITS = _Nobody()
