"""What a request's head says: its few headers that matter here, who sends it, and the id it goes by."""

import os
from collections.abc import MutableMapping
from typing import Any

Scope = MutableMapping[str, Any]

JSON = b"application/json"
_REQUEST_ID_MAX = 128


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
