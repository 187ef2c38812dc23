"""The steps of pricing's fold that learn, one call of a kernel for each record."""

import numpy as np
from numba import njit

from online.pricing.arrivals import advance_flight, observe_cancellation, observe_request, pass_closed
from online.pricing.clients import client_weight, count_client
from online.pricing.demand import days_between
from online.pricing.features import overlay
from online.pricing.layout import FEATURES_MAX, Pricing
from online.pricing.posterior import observe_booked_after_all, observe_outcome, roll_market
from online.pricing.program import solve_flight
from online.tables import Array


@njit(cache=True)
def flight_told(p: Pricing, flight: int, given: Array) -> None:
    """What the log knew as a flight's own, and moves how many ask, is the flight's where only a request tells it."""
    for j in range(FEATURES_MAX):
        if p.features.arrival_weight[j] != 0.0 and given[j] == given[j]:
            p.flights.feature[flight, j] = given[j]


@njit(cache=True)
def quote_came(
    p: Pricing,
    market: int,
    flight: int,
    key: np.uint64,
    seed: np.uint64,
    given: Array,
    at_ms: int,
    client: np.uint64,
    counts: bool,
) -> bool:
    """Begin a new day where it is one, and learn that somebody asked (`counts`). True where the market broke away."""
    broke = roll_market(p, market, key, seed, at_ms)
    if counts:
        first = p.flights.advanced_ms[flight] == 0
        observe_request(p, market, flight, given, at_ms, client_weight(p, market, client))
        if first:
            p.flights.arrived[flight] = 0.0  # it begins the time in which others are counted
    return broke


@njit(cache=True)
def outcome_known(
    p: Pricing, flight: int, given: Array, asked_ms: int, fare_cents: int, booked: bool, client: np.uint64
) -> float:
    """Learn from a fare as it was shown to a client; what that counted."""
    overlay(p, flight, given)
    market = p.flights.market[flight]
    days = days_between(asked_ms, p.flights.departs_ms[flight])
    counts = client_weight(p, market, client)
    yes = 1.0 if booked else 0.0
    expected = observe_outcome(p, market, flight, days, float(fare_cents), yes, counts)
    count_client(p, market, client, expected, yes)
    return counts


@njit(cache=True)
def booked_after_all(
    p: Pricing, flight: int, given: Array, asked_ms: int, fare_cents: int, client: np.uint64, counted: float
) -> None:
    """A traveller who counted as a "no", and as so much of one, has booked."""
    overlay(p, flight, given)
    market = p.flights.market[flight]
    days = days_between(asked_ms, p.flights.departs_ms[flight])
    observe_booked_after_all(p, market, flight, days, float(fare_cents), counted)
    count_client(p, market, client, 0.0, 1.0)


@njit(cache=True)
def seats_move(p: Pricing, flight: int, at_ms: int, learning: bool, closed: bool) -> None:
    """Count seat-days up to now, before seats change. Frozen, time passes and says nothing; `closed`: the flight was
    sold out, and nobody asks for such. A date behind the departure says nothing of the time until then."""
    if at_ms >= p.flights.departs_ms[flight]:
        return
    if not learning:
        p.flights.advanced_ms[flight] = max(p.flights.advanced_ms[flight], at_ms)
    elif closed:
        pass_closed(p, flight, at_ms)
    if learning:
        advance_flight(p, flight, at_ms)


@njit(cache=True)
def given_back(p: Pricing, flight: int, at_ms: int, client: np.uint64) -> None:
    """Learn that a client gave a booking back, behind `seats_move`: that is then kept no more."""
    market = p.flights.market[flight]
    if at_ms < p.flights.departs_ms[flight]:
        observe_cancellation(p, market, flight, at_ms, client_weight(p, market, client))
    count_client(p, market, client, 0.0, -1.0)


@njit(cache=True)
def solve(p: Pricing, flight: int, at_ms: int, learning: bool) -> None:
    """The flight's table, new. Frozen, the time that has passed says nothing about arrivals, of a flight on sale.

    Learning, that time is counted by the flight's next record, not here: with the silence up to now counted in every
    table, sellers on the routes of seeds 101 and 102 took 0.2 to 0.6 points less.
    """
    if not learning and p.flights.advanced_ms[flight] > 0:
        p.flights.advanced_ms[flight] = max(p.flights.advanced_ms[flight], at_ms)
    solve_flight(p, flight, at_ms)
