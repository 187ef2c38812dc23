"""What operators see of a flight: what is sold, what the present model expects until departure, how sure it is.

It reads a copy of the flight's and its market's rows, so that nobody waits for it and the learner may go on. The
expectation follows the flow of mean requests through the fares that would be quoted: no bound and no promise, but what
a booking curve is held against.
"""

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numba import njit

from online.arithmetic import exp
from online.pricing.arrays import pricing_scratch
from online.pricing.arrivals import cancellations_per_day, flight_factor, flight_weight, market_level, window_requests
from online.pricing.demand import days_between
from online.pricing.fare import choose_fare
from online.pricing.layout import (
    CONTEXTS,
    DAY_MS,
    FEATURES_MAX,
    THETA_STEEP_BUSINESS,
    THETA_STEEP_LEISURE,
    WINDOW_DAYS,
    WINDOWS,
    FlightArrays,
    MarketArrays,
    Pricing,
)
from online.pricing.program import bid_price_cents
from online.tables import Array

if TYPE_CHECKING:
    from online.pricing.selling import Selling

STEPS = 24  # from now until departure
_WINDOW = np.array(WINDOW_DAYS)


class Ahead(NamedTuple):
    """A moment to come."""

    at_ms: int
    booked: float  # seats, expected
    fare_cents: float  # mean of those that would be booked


class Sensitivity(NamedTuple):
    """What one kind of traveller's utility loses when the fare rises by the market's reference fare: 95 %."""

    kind: str
    steepness: float
    low: float
    high: float


class FlightSeen(NamedTuple):
    """One flight, as the state has it."""

    market: str
    currency: str
    features: dict[str, float]
    departs_ms: int
    clock_ms: int  # the market's time: 0 before the first request
    capacity: int
    booked: int
    held: int
    fare_cents: int  # last quoted; 0 none
    floor_cents: int
    ceiling_cents: int
    requests: float
    requests_expected: float
    value_cents: float
    solved_ms: int
    reference_cents: float
    quotes: tuple[tuple[int, int, int], ...]  # (at_ms, fare_cents, log position), the oldest first
    ahead: tuple[Ahead, ...] = ()
    sensitivity: tuple[Sensitivity, ...] = ()


@njit(cache=True)
def sell_ahead(p: Pricing, flight: int, at_ms: int, out: Array) -> None:
    """Into out [STEPS + 1, 3]: days before departure, seats booked, mean fare of who books in the step from there."""
    f = p.flights
    market = f.market[flight]
    days = days_between(at_ms, f.departs_ms[flight])
    capacity = float(f.capacity[flight])
    booked = capacity - f.seats_left[flight]
    level = flight_weight(p, flight) * market_level(p, market) * flight_factor(p, flight)
    back = cancellations_per_day(p, market)
    steps = out.shape[0] - 1
    given = np.empty(FEATURES_MAX)
    for k in range(steps + 1):
        before = days * (steps - k) / steps
        out[k, 0] = before
        out[k, 1] = booked
        out[k, 2] = np.nan
        if k == steps:
            break
        moment = f.departs_ms[flight] - int(before * DAY_MS)
        w = 0
        while w + 1 < WINDOWS and before >= _WINDOW[w + 1]:
            w += 1
        seats = int(capacity - booked + 0.5)
        span = days / steps
        books = 0.0
        if seats >= 1:
            known = min(p.markets.contexts[market, w], CONTEXTS)
            bid_price = bid_price_cents(p, flight, moment, seats)
            if not bid_price >= 0.0:
                bid_price = 0.0
            paid = 0.0
            for c in range(max(known, 1)):
                for j in range(FEATURES_MAX):
                    given[j] = p.markets.context[market, w, c, j] if known > 0 else np.nan
                rung = choose_fare(p, flight, given, moment, bid_price)
                if rung >= 0:
                    books += p.scratch.probability[rung]
                    paid += p.scratch.probability[rung] * f.ladder_cents[flight, rung]
            if books > 0.0:
                out[k, 2] = paid / books
            books /= max(known, 1)
        requests = 0.0
        for v in range(WINDOWS):
            until = _WINDOW[v + 1] if v + 1 < WINDOWS else before
            part = min(before, until) - max(before - span, _WINDOW[v])
            if part > 0.0:
                requests += part * window_requests(p, market, v) * level
        booked = min(capacity, booked + requests * books)
        booked -= booked * min(1.0, back * span)


def alone(p: Pricing, flight: int) -> Pricing:
    """A copy with one flight, in row 0, and its market, in row 0."""
    market = max(0, int(p.flights.market[flight]))
    flights = {name: _row(array, flight) for name, array in p.flights._asdict().items()}
    flights["market"] = np.zeros(1, flights["market"].dtype)
    markets = {name: _row(array, market) for name, array in p.markets._asdict().items()}
    copies = {
        "flights": FlightArrays(**{name: _shown(array) for name, array in flights.items()}),
        "markets": MarketArrays(**{name: _shown(array) for name, array in markets.items()}),
        **{
            part: type(getattr(p, part))(*(_shown(array.copy()) for array in getattr(p, part)))
            for part in ("features", "trunk", "pool")
        },
    }
    return p._replace(**copies, scratch=pricing_scratch())


def _row(array: Array, row: int) -> Array:
    # Columns that only the fold reads are not published: their arrays are empty here.
    return array[row : row + 1].copy() if len(array) else array.copy()


def _shown(array: Array) -> Array:
    array.flags.writeable = False  # the kernels are compiled for arrays that are not to be written
    return array


def look_ahead(p: Pricing, at_ms: int) -> tuple[Ahead, ...]:
    """What the model expects of the flight in row 0 from a moment on; empty where it has left."""
    departs_ms = int(p.flights.departs_ms[0])
    if at_ms <= 0 or at_ms >= departs_ms or int(p.flights.fares[0]) == 0:
        return ()
    out = np.zeros((STEPS + 1, 3))
    try:
        sell_ahead(p, 0, at_ms, out)
    except ZeroDivisionError:  # of a model whose numbers are broken nothing is expected
        return ()
    return tuple(Ahead(departs_ms - int(days * DAY_MS), booked, fare) for days, booked, fare in out.tolist())


def warm(p: Pricing) -> None:
    """Call the kernel, on whatever stands in the first row."""
    with contextlib.suppress(ZeroDivisionError):
        sell_ahead(alone(p, 0), 0, 1, np.zeros((2, 3)))


def sensitivity(p: Pricing) -> tuple[Sensitivity, ...]:
    """The posterior of price sensitivity of the market in row 0, leisure and business."""
    found = []
    for kind, place in (("leisure", THETA_STEEP_LEISURE), ("business", THETA_STEEP_BUSINESS)):
        mean = float(p.markets.mean[0, place])
        deviation = float(np.sqrt(max(float(p.markets.covariance[0, place, place]), 0.0)))
        low, high = exp(mean - 1.96 * deviation), exp(mean + 1.96 * deviation)
        found.append(Sensitivity(kind, exp(mean), low, high))
    return tuple(found)


def quotes_of(selling: "Selling", flight: int) -> tuple[tuple[int, int, int], ...]:
    """(at_ms, fare_cents, log position) of a flight's quotes among the newest that the fold remembers."""
    quotes = selling.quotes
    rows = np.flatnonzero(quotes.flight == flight)
    rows = rows[np.argsort(quotes.position[rows], kind="stable")]
    at, fares, positions = (array[rows].tolist() for array in (quotes.at_ms, quotes.fare_cents, quotes.position))
    return tuple(zip(at, fares, positions, strict=True))
