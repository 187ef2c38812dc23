"""A client for programs: typed, synchronous or asynchronous, on the standard library alone.

What may be sent twice is: a call that got no answer, or a 429 or 503, is sent again after a while, under the same
Idempotency-Key and with the same event ids, so that nothing is ever decided or counted twice.

>>> client.put_item("film-17", title="The Long Winter", features={"genre": ["drama"]}).accepted
1
>>> slate = client.recommend("ada", n=3, context={"device": "tv"})
>>> reported = client.report(Event("watch", "ada", "film-17", value=0.8, decision_id=slate.decision_id))
>>> reported.accepted, reported.rejected
(1, ())
>>> client.recommend("ada", n=3, min_position=reported.position).model.position >= reported.position
True
>>> client.recommend("ada", n=1_000)
Traceback (most recent call last):
    ...
api.client.Refused: 422 invalid_request at /n: ...
"""

import asyncio
import dataclasses
import http.client
import json
import random
import ssl
import time
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any, Self, TypeVar
from urllib.parse import quote, urlsplit

T = TypeVar("T")
Features = Mapping[str, "str | int | float | bool | Sequence[str]"]

_AGAIN = frozenset({429, 503})
_WAIT_FIRST_S, _WAIT_MAX_S = 0.1, 5.0
_IDLE_MAX = 16


class Refused(Exception):
    """The service said no: a problem document (RFC 9457). The same call would be refused again."""

    def __init__(self, status: int, problem: Mapping[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", "unknown"))
        self.detail = str(problem.get("detail", ""))
        self.hint = str(problem.get("hint", ""))
        self.request_id = str(problem.get("request_id", ""))
        self.errors: list[dict[str, Any]] = list(problem.get("errors", ()))
        place = f" at {self.errors[0].get('pointer', '')}" if self.errors else ""
        super().__init__(f"{status} {self.code}{place}: {self.detail} {self.hint} (request {self.request_id})")


class Unavailable(Exception):
    """No answer, or only 429 and 503, as often as it was tried. Nothing is lost by trying again later."""


@dataclass(frozen=True, slots=True)
class Event:
    """What a user did. Without an `event_id` the client makes one, so that a repetition is known as such."""

    event_type: str
    user_id: str | int
    item_id: str | int
    value: float | None = None
    decision_id: str | None = None
    occurred_at: str | int | None = None  # RFC 3339, or Unix milliseconds
    context: Mapping[str, str | int] | None = None
    event_id: str = dataclasses.field(default_factory=lambda: str(uuid.uuid4()))


@dataclass(frozen=True, slots=True)
class Because:
    """A part of a score."""

    expert: str
    contribution: float


@dataclass(frozen=True, slots=True)
class Recommended:
    """One position of a slate. propensity = P(this item here | the ones above it)."""

    item_id: str
    position: int
    score: float
    propensity: float
    because: tuple[Because, ...]


@dataclass(frozen=True, slots=True)
class Model:
    """What answered: artifact, log position of its parameters, how old they were, and the experiment's arm."""

    artifact: str
    position: int
    staleness_ms: int
    arm: str
    recorded: bool


@dataclass(frozen=True, slots=True)
class Slate:
    """An answer to `recommend`."""

    decision_id: str
    items: tuple[Recommended, ...]
    model: Model


@dataclass(frozen=True, slots=True)
class Rejected:
    """One event that was not taken; `index` counts from 0 in the call."""

    index: int
    code: str
    detail: str


@dataclass(frozen=True, slots=True)
class Reported:
    """An answer to `report`. `position` is where the log stood: pass it on as `min_position` to read your writes."""

    received: int
    accepted: int
    duplicate: int
    rejected: tuple[Rejected, ...]
    position: int


@dataclass(frozen=True, slots=True)
class Stored:
    """An answer to `put_item`."""

    accepted: int
    position: int


@dataclass(frozen=True, slots=True)
class Call:
    """One call, made ready: what both clients send."""

    method: str
    path: str
    body: bytes | None
    headers: dict[str, str]
    read: Callable[[Any], Any]


class Client:
    """One service. Safe to share between threads; close it, or use it in a `with`.

    tries: how often a call is sent at most. key: what `perennial keys create` printed, where keys are needed.
    """

    def __init__(
        self,
        url: str = "http://127.0.0.1:8080",
        *,
        key: str | None = None,
        timeout_s: float = 10.0,
        tries: int = 6,
        context: ssl.SSLContext | None = None,
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"an address such as http://127.0.0.1:8080, not {url!r}")
        self._host, self._port, self._tls = parts.hostname, parts.port, parts.scheme == "https"
        self._prefix = parts.path.rstrip("/")
        self._key, self._timeout_s, self._tries, self._context = key, timeout_s, tries, context
        self._idle: list[http.client.HTTPConnection] = []
        self._lock = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the kept connections."""
        with self._lock:
            for connection in self._idle:
                connection.close()
            self._idle.clear()

    def recommend(
        self,
        user_id: str | int,
        *,
        n: int = 10,
        context: Mapping[str, str | int] | None = None,
        candidates: Sequence[str | int] | None = None,
        exclude: Sequence[str | int] | None = None,
        asked_at: str | int | None = None,
        decision_id: str | None = None,
        min_position: int | None = None,
    ) -> Slate:
        """A slate for one user; `min_position` waits until the answer knows that position. Raises Refused, …"""
        asked = {
            "user_id": user_id,
            "n": n,
            "context": context,
            "candidates": candidates,
            "exclude": exclude,
            "asked_at": asked_at,
            "decision_id": decision_id,
        }
        headers = {} if min_position is None else {"X-Min-Position": str(min_position)}
        found: Slate = self.send(_call("POST", "/v1/recommendations", asked, Slate, headers))
        return found

    def report(self, *events: Event) -> Reported:
        """What users did, 1 to 1,000 events. Raises Refused, Unavailable."""
        body = {"events": [_without_none(dataclasses.asdict(event)) for event in events]}
        found: Reported = self.send(_call("POST", "/v1/events", body, Reported))
        return found

    def put_item(
        self,
        item_id: str | int,
        *,
        title: str | None = None,
        features: Features | None = None,
        available_from: str | int | None = None,
        available_until: str | int | None = None,
    ) -> Stored:
        """Say what an item is; the newest word counts. Raises Refused, Unavailable."""
        body = {
            "title": title,
            "features": features,
            "available_from": available_from,
            "available_until": available_until,
        }
        found: Stored = self.send(_call("PUT", f"/v1/items/{quote(str(item_id), safe='')}", body, Stored))
        return found

    def decision(self, decision_id: str) -> dict[str, Any]:
        """A decision as it was recorded. Raises Refused (404 decision_unknown), Unavailable."""
        found: dict[str, Any] = self.send(_call("GET", f"/v1/decisions/{quote(decision_id, safe='')}"))
        return found

    def state(self) -> dict[str, Any]:
        """Position, digest, accounting, freshness. Raises Refused, Unavailable."""
        found: dict[str, Any] = self.send(_call("GET", "/v1/state"))
        return found

    def experiment(self) -> dict[str, Any]:
        """Champion against live. Raises Refused, Unavailable."""
        found: dict[str, Any] = self.send(_call("GET", "/v1/experiment"))
        return found

    def act(self, act: str, *, reason: str, **arguments: Any) -> dict[str, Any]:
        """What an operator does: freeze, resume, … Raises Refused, Unavailable."""
        found: dict[str, Any] = self.send(_call("POST", "/v1/acts", {"act": act, "reason": reason, **arguments}))
        return found

    def send(self, call: Call) -> Any:
        """One call, as often as it takes. Raises Refused, Unavailable."""
        reason = ""
        for attempt in range(self._tries):
            wait_s = min(_WAIT_MAX_S, _WAIT_FIRST_S * 2**attempt) * (0.5 + random.random())
            try:
                status, headers, body = self._exchange(call)
            except (OSError, http.client.HTTPException) as error:
                reason = f"{type(error).__name__}: {error}"
            else:
                if status < 400:
                    return call.read(json.loads(body))
                problem = _problem(body, headers)
                if status not in _AGAIN:
                    raise Refused(status, problem)
                reason = f"{status} {problem.get('code', '')}: {problem.get('detail', '')}"
                asked = headers.get("retry-after", "")
                if asked.isdigit():
                    wait_s = min(max(wait_s, float(asked)), _WAIT_MAX_S)
            if attempt + 1 < self._tries:
                time.sleep(wait_s)
        raise Unavailable(f"{call.method} {call.path}: {reason}, after {self._tries} tries")

    def _exchange(self, call: Call) -> tuple[int, dict[str, str], bytes]:
        with self._lock:
            kept = self._idle.pop() if self._idle else None
        connection = kept or self._connect()
        headers = dict(call.headers)
        if self._key is not None:
            headers["Authorization"] = f"Bearer {self._key}"
        try:
            connection.request(call.method, self._prefix + call.path, call.body, headers)
            reply = connection.getresponse()
            body = reply.read()
        except BaseException:
            connection.close()
            raise
        with self._lock:
            if not reply.will_close and len(self._idle) < _IDLE_MAX:
                self._idle.append(connection)
            else:
                connection.close()
        return reply.status, {name.lower(): value for name, value in reply.getheaders()}, body

    def _connect(self) -> http.client.HTTPConnection:
        if self._tls:
            return http.client.HTTPSConnection(self._host, self._port, timeout=self._timeout_s, context=self._context)
        return http.client.HTTPConnection(self._host, self._port, timeout=self._timeout_s)


class AsyncClient:
    """The same calls to be awaited; at most `connections` of them are under way at a time, a thread for each.

    `async with AsyncClient() as client: slate = await client.recommend("ada")`
    """

    def __init__(self, url: str = "http://127.0.0.1:8080", *, connections: int = 16, **options: Any) -> None:
        self._client = Client(url, **options)
        self._threads = ThreadPoolExecutor(connections, thread_name_prefix="perennial-client")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Wait for what is under way, and close the kept connections."""
        await asyncio.to_thread(self._threads.shutdown)
        self._client.close()

    async def _run(self, call: Callable[..., T], *arguments: Any, **options: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, lambda: call(*arguments, **options))

    async def recommend(self, user_id: str | int, **options: Any) -> Slate:
        """See `Client.recommend`."""
        return await self._run(self._client.recommend, user_id, **options)

    async def report(self, *events: Event) -> Reported:
        """See `Client.report`."""
        return await self._run(self._client.report, *events)

    async def put_item(self, item_id: str | int, **options: Any) -> Stored:
        """See `Client.put_item`."""
        return await self._run(self._client.put_item, item_id, **options)

    async def decision(self, decision_id: str) -> dict[str, Any]:
        """See `Client.decision`."""
        return await self._run(self._client.decision, decision_id)

    async def state(self) -> dict[str, Any]:
        """See `Client.state`."""
        return await self._run(self._client.state)

    async def experiment(self) -> dict[str, Any]:
        """See `Client.experiment`."""
        return await self._run(self._client.experiment)

    async def act(self, act: str, *, reason: str, **arguments: Any) -> dict[str, Any]:
        """See `Client.act`."""
        return await self._run(self._client.act, act, reason=reason, **arguments)


def _call(
    method: str, path: str, body: Any = None, reply: type | None = None, headers: Mapping[str, str] | None = None
) -> Call:
    sent = {"Accept": "application/json", **(headers or {})}
    payload = None
    if body is not None:
        payload = json.dumps(_without_none(body), allow_nan=False, separators=(",", ":")).encode()
        sent["Content-Type"] = "application/json"
    if method == "POST":
        sent["Idempotency-Key"] = str(uuid.uuid4())
    return Call(method, path, payload, sent, (lambda found: found) if reply is None else (lambda f: _read(reply, f)))


def _without_none(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _read(kind: Any, found: Any) -> Any:
    """JSON as that dataclass; what a newer service adds is left out."""
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _read(hints[name], found[name]) for name in hints if name in found})  # type: ignore[operator]
    if typing.get_origin(kind) is tuple:
        inner = typing.get_args(kind)[0]
        return tuple(_read(inner, one) for one in found)
    return found


def _problem(body: bytes, headers: Mapping[str, str]) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    return {"code": "not_json", "detail": f"{headers.get('content-type', 'no type')}, {len(body)} bytes"}
