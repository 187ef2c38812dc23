"""Sells `airline_market` through a running service, over HTTP and nothing else: flights put, fares asked for, outcomes
posted, at the market's own dates."""

from __future__ import annotations

import http.client
import json
import time
from collections import Counter
from typing import Any
from urllib.parse import urlsplit

from simulations.airline_market import Market

_AGAIN_MAX = 20  # a service that is away for a moment says so with 503, and has done nothing


class ServiceRefused(RuntimeError):
    """An answer that no seller can go on with."""


class ServiceSeller:
    """A seller whose fares come out of the service. `disagreed` counts seats that it counted otherwise.

    in_order: each fare waits until the service has learned all that this seller said before (X-Min-Position), as in
    one process; without, only what was said of the same flight.
    """

    def __init__(self, url: str, *, name: str = "", in_order: bool = False) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=30.0)
        self._name = name  # before each flight's id, so that one service may play several times
        self._quotes: dict[int, str] = {}
        self._bookings: dict[int, list[str]] = {}
        self._market: Market | None = None
        self._position: int | None = 0 if in_order else None
        self.disagreed = 0
        self.sources: Counter[str] = Counter()
        self.fares: list[int] = []  # as quoted, in order; 0 where nothing was for sale

    def close(self) -> None:
        self._connection.close()

    def _call(self, method: str, path: str, body: dict[str, Any], *, after: int | None = None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json"}
        if after is not None:
            headers["X-Min-Position"] = str(after)
        for _ in range(_AGAIN_MAX):
            self._connection.request(method, path, json.dumps(body), headers)
            reply = self._connection.getresponse()
            content = reply.read()
            if reply.status != 503:
                break
            time.sleep(min(1.0, float(reply.headers.get("Retry-After", "1"))))
        if not 200 <= reply.status < 300:
            raise ServiceRefused(f"{method} {path}: {reply.status} {content.decode(errors='replace')}")
        found: dict[str, Any] = json.loads(content)
        if self._position is not None:
            # A quote's answer does not name its own position, but it is the next one at least.
            self._position = max(self._position + 1, found.get("position", 0))
        return found

    def act(self, act: str, reason: str) -> None:
        """An operator's act, say `freeze`."""
        self._call("POST", "/v1/acts", {"act": act, "reason": reason})

    def _flight_id(self, flight: int) -> str:
        assert self._market is not None
        return self._name + self._market.flights[flight].flight_id

    def open(self, market: Market, flight: int) -> None:
        self._market = market
        f = market.flights[flight]
        route = market.routes[f.route]
        ladder = [int(fare) for fare in route.ladder_cents]
        body = {
            "market": route.market,
            "departs_at": f.departs_ms,
            "capacity": route.capacity,
            "currency": "USD",
            "fare_floor_cents": ladder[0],
            "fare_ceiling_cents": ladder[-1],
            "fare_ladder_cents": ladder,
            "features": {"peak": f.peak},
        }
        self._call("PUT", f"/v1/flights/{self._flight_id(flight)}", body)

    def quote(self, flight: int, at_ms: int, features: dict[str, float], seats_left: int) -> int | None:
        asked = {name: value for name, value in features.items() if name != "peak"}
        body = {"flight_id": self._flight_id(flight), "asked_at": at_ms, "features": asked}
        found = self._call("POST", "/v1/quotes", body, after=self._position)
        self._quotes[flight] = found["quote_id"]
        self.sources[found["model"]["source"]] += 1
        fare: int | None = found["fare_cents"]
        self.fares.append(fare or 0)
        self.disagreed += (fare is None) != (seats_left <= 0)
        return fare

    def outcome(self, flight: int, at_ms: int, booked: bool) -> None:
        body = {"outcome": "booked" if booked else "declined", "occurred_at": at_ms}
        found = self._call("POST", f"/v1/quotes/{self._quotes[flight]}/outcome", body)
        if booked:
            self._bookings.setdefault(flight, []).append(found["booking_id"])

    def cancelled(self, flight: int, at_ms: int) -> None:
        booking = self._bookings[flight].pop()
        self._call("POST", f"/v1/bookings/{booking}/cancel", {"occurred_at": at_ms})
