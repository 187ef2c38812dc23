"""One HTTP connection, with the two limits that uvicorn does not know: how long and how large a request's head may be.

Without them a peer that sends one byte a second holds its connection for ever, and one that sends headers without an
end fills the memory. A head that arrives in one piece, as nearly all do, costs nothing here. The body has its own
limits, in `api.hot`.

A plain request for a slate whose body came along with its head is answered by `api.direct`, where a worker has one.

And connections are taken as they wait: libuv accepts one a turn of the loop, and a worker with a few hundred requests
under way turns some ten times a second, so that of a thousand who come at once most would wait for minutes beside
those few who are in.
"""

import asyncio
import socket
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.direct import PATH, Direct, Exchange
from api.heads import Headers, KnownHeads
from api.problems import MEDIA_TYPE, Problem

STREAM = "/dashboard/stream"
PATH_BYTES = PATH.encode("ascii")


class Connection(HttpToolsProtocol):
    """uvicorn's connection. The head's time starts with the connection, or with a later request's first byte."""

    head_timeout_s: ClassVar[float] = 10.0
    head_bytes_max: ClassVar[int] = 65_536
    listening: ClassVar[socket.socket | None] = None  # which a worker takes connections from, a few at a time
    accepted_at_once: ClassVar[int] = 64
    accepting: ClassVar[set[asyncio.Task[object]]] = set()
    direct: ClassVar[Direct | None] = None
    heads: ClassVar[KnownHeads] = KnownHeads()

    _is_taken = False  # by ourselves, and not by the loop
    _in_head = True
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None
    _awaited: list[bytes] | None = None  # the body of what may be a plain request, as far as it came
    _is_between = True  # two requests: no byte of the next one was read
    _fed: bytes | None = None  # what came when that was so

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._on_slow_head)
        if self.listening is not None and not self._is_taken:
            self._take_others(self.listening)

    def _take_others(self, listening: socket.socket) -> None:
        """Whoever else waits to be let in."""
        for _ in range(self.accepted_at_once):
            try:
                waiting, _ = listening.accept()
            except OSError:  # nobody waits; or they went away, or the worker ends
                return
            waiting.setblocking(False)
            task: asyncio.Task[object] = self.loop.create_task(
                self.loop.connect_accepted_socket(self._sibling, waiting)
            )
            self.accepting.add(task)
            task.add_done_callback(self._taken)

    def _sibling(self) -> "Connection":
        found = type(self)(
            config=self.config, server_state=self.server_state, app_state=self.app_state, _loop=self.loop
        )
        found._is_taken = True
        return found

    def _taken(self, task: asyncio.Task[object]) -> None:
        self.accepting.discard(task)
        if not task.cancelled():
            task.exception()  # it went away meanwhile: nobody is there to be told

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_between and self._is_known(data):
            return
        self._fed = data if self._is_between else None
        super().data_received(data)
        if self._awaited is not None and not self.transport.is_closing():
            self._go_on_slowly()
        if not self._in_head:
            if self._head_timer is not None:
                self._stop_timer()
            return
        self._head_bytes += len(data)
        if self._head_bytes > self.head_bytes_max:
            self._refuse(Problem("head_too_large"))
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._on_slow_head)

    def _is_known(self, data: bytes) -> bool:
        """Whether it is a plain request under a head that was read before, and is under way now."""
        direct, cycle = self.direct, self.cycle
        if direct is None or self.flow.write_paused or (cycle is not None and not cycle.response_complete):
            return False
        found = self.heads.find(data)
        if found is None or not direct.takes(*found):
            return False
        self._unset_keepalive_if_required()
        self._in_head = False
        self._stop_timer()
        self._begin(direct, *found)
        return True

    def _begin(self, direct: Direct, headers: Headers, body: bytes) -> None:
        exchange = self.cycle = Exchange(self)  # type: ignore[assignment]
        direct.begin(exchange, headers, body, self.client[0] if self.client else "")

    def shutdown(self) -> None:
        """The worker ends: whoever listens to a stream without an end is told that it is over."""
        super().shutdown()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and cycle.scope["path"] == STREAM:
            cycle.disconnected = True
            cycle.message_event.set()

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes, self._is_between = True, 0, False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        if self.direct is not None and self._may_be_plain():
            self._awaited = []
        else:
            super().on_headers_complete()

    def _may_be_plain(self) -> bool:
        parser, cycle = self.parser, self.cycle
        return (
            self.url == PATH_BYTES
            and parser.get_method() == b"POST"
            and (cycle is None or cycle.response_complete)
            and parser.should_keep_alive()
            and parser.get_http_version() == "1.1"
            and not parser.should_upgrade()
            and not self.expect_100_continue
            and not self.flow.write_paused
        )

    def on_body(self, body: bytes) -> None:
        if self._awaited is None:
            super().on_body(body)
        else:
            self._awaited.append(body)

    def on_message_complete(self) -> None:
        self._is_between = True
        if self._awaited is None:
            super().on_message_complete()
            return
        headers, body = Headers(self.headers), b"".join(self._awaited)
        assert self.direct is not None
        if self.direct.takes(headers, body):
            self._awaited = None
            if self._fed is not None:
                self.heads.learn(self._fed, headers, body)
            self._begin(self.direct, headers, body)
        else:
            self._go_on_slowly()
            super().on_message_complete()

    def _go_on_slowly(self) -> None:
        """It is no plain request, or not yet here: as any other."""
        came, self._awaited = self._awaited, None
        super().on_headers_complete()
        for body in came or ():
            super().on_body(body)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if self._head_timer is not None and self._in_head:  # the next one's time starts now that it is its turn
            self._stop_timer()
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._on_slow_head)

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is a problem like any other."""
        self._refuse(Problem("malformed_request"))

    def _on_slow_head(self) -> None:
        self._head_timer = None
        if self.cycle is not None and not self.cycle.response_complete:
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._on_slow_head)
        elif self._in_head:
            self._refuse(Problem("head_timeout"))

    def _refuse(self, problem: Problem) -> None:
        self._stop_timer()
        if self.transport.is_closing():
            return
        body = problem.body("")
        head = (
            f"HTTP/1.1 {problem.status} {problem.kind.title}\r\ncontent-type: {MEDIA_TYPE.decode()}\r\n"
            f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode("ascii") + body)
        self.transport.close()

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
