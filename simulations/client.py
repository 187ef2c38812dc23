"""A small HTTP/1.1 client for simulations: asyncio, kept connections, JSON in and out, loopback only.

A general client costs more processor time for a call than the service that answers it, and both share
this machine's cores: what a simulation measures would be itself. This one knows what the service sends
(a length, no chunks).
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_HEAD_BYTES_MAX = 65_536


class CallFailed(ConnectionError):
    """No answer: the connection was refused, broke, or sent something that is not HTTP."""


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes
    seconds: float  # from the first byte sent to the last byte read, waiting for a connection not included

    def json(self) -> Any:
        return json.loads(self.body)


class Client:
    """At most `connections` calls at a time; further ones wait for their turn."""

    def __init__(self, url: str, *, connections: int = 32, timeout_s: float = 10.0, key: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme != "http" or parts.hostname not in _LOOPBACK:
            raise ValueError(f"simulations talk to this machine only, http://127.0.0.1:PORT, got {url!r}")
        self._host, self._port = parts.hostname, parts.port or 80
        self._timeout_s = timeout_s
        self._turns = asyncio.Semaphore(connections)
        self._idle: deque[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = deque()
        self._fixed = f"host: {self._host}:{self._port}\r\n"
        if key is not None:
            self._fixed += f"authorization: Bearer {key}\r\n"

    async def call(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None) -> Reply:
        """One call. Raises CallFailed where no whole answer came within the time limit.

        A kept connection may have been closed by the other side meanwhile: then the call is sent once
        more on a new one. Everything simulations send may be sent twice (ids make it so).
        """
        async with self._turns:
            try:
                async with asyncio.timeout(self._timeout_s):
                    while self._idle:
                        connection = self._idle.pop()
                        if connection[1].is_closing() or connection[0].at_eof():
                            connection[1].close()
                            continue
                        try:
                            return await self._exchange(connection, method, path, body, headers)
                        except (ConnectionError, asyncio.IncompleteReadError):
                            continue
                    connection = await asyncio.open_connection(self._host, self._port)
                    return await self._exchange(connection, method, path, body, headers)
            except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
                raise CallFailed(f"{method} {path}: {error or type(error).__name__}") from error

    async def _exchange(
        self,
        connection: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        method: str,
        path: str,
        body: Any,
        headers: Mapping[str, str] | None,
    ) -> Reply:
        reader, writer = connection
        kept = False
        try:
            payload = b"" if body is None else json.dumps(body, separators=(",", ":")).encode()
            head = f"{method} {path} HTTP/1.1\r\n{self._fixed}content-length: {len(payload)}\r\n"
            if payload:
                head += "content-type: application/json\r\n"
            for name, value in (headers or {}).items():
                head += f"{name}: {value}\r\n"
            began = time.perf_counter()
            writer.write(head.encode() + b"\r\n" + payload)
            raw = await reader.readuntil(b"\r\n\r\n")
            status, found = _read_head(raw)
            content = await reader.readexactly(int(found.get("content-length", "0")))
            seconds = time.perf_counter() - began
            kept = found.get("connection", "keep-alive").lower() != "close"
            return Reply(status, found, content, seconds)
        finally:
            if kept:
                self._idle.append(connection)
            else:
                writer.close()

    async def close(self) -> None:
        while self._idle:
            _, writer = self._idle.pop()
            writer.close()
            try:
                await writer.wait_closed()
            except ConnectionError:
                pass  # the other side closed first, which is what was wanted


def _read_head(raw: bytes) -> tuple[int, dict[str, str]]:
    lines = raw[:-4].decode("latin-1").split("\r\n")
    if len(raw) > _HEAD_BYTES_MAX or not lines[0].startswith("HTTP/1.") or len(lines[0]) < 12:
        raise CallFailed(f"not HTTP/1.1: {lines[0][:80]!r}")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    if "transfer-encoding" in headers:
        raise CallFailed("an answer in chunks; this client reads answers with a length")
    return int(lines[0][9:12]), headers
