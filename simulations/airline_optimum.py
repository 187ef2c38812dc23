"""What a seller takes who knows the truth of `airline_market`: the exact dynamic program, and the bound above it.

The customers come slot by slot as the program assumes, the rival's fare is a chain that it carries as a state, and the
flight's hidden level is known to it: nobody takes more in expectation. What it expects and what it takes over
many flights agree (`tests/simulations/test_airline_market.py`), which says that neither is wrong.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from simulations.airline_market import DAYS, RIVAL_LEVELS, RIVAL_STAYS, SLOTS, Market, Truth

RIVALS = len(RIVAL_LEVELS)


def rival_chain() -> np.ndarray:
    """Transition probabilities from one day to the next, [from, to]."""
    chain = np.zeros((RIVALS, RIVALS))
    for r in range(RIVALS):
        chain[r, r] += RIVAL_STAYS
        for step in (-1, 1):
            chain[r, min(max(r + step, 0), RIVALS - 1)] += 0.5 * (1.0 - RIVAL_STAYS)
    return chain


@njit(cache=True)
def solve(
    arrive: np.ndarray,
    stay: np.ndarray,
    probability: np.ndarray,
    ladder: np.ndarray,
    chain: np.ndarray,
    capacity: int,
    back: float,
) -> np.ndarray:
    """V [slots + 1, seats + 1, rivals] in cents; back: chance of a booked seat to come back within a slot."""
    days = arrive.shape[0]
    rivals = chain.shape[0]
    fares = ladder.shape[0]
    slots = days * SLOTS
    value = np.zeros((slots + 1, capacity + 1, rivals))
    later = np.zeros((capacity + 1, rivals))
    for t in range(slots - 1, -1, -1):
        d = t // SLOTS
        for n in range(capacity + 1):
            for r in range(rivals):
                if t % SLOTS == SLOTS - 1 and t + 1 < slots:  # the rival moves overnight
                    expected = 0.0
                    for q in range(rivals):
                        expected += chain[r, q] * value[t + 1, n, q]
                    later[n, r] = expected
                else:
                    later[n, r] = value[t + 1, n, r]
        for r in range(rivals):
            for n in range(capacity + 1):
                v = later[n, r]
                if n > 0:
                    mu = later[n, r] - later[n - 1, r]
                    for s in range(2):
                        best = 0.0
                        for k in range(fares):
                            gain = probability[d, s, r, k] * (ladder[k] - mu)
                            if gain > best:
                                best = gain
                        v += arrive[d] * (stay[d] if s == 1 else 1.0 - stay[d]) * best
                if n < capacity and back > 0.0:
                    v += (capacity - n) * back * (later[n + 1, r] - later[n, r])
                value[t, n, r] = v
    return value


class Optimum:
    """Sells at the fare that is best given the truth."""

    def __init__(self) -> None:
        self.value: dict[int, np.ndarray] = {}
        self.expected_cents: dict[int, float] = {}
        self.market: Market | None = None

    def open(self, market: Market, flight: int) -> None:
        self.market = market
        truth, route = market.truth(flight), market.routes[market.flights[flight].route]
        v = solve(
            truth.arrive,
            truth.stay,
            truth.probability,
            route.ladder_cents.astype(float),
            rival_chain(),
            route.capacity,
            1.0 - np.exp(-route.cancels / SLOTS),
        )
        self.value[flight] = v.astype(np.float32)
        self.expected_cents[flight] = float(v[0, route.capacity, market.flights[flight].rival[0]])

    def quote(self, flight: int, at_ms: int, features: dict[str, float], seats_left: int) -> int | None:
        if seats_left <= 0:
            return None
        assert self.market is not None
        market, f = self.market, self.market.flights[flight]
        t = slot_of(f.departs_ms, at_ms)
        d, r = t // SLOTS, int(f.rival[t // SLOTS])
        v = self.value[flight]
        if t % SLOTS == SLOTS - 1 and t + 1 < DAYS * SLOTS:
            chances = rival_chain()[r]
            mu = float(chances @ (v[t + 1, seats_left] - v[t + 1, seats_left - 1]))
        else:
            mu = float(v[t + 1, seats_left, r] - v[t + 1, seats_left - 1, r])
        ladder = market.routes[f.route].ladder_cents
        gains = market.truth(flight).probability[d, int(features["saturday_stay"]), r] * (ladder - mu)
        return int(ladder[int(np.argmax(gains))])

    def outcome(self, flight: int, at_ms: int, booked: bool) -> None: ...

    def cancelled(self, flight: int, at_ms: int) -> None: ...


def slot_of(departs_ms: int, at_ms: int) -> int:
    """The slot of a flight's sale that a moment falls into."""
    slot_ms = 86_400_000 // SLOTS
    return DAYS * SLOTS - 1 - (departs_ms - 1 - at_ms) // slot_ms


def fluid_bound_cents(truth: Truth, ladder: np.ndarray, capacity: int) -> float:
    """What nobody exceeds in expectation without cancellations: min over mu of mu C + sum_t lambda_t G_t(mu).

    The rival's levels are taken as equally likely, which they are in the long run.
    """
    best = np.inf
    for mu in np.linspace(0.0, float(ladder[-1]), 400):
        gains = np.maximum(truth.probability * (ladder - mu), 0.0).max(axis=3).mean(axis=2)  # [DAYS, 2]
        gain = gains[:, 1] * truth.stay + gains[:, 0] * (1.0 - truth.stay)
        best = min(best, float(mu * capacity + SLOTS * (truth.arrive * gain).sum()))
    return best
