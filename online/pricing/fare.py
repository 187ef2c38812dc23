"""The fare of a request: the rung of the ladder where pi(p | x) (p - bid price) is greatest.

Prices that never move teach nothing about the fare's slope (incomplete learning). Where a market's outcomes hold too
little information, the fare is moved to a rung some distance from the mean one, where that costs next to nothing:
den Boer and Zwart (2014), Keskin and Zeevi (2014).
"""

import numpy as np
from numba import njit

from online.arithmetic import exp, log
from online.pricing.demand import (
    days_between,
    ladder_probabilities,
    logit_gradient,
    set_input,
    set_theta,
    situation,
)
from online.pricing.features import overlay
from online.pricing.layout import DIMENSION, Pricing
from online.pricing.program import bid_price_cents, fluid_bid_price_cents
from online.tables import Array

LADDER_RUNGS = 24  # of a band without a filed ladder


@njit(cache=True)
def default_ladder(floor_cents: int, ceiling_cents: int, ladder_cents: Array) -> int:
    """Rungs from floor to ceiling, each the same ratio above the last, into ladder_cents; returns how many."""
    if ceiling_cents <= floor_cents or floor_cents <= 0:
        ladder_cents[0] = floor_cents
        return 1
    growth = log(ceiling_cents / floor_cents) / (LADDER_RUNGS - 1)
    count = 0
    for k in range(LADDER_RUNGS):
        fare = int(floor_cents * exp(k * growth) + 0.5)
        fare = min(max(fare, floor_cents), ceiling_cents)
        if count == 0 or fare > ladder_cents[count - 1]:
            ladder_cents[count] = fare
            count += 1
    return count


@njit(cache=True)
def expected_gain(p: Pricing, ladder: Array, k: int, bid_price: float) -> float:
    """pi (p - bid price) at a rung."""
    result: float = p.scratch.probability[k] * (ladder[k] - bid_price)
    return result


@njit(cache=True)
def choose_fare(p: Pricing, flight: int, given: Array, at_ms: int, bid_price: float) -> int:
    """The rung to quote, -1 where the flight has none. given: features [FEATURES_MAX], NaN none.

    Leaves pi at each rung in scratch.probability, and the request in scratch.raw and scratch.input.
    """
    f = p.flights
    s = p.scratch
    fares = f.fares[flight]
    if fares == 0:
        return -1
    market = f.market[flight]
    ladder = f.ladder_cents[flight]
    overlay(p, flight, given)
    set_input(p, market, flight, days_between(at_ms, f.departs_ms[flight]))
    set_theta(p, market)
    share, utility = situation(p.trunk, s.theta, s.input)
    reference = p.markets.reference_cents[market]
    ladder_probabilities(s.theta, share, utility, reference, ladder, fares, s.probability)
    best = -1
    value = 0.0
    for k in range(fares):
        other = expected_gain(p, ladder, k, bid_price)
        if best < 0 or other > value:
            best = k
            value = other
    if not value > 0.0:
        result: int = fares - 1  # every rung is below the seat's worth: the dearest
        return result
    return dispersed(p, market, ladder, fares, best, bid_price, reference)


@njit(cache=True)
def quote(p: Pricing, flight: int, given: Array, at_ms: int, seats_left: int, stale_ms: int) -> tuple[int, float, bool]:
    """(rung, bid price in cents, whether it is the fluid one) for a request; rung -1: nothing can be quoted.

    The flight's table serves while it is younger than stale_ms; after that, or without one, the fluid bound does.
    """
    bid_price = bid_price_cents(p, flight, at_ms, seats_left)
    fluid = not (bid_price >= 0.0) or at_ms - p.flights.solved_ms[flight] > stale_ms
    if fluid:
        bid_price = fluid_bid_price_cents(p, flight, at_ms, seats_left)
    return choose_fare(p, flight, given, at_ms, bid_price), bid_price, fluid


@njit(cache=True)
def dispersed(p: Pricing, market: int, ladder: Array, fares: int, best: int, bid_price: float, reference: float) -> int:
    """The best rung, or one further from the mean fare where the market's fares were too much alike."""
    k = p.knobs
    seen = p.markets.dispersion[market]
    outcomes = seen[3]
    if k.dispersion <= 0.0 or outcomes < 1.0 or seen[2] >= k.dispersion * np.sqrt(outcomes):
        return best
    mean = (1.0 + seen[1]) * reference
    distance = k.dispersion_distance * mean / np.sqrt(np.sqrt(outcomes))
    if abs(ladder[best] - mean) >= distance:
        return best
    least = expected_gain(p, ladder, best, bid_price) * (1.0 - k.dispersion_regret)
    up = int(outcomes) % 2 == 0
    for side in range(2):
        way = 1 if (side == 0) == up else -1
        other = best + way
        while 0 <= other < fares:
            if abs(ladder[other] - mean) >= distance:
                if expected_gain(p, ladder, other, bid_price) >= least:
                    return other
                break
            other += way
    return best


@njit(cache=True)
def set_deviations(p: Pricing, market: int, flight: int, first: int, last: int) -> None:
    """scratch.deviation at rungs first to last: the posterior's standard deviation of the logit, after choose_fare."""
    s = p.scratch
    reference = p.markets.reference_cents[market]
    for k in range(first, last + 1):
        ratio = p.flights.ladder_cents[flight, k] / reference - 1.0
        logit_gradient(p.trunk, p.markets.mean[market], s.input, ratio, s.slope)
        variance = 0.0
        for i in range(DIMENSION):
            row = 0.0
            for j in range(DIMENSION):
                row += p.markets.covariance[market, i, j] * s.slope[j]
            variance += s.slope[i] * row
        s.deviation[k] = np.sqrt(max(variance, 0.0))
