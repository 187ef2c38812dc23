"""A past of the airline market: flights sold by a rule that an analyst might have used, and the log it left behind.

The rule looks at days and load, so that fares of the past are confounded with demand, as they are everywhere; a
little of it was tried at random, or nothing could be learned from it at all.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from simulations.airline_market import FEATURES, Market, Takings, play
from simulations.airline_sellers import days_and_lead


class PastRule:
    """Rungs by days before departure and load factor, a rung or two off at random for each flight and week."""

    def __init__(self, seed: int, *, strays: int = 2) -> None:
        self.seed, self.strays = seed, strays

    def open(self, market: Market, flight: int) -> None:
        self.market = market

    def quote(self, flight: int, at_ms: int, features: dict[str, float], seats_left: int) -> int | None:
        if seats_left <= 0:
            return None
        f = self.market.flights[flight]
        route = self.market.routes[f.route]
        days, ahead = days_and_lead(self.market, flight, at_ms, seats_left)
        late = 0.25 * (days < 21) + 0.2 * (days < 7)
        rungs = len(route.ladder_cents)
        rng = np.random.default_rng([self.seed, flight, int(days // 7)])
        stray = rng.integers(-self.strays, self.strays + 1) * rungs / 16.0
        at = (0.3 + late + 0.5 * ahead) * (rungs - 1) + stray
        return int(route.ladder_cents[int(np.clip(round(at), 0, rungs - 1))])

    def outcome(self, flight: int, at_ms: int, booked: bool) -> None: ...

    def cancelled(self, flight: int, at_ms: int) -> None: ...


def past(market: Market, seed: int) -> Takings:
    """Play the market with the rule of the past and keep every request."""
    return play(market, PastRule(seed), keep_rows=True)


def write_bookings(path: Path, market: Market, takings: Takings, *, until_ms: int | None = None) -> int:
    """The booking log as CSV, as `perennial pretrain pricing` reads it; returns its rows."""
    written = 0
    with path.open("w", newline="") as file:
        out = csv.writer(file)
        head = ["flight_id", "market", "departs_at", "asked_at", "fare_cents", "booked", "seats_left", "capacity"]
        out.writerow([*head, *(f"feature_{name}" for name in FEATURES)])
        for number, at_ms, fare, booked, seats_left, stay, rival in takings.rows:
            if until_ms is not None and at_ms >= until_ms:
                continue
            f = market.flights[number]
            route = market.routes[f.route]
            out.writerow(
                [f.flight_id, route.market, f.departs_ms, at_ms, fare, booked, seats_left, route.capacity]
                + [stay, rival, f.peak]
            )
            written += 1
    return written
