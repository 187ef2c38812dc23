"""What a request's head says: its few headers that matter here, who sends it, the id it goes by; and heads that came
before."""

import os
from collections.abc import MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]

JSON = b"application/json"
_REQUEST_ID_MAX = 128
_END = b"\r\n\r\n"
_KNOWN_MAX = 512  # heads; then they are forgotten, all of them
_KNOWN_BYTES_MAX = 2_048  # of one


class Headers:
    """The few headers that matter here, by one look through the list."""

    __slots__ = ("found",)

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        self.found = dict(raw)

    def get(self, name: bytes) -> bytes | None:
        return self.found.get(name)

    def text(self, name: bytes) -> str | None:
        value = self.found.get(name)
        return None if value is None else value.decode("latin-1")


class KnownHeads:
    """Heads of plain requests that the parser has read before. What it found holds for the same bytes again: a client
    sends the same head all day, and reading it is a good part of answering."""

    def __init__(self) -> None:
        self._known: dict[bytes, tuple[Headers, int]] = {}

    def find(self, data: bytes) -> tuple[Headers, bytes] | None:
        """Headers and body, where `data` is one whole request under a known head."""
        end = data.find(_END) + len(_END)
        known = self._known.get(data[:end])
        if known is None or len(data) - end != known[1]:
            return None
        return known[0], data[end:]

    def learn(self, data: bytes, headers: Headers, body: bytes) -> None:
        """What the parser, which stood between two requests before `data` came, made of it: a request of this body. It
        is remembered if `data` is that request and nothing else."""
        end = len(data) - len(body)
        if end > _KNOWN_BYTES_MAX or data.find(_END) + len(_END) != end or b"x-request-id" in headers.found:
            return
        if headers.get(b"content-length") != b"%d" % len(body) or b"transfer-encoding" in headers.found:
            return
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[data[:end]] = headers, len(body)


def peer_of(scope: Scope) -> str:
    """The address of whoever is connected."""
    client = scope.get("client")
    return str(client[0]) if client else ""


class RequestIds:
    """The client's own id where it is fit to be repeated, else one of ours: process, then a count."""

    def __init__(self) -> None:
        self._prefix = os.urandom(6).hex()
        self._count = 0

    def of(self, headers: Headers) -> str:
        given = headers.text(b"x-request-id")
        if given and len(given) <= _REQUEST_ID_MAX and given.isascii() and given.isprintable():
            return given
        self._count += 1
        return f"{self._prefix}-{self._count:x}"
