"""One connection to the log's server, by hand: hiredis packs and parses, asyncio carries.

A general client spends 13 to 44 us on a command that this path does in a few; the writer sends only five
kinds of command and needs no more. Replies come in the order of the requests, so a queue of callbacks is all
the state.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any

import hiredis
from redis.connection import parse_url

Reply = Any  # bytes, int, None, list of these, or hiredis.ReplyError
Argument = bytes | str | int | float | memoryview


class WireLost(ConnectionError):
    """The connection ended; what was asked and not answered may or may not have been done."""


class Wire(asyncio.Protocol):
    """Requests out, replies in, in order."""

    def __init__(self, on_lost: Callable[["Wire", Exception], None]) -> None:
        self._on_lost = on_lost
        self._parser = hiredis.Reader()
        self._waiting: deque[Callable[[Reply], None]] = deque()
        self._calls: set[asyncio.Future[Reply]] = set()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # a stream transport, as the protocol's kind asks

    def data_received(self, data: bytes) -> None:
        parser, waiting = self._parser, self._waiting
        parser.feed(data)
        while (reply := parser.gets()) is not False:
            waiting.popleft()(reply)

    def connection_lost(self, error: Exception | None) -> None:
        self._lose(error or WireLost("the log's server closed the connection"))

    def request(self, packed: bytes, on_reply: Callable[[Reply], None]) -> None:
        """Send an encoded command; `on_reply` gets its reply, unless the connection ends first."""
        if self._transport is None:
            raise WireLost("the connection is closed")
        self._waiting.append(on_reply)
        self._transport.write(packed)

    async def call(self, *arguments: Argument, timeout_s: float) -> Reply:
        """Send one command and wait. Raises hiredis.ReplyError, WireLost, TimeoutError."""
        answered: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()

        def on_reply(reply: Reply) -> None:
            if not answered.done():
                answered.set_result(reply)

        self.request(pack(*arguments), on_reply)
        self._calls.add(answered)
        try:
            async with asyncio.timeout(timeout_s):  # wait_for may swallow a cancellation (Python 3.11)
                reply = await answered
        finally:
            self._calls.discard(answered)
        if isinstance(reply, hiredis.ReplyError):
            raise reply
        return reply

    def abort(self) -> None:
        """Close at once and call nobody back: neither `on_lost` nor any waiting `on_reply`."""
        self._on_lost = _nobody
        self._lose(WireLost("aborted"))

    def _lose(self, error: Exception) -> None:
        transport, self._transport = self._transport, None
        self._waiting.clear()
        for answered in self._calls:
            if not answered.done():
                answered.set_exception(WireLost(str(error)))
        if transport is not None:
            transport.abort()
            self._on_lost(self, error)


def _nobody(wire: Wire, error: Exception) -> None:
    del wire, error


def pack(*arguments: Argument) -> bytes:
    """A command as it goes over the wire."""
    return hiredis.pack_command(arguments)  # type: ignore[arg-type, no-any-return]  # its stub says a tuple of one


async def open_wire(url: str, *, on_lost: Callable[[Wire, Exception], None], timeout_s: float) -> Wire:
    """Connect, authenticate, select. `url` as redis-py reads it: unix://, redis://, rediss://.

    Raises OSError, TimeoutError, WireLost, hiredis.ReplyError.
    """
    options: dict[str, Any] = dict(parse_url(url))
    loop = asyncio.get_running_loop()

    def make() -> Wire:
        return Wire(on_lost)

    async with asyncio.timeout(timeout_s):
        if "path" in options:
            _, wire = await loop.create_unix_connection(make, options["path"])
        else:
            secure = ssl.create_default_context() if url.startswith("rediss://") else None
            host, port = options.get("host", "localhost"), options.get("port", 6379)
            _, wire = await loop.create_connection(make, host, port, ssl=secure)
        try:
            if options.get("password"):
                user = (options["username"],) if options.get("username") else ()
                await wire.call("AUTH", *user, options["password"], timeout_s=timeout_s)
            if options.get("db"):
                await wire.call("SELECT", options["db"], timeout_s=timeout_s)
        except BaseException:
            wire.abort()
            raise
    return wire
