"""Plays `airline_market` against pricing's kernels in one process: the same calls in the same order as the fold makes.

What a fold keeps between records (which quote is pending, which flight waits for its program) is a dictionary here; all
that is learned and decided comes out of `online.pricing`.
"""

from __future__ import annotations

import numpy as np

from online.artifact import Artifact
from online.chance import hash64
from online.pricing import arrays as pricing_arrays
from online.pricing.arrivals import advance_flight, observe_cancellation, observe_request
from online.pricing.demand import days_between
from online.pricing.fare import choose_fare
from online.pricing.features import add_feature, overlay
from online.pricing.layout import DAY_MS, FARES_MAX, FEATURES_MAX, PRICING_COLUMNS
from online.pricing.posterior import observe_outcome, roll_market
from online.pricing.program import bid_price_cents, solve_flight
from online.pricing.settings import Settings
from online.tables import Arrays, allocate
from simulations.airline_market import Market


class KernelSeller:
    """A seller whose fares come out of the kernels. `learns`: False leaves everything as the batch job made it.

    `demand`: False learns how many ask, and nothing of what they would pay.
    """

    def __init__(
        self,
        artifact: Artifact | None = None,
        *,
        settings: Settings | None = None,
        learns: bool = True,
        demand: bool = True,
        seed: int = 0,
        flights: int = 2_048,
        markets: int = 64,
    ) -> None:
        self.settings = settings or Settings()
        self.learns = learns
        self.demand = learns and demand
        self.seed = np.uint64(seed)
        self.breaks = 0
        self.arrays: Arrays = allocate(
            PRICING_COLUMNS, {**pricing_arrays.pricing_capacity(), "markets": markets, "flights": flights}
        )
        self.row: dict[str, int] = {}
        self.pending: dict[int, tuple[int, int, np.ndarray]] = {}
        self.p = pricing_arrays.pricing_views(self.arrays, self.settings)
        if artifact is None:
            pricing_arrays.begin_pool(self.arrays)
        else:
            pricing_arrays.load_artifact(self.arrays, artifact)
            ids = pricing_arrays.artifact_markets(artifact)
            self.row = {name: row for row, name in enumerate(ids)}
            pricing_arrays.load_markets(self.arrays, artifact, list(self.row.values()))
        self.place: dict[str, int] = {}

    def given(self, features: dict[str, float]) -> np.ndarray:
        """Named numbers as a row of features, NaN where none."""
        out = np.full(FEATURES_MAX, np.nan)
        for name, value in features.items():
            if name not in self.place:
                self.place[name] = add_feature(self.p.features, np.uint64(hash64(name)))
            if self.place[name] >= 0:
                out[self.place[name]] = value
        return out

    def roll(self, market: str, at_ms: int) -> None:
        """A new day of a market, if it is one."""
        row = self.row[market]
        if self.demand or self.arrays["markets.day"][row] < 0:
            self.breaks += roll_market(self.p, row, np.uint64(hash64(market)), self.seed, at_ms)

    def open(self, market: Market, flight: int) -> None:
        f = market.flights[flight]
        route = market.routes[f.route]
        at_ms = f.departs_ms - 60 * DAY_MS
        ladder = np.zeros(FARES_MAX, np.int32)
        ladder[: len(route.ladder_cents)] = route.ladder_cents
        if route.market not in self.row:
            self.row[route.market] = len(self.row)
            middle = float(np.sqrt(float(route.ladder_cents[0]) * float(route.ladder_cents[-1])))
            pricing_arrays.begin_market(self.p, self.row[route.market], middle, len(self.row))
        self.roll(route.market, at_ms)
        row = self.row[route.market]
        pricing_arrays.begin_flight(
            self.p, flight, row, f.departs_ms, route.capacity, route.capacity, ladder, len(route.ladder_cents)
        )
        self.arrays["flights.feature"][flight] = self.given({"peak": f.peak})
        self.market = market
        self.solve(flight, at_ms)

    def solve(self, flight: int, at_ms: int) -> None:
        if self.learns:
            advance_flight(self.p, flight, at_ms)
        solve_flight(self.p, flight, at_ms)

    def quote(self, flight: int, at_ms: int, features: dict[str, float], seats_left: int) -> int | None:
        p, f = self.p, self.p.flights
        name = self.market.routes[self.market.flights[flight].route].market
        market = self.row[name]
        self.roll(name, at_ms)
        given = self.given({k: v for k, v in features.items() if k != "peak"})
        fare = None
        if seats_left > 0:
            if at_ms - f.solved_ms[flight] >= DAY_MS:
                self.solve(flight, at_ms)
            rung = choose_fare(p, flight, given, at_ms, bid_price_cents(p, flight, at_ms, seats_left))
            fare = int(f.ladder_cents[flight, rung])
        if self.learns:
            observe_request(p, market, flight, given, at_ms)
        self.pending[flight] = (at_ms, fare or 0, given)
        return fare

    def outcome(self, flight: int, at_ms: int, booked: bool) -> None:
        asked_ms, fare, given = self.pending[flight]
        p, f = self.p, self.p.flights
        if self.demand:
            overlay(p, flight, given)
            days = days_between(asked_ms, int(f.departs_ms[flight]))
            observe_outcome(p, f.market[flight], flight, days, float(fare), float(booked))
        if booked:
            if self.learns:
                advance_flight(p, flight, at_ms)
            f.seats_left[flight] -= 1

    def cancelled(self, flight: int, at_ms: int) -> None:
        if self.learns:
            observe_cancellation(self.p, self.p.flights.market[flight], flight, at_ms)
        self.p.flights.seats_left[flight] += 1
