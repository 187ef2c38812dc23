"""Sellers to compare with: revenue management as it is done without learning, told more than they could know.

EMSRb and its marginal-revenue form are given the true mean demand and optimise again every day (Belobaba 1989; Fiig,
Isler, Hopperstad, Belobaba 2010). The rule ladder and the best fixed fare are tuned by search on other flights of the
same routes, without drift.
"""

from __future__ import annotations

from statistics import NormalDist

import numpy as np

from simulations.airline_market import DAYS, SLOTS, Market, Truth, play

CLASSES = 8


class Emsr:
    """EMSRb over eight classes; marginal: after the fare transformation that unrestricted fares need."""

    def __init__(self, *, marginal: bool) -> None:
        self.marginal = marginal
        self.class_of: dict[tuple[int, int], np.ndarray] = {}

    def open(self, market: Market, flight: int) -> None:
        self.market = market

    def quote(self, flight: int, at_ms: int, features: dict[str, float], seats_left: int) -> int | None:
        if seats_left <= 0:
            return None
        f = self.market.flights[flight]
        route = self.market.routes[f.route]
        day = DAYS - 1 - (f.departs_ms - 1 - at_ms) // 86_400_000
        rungs = np.unique(np.round(np.linspace(0, len(route.ladder_cents) - 1, CLASSES)).astype(int))
        if (flight, day) not in self.class_of:
            truth = self.market.truth(flight)
            self.class_of[flight, day] = open_class(truth, day, rungs, route.ladder_cents, self.marginal)
        protected = self.class_of[flight, day]
        # The cheapest class that still has seats beyond those kept for the dearer ones.
        available = np.flatnonzero(seats_left > protected)
        return int(route.ladder_cents[rungs[int(available[0])] if len(available) else rungs[-1]])

    def outcome(self, flight: int, at_ms: int, booked: bool) -> None: ...

    def cancelled(self, flight: int, at_ms: int) -> None: ...


def open_class(truth: Truth, day: int, rungs: np.ndarray, ladder: np.ndarray, marginal: bool) -> np.ndarray:
    """Seats kept from each class for those above it, float [classes], cheapest first; inf closes a class."""
    mean = truth.probability[day:].mean(axis=2)  # [days, 2, k]: the rival's levels alike
    buys = mean[:, 1] * truth.stay[day:, None] + mean[:, 0] * (1.0 - truth.stay[day:, None])
    demand = (SLOTS * truth.arrive[day:, None] * buys)[:, rungs].sum(axis=0)  # who buys at each fare, cheapest first
    fares = ladder[rungs].astype(float)
    own = np.append(demand[:-1] - demand[1:], demand[-1])  # who would pay this fare and not the next
    value = fares.copy()
    if marginal:
        total = demand * fares
        value[:-1] = (total[:-1] - total[1:]) / np.maximum(own[:-1], 1e-9)
    kept = np.zeros(len(rungs))
    normal = NormalDist()
    for j in range(len(rungs) - 1):
        if value[j] <= 0.0:
            kept[j] = np.inf
            continue
        above = own[j + 1 :]
        worth = float((above * np.maximum(value[j + 1 :], 0.0)).sum() / max(above.sum(), 1e-9))
        if value[j] >= worth:
            continue
        deviation = max(above.sum(), 1e-9) ** 0.5
        kept[j] = max(0.0, above.sum() + normal.inv_cdf(1.0 - value[j] / worth) * deviation)
    return kept


class Rule:
    """A rung by days before departure and load, as a share of the ladder: constant, late, later, and fullness."""

    def __init__(self, weights: np.ndarray) -> None:
        self.weights = weights  # [routes, 4]

    def open(self, market: Market, flight: int) -> None:
        self.market = market

    def quote(self, flight: int, at_ms: int, features: dict[str, float], seats_left: int) -> int | None:
        if seats_left <= 0:
            return None
        f = self.market.flights[flight]
        route = self.market.routes[f.route]
        days, ahead = days_and_lead(self.market, flight, at_ms, seats_left)
        w = self.weights[f.route]
        share = w[0] + w[1] * (days < 21) + w[2] * (days < 7) + w[3] * ahead
        rungs = len(route.ladder_cents) - 1
        return int(route.ladder_cents[int(np.clip(round(share * rungs), 0, rungs))])

    def outcome(self, flight: int, at_ms: int, booked: bool) -> None: ...

    def cancelled(self, flight: int, at_ms: int) -> None: ...


def days_and_lead(market: Market, flight: int, at_ms: int, seats_left: int) -> tuple[float, float]:
    """Days to departure, and by how much of its seats a flight is fuller than on a straight line to a full one."""
    f = market.flights[flight]
    days = (f.departs_ms - at_ms) / 86_400_000
    return days, 1.0 - seats_left / market.routes[f.route].capacity - (1.0 - days / DAYS)


def by_route(market: Market, revenue_cents: np.ndarray) -> np.ndarray:
    """Revenue of each route, float [routes]."""
    routes = np.array([f.route for f in market.flights])
    return np.bincount(routes, weights=revenue_cents, minlength=len(market.routes))


def tuned_rule(practice: Market, *, seed: int, trials: int = 40) -> Rule:
    """The best of so many random rules, route by route, on flights of the past."""
    rng = np.random.default_rng([seed, 7])
    best, taken = np.zeros((len(practice.routes), 4)), np.full(len(practice.routes), -1.0)
    for _ in range(trials):
        tried = rng.uniform([0.1, 0.0, 0.0, 0.0], [0.6, 0.35, 0.35, 1.2])
        took = by_route(practice, play(practice, Rule(np.tile(tried, (len(practice.routes), 1)))).revenue_cents)
        best[took > taken] = tried
        taken = np.maximum(took, taken)
    return Rule(best)


def best_fixed(practice: Market, *, levels: int = 13) -> Rule:
    """The best single fare of each route, on flights of the past."""
    best, taken = np.zeros((len(practice.routes), 4)), np.full(len(practice.routes), -1.0)
    for share in np.linspace(0.0, 1.0, levels):
        tried = np.array([share, 0.0, 0.0, 0.0])
        took = by_route(practice, play(practice, Rule(np.tile(tried, (len(practice.routes), 1)))).revenue_cents)
        best[took > taken] = tried
        taken = np.maximum(took, taken)
    return Rule(best)
