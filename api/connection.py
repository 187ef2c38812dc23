"""One HTTP connection, with the two limits that uvicorn does not know: how long and how large a request's head may be.

Without them a peer that sends one byte a second holds its connection for ever, and one that sends headers without an
end fills the memory. A head that arrives in one piece, as nearly all do, costs nothing here. The body has its own
limits, in `api.hot`.
"""

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from api.problems import MEDIA_TYPE, Problem

STREAM = "/dashboard/stream"


class Connection(HttpToolsProtocol):
    """uvicorn's connection. The head's time starts with the connection, or with a later request's first byte."""

    head_timeout_s: ClassVar[float] = 10.0
    head_bytes_max: ClassVar[int] = 65_536

    _in_head = True
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(self.head_timeout_s, self._on_slow_head)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._in_head:
            if self._head_timer is not None:
                self._stop_timer()
            return
        self._head_bytes += len(data)
        if self._head_bytes > self.head_bytes_max:
            self._refuse(Problem("head_too_large"))
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(self.head_timeout_s, self._on_slow_head)

    def shutdown(self) -> None:
        """The worker ends: whoever listens to a stream without an end is told that it is over."""
        super().shutdown()
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete and cycle.scope["path"] == STREAM:
            cycle.disconnected = True
            cycle.message_event.set()

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes = True, 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def send_400_response(self, msg: str) -> None:
        """What is not HTTP is a problem like any other."""
        self._refuse(Problem("malformed_request"))

    def _on_slow_head(self) -> None:
        self._head_timer = None
        if self._in_head:
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
