"""How many ask: Gamma-Poisson by market and days before departure, times what the market shows lately, times what the
flight itself shows.

A flight has a shock of its own that nobody knows beforehand (an event, a fair): its factor (k + came) / (k + expected)
believes it half after k requests. Time without requests counts as much as requests do, so every look at a flight first
brings `expected` up to the moment.
"""

import numpy as np
from numba import njit

from online.arithmetic import exp
from online.pricing.demand import days_between, weekday
from online.pricing.features import overlay, scaled, watch
from online.pricing.layout import CONTEXTS, FEATURES_MAX, WINDOW_DAYS, WINDOWS, Pricing
from online.tables import Array

_BEGINS = np.array(WINDOW_DAYS)
HEADROOM = 1e-9
REMEMBERED = 0.5  # what a request has to count for those to come to be thought like it


@njit(cache=True)
def window_of(days: float) -> int:
    """The window that so many days before departure fall into."""
    w = 0
    while w + 1 < WINDOWS and days >= _BEGINS[w + 1]:
        w += 1
    return w


@njit(cache=True)
def flight_weight(p: Pricing, flight: int) -> float:
    """Arrivals of this flight over those of its market's common one: weekday and its own features."""
    total = 0.0
    reference = p.markets.reference_cents[p.flights.market[flight]]
    for j in range(FEATURES_MAX):
        if p.features.arrival_weight[j] != 0.0:
            total += p.features.arrival_weight[j] * scaled(p.features, j, p.flights.feature[flight, j], reference)
    result: float = exp(total) * p.pool.weekday[0, weekday(p.flights.departs_ms[flight])]
    return result


@njit(cache=True)
def market_level(p: Pricing, market: int) -> float:
    """What came over what was expected, lately."""
    prior = p.knobs.level_prior_requests
    result: float = (prior + p.markets.level[market, 0]) / (prior + p.markets.level[market, 1])
    return result


@njit(cache=True)
def flight_factor(p: Pricing, flight: int) -> float:
    """What came over what was expected, for this flight."""
    prior = p.knobs.flight_prior_requests
    result: float = (prior + p.flights.arrived[flight]) / (prior + p.flights.expected[flight])
    return result


@njit(cache=True)
def window_requests(p: Pricing, market: int, w: int) -> float:
    """Requests a day for the market's common flight, in a window, before level and flight's factor."""
    result: float = p.markets.window_shape[market, w] / p.markets.window_rate[market, w]
    return result


@njit(cache=True)
def expected_requests(p: Pricing, flight: int, days: float) -> float:
    """Requests expected from now, `days` before departure, until it leaves."""
    market = p.flights.market[flight]
    total = 0.0
    for w in range(WINDOWS):
        until = _BEGINS[w + 1] if w + 1 < WINDOWS else days
        span = min(days, until) - _BEGINS[w]
        if span > 0.0:
            total += span * window_requests(p, market, w)
    return total * flight_weight(p, flight) * market_level(p, market) * flight_factor(p, flight)


@njit(cache=True)
def advance_flight(p: Pricing, flight: int, at_ms: int) -> None:
    """Count the time since the last look as time in which so many requests were to be expected."""
    f = p.flights
    market = f.market[flight]
    since = f.advanced_ms[flight]
    if since == 0:
        f.advanced_ms[flight] = at_ms
        return
    if at_ms <= since:
        return
    f.advanced_ms[flight] = at_ms
    late = days_between(since, f.departs_ms[flight])  # the larger number of days
    early = days_between(at_ms, f.departs_ms[flight])
    weight = flight_weight(p, flight)
    level = market_level(p, market)
    for w in range(WINDOWS):
        until = _BEGINS[w + 1] if w + 1 < WINDOWS else late
        span = min(late, until) - max(early, _BEGINS[w])
        if span > 0.0:
            requests = span * weight * window_requests(p, market, w)
            p.markets.window_rate[market, w] += span * weight
            p.markets.level[market, 1] += requests
            f.expected[flight] += requests * level
    sold = f.capacity[flight] - f.seats_left[flight]
    p.markets.cancel[market, 1] += sold * (late - early)


@njit(cache=True)
def pass_closed(p: Pricing, flight: int, at_ms: int) -> None:
    """Let time pass in which nobody could see the flight: silence then says nothing, but its seats might come back."""
    f = p.flights
    since = f.advanced_ms[flight]
    f.advanced_ms[flight] = max(since, at_ms)
    if 0 < since < at_ms:
        sold = f.capacity[flight] - f.seats_left[flight]
        gone = days_between(since, f.departs_ms[flight]) - days_between(at_ms, f.departs_ms[flight])
        p.markets.cancel[f.market[flight], 1] += sold * gone


@njit(cache=True)
def observe_request(p: Pricing, market: int, flight: int, given: Array, at_ms: int, counts: float = 1.0) -> None:
    """Learn that somebody asked, whatever became of it (a sold-out flight too).

    given: features [FEATURES_MAX], NaN none. counts: as how much of a request, in (0, 1].
    Leaves what is known of the request in scratch.raw.
    """
    advance_flight(p, flight, at_ms)
    overlay(p, flight, given)
    watch(p, market)
    m = p.markets
    w = window_of(days_between(at_ms, p.flights.departs_ms[flight]))
    p.flights.arrived[flight] += counts
    m.window_shape[market, w] += counts
    m.level[market, 0] += counts
    if counts < REMEMBERED:
        return
    place = m.contexts[market, w] % CONTEXTS
    for j in range(FEATURES_MAX):
        m.context[market, w, place, j] = np.float32(p.scratch.raw[j])
    m.contexts[market, w] += 1


@njit(cache=True)
def observe_cancellation(p: Pricing, market: int, flight: int, at_ms: int, counts: float = 1.0) -> None:
    """Learn that a booking was given back; call it before the seat counts as free again."""
    advance_flight(p, flight, at_ms)
    p.markets.cancel[market, 0] += counts


@njit(cache=True)
def cancellations_per_day(p: Pricing, market: int) -> float:
    """Chance that a booked seat comes back within a day."""
    result: float = p.markets.cancel[market, 0] / max(p.markets.cancel[market, 1], HEADROOM)
    return result
