"""The model's part of a quote, one call of a kernel: what a seat is worth, the fare, and its neighbours' demand."""

from typing import Any

from numba import njit

from online.arithmetic import log, sigmoid
from online.pricing.fare import choose_fare, quote, set_deviations
from online.pricing.layout import DAY_MS, FARES_MAX, Pricing
from online.pricing.records import BY_BOUND, BY_MODEL, BY_RULES
from online.tables import Array

NEIGHBOURS = 3  # rungs whose demand is told: the fare's, one below, one above


@njit(cache=True)
def tell_demand(p: Pricing, flight: int, rung: int, out: Array) -> int:
    """fare, P(books), and one posterior deviation below and above, for a rung and its neighbours, into out
    [NEIGHBOURS, 4]; how many. After choose_fare."""
    f, s = p.flights, p.scratch
    first, last = max(0, rung - 1), min(f.fares[flight] - 1, rung + 1)
    set_deviations(p, f.market[flight], flight, first, last)
    for k in range(first, last + 1):
        pi = min(max(s.probability[k], 1e-12), 1.0 - 1e-12)
        logit = log(pi / (1.0 - pi))
        row = out[k - first]
        row[0] = f.ladder_cents[flight, k]
        row[1] = pi
        # No deviation: a market that nobody has asked about yet, of which nothing is known for sure.
        row[2] = sigmoid(logit - s.deviation[k]) if s.deviation[k] > 0.0 else 0.0
        row[3] = sigmoid(logit + s.deviation[k]) if s.deviation[k] > 0.0 else 1.0
    result: int = last - first + 1
    return result


@njit(cache=True)
def price(
    held: Any, flight: int, given: Array, at_ms: int, seats_left: int, table_days_max: float, demand: Array
) -> tuple[int, float, int, int]:
    """(fare in cents, bid price, who named it, rows of demand); BY_RULES where the model has no fare to name.

    held: a Pricing (`online.held`).
    """
    p = held.value
    f = p.flights
    rung, bid_price, fluid = quote(p, flight, given, at_ms, seats_left, int(table_days_max * DAY_MS))
    if not 0.0 <= bid_price < 1e12:
        return 0, 0.0, BY_RULES, 0
    if rung < 0 or rung >= FARES_MAX:
        return 0, bid_price, BY_RULES, 0
    for k in range(f.fares[flight]):
        if not 0.0 <= p.scratch.probability[k] <= 1.0:
            return 0, bid_price, BY_RULES, 0
    rows = tell_demand(p, flight, rung, demand)
    return f.ladder_cents[flight, rung], bid_price, BY_BOUND if fluid else BY_MODEL, rows


@njit(cache=True)
def demand_around(held: Any, flight: int, given: Array, at_ms: int, bid_price: float, fare: int, out: Array) -> int:
    """As `tell_demand`, around the rung nearest to a fare that rules have moved. held: a Pricing (`online.held`)."""
    p = held.value
    choose_fare(p, flight, given, at_ms, bid_price)
    near = 0
    for k in range(1, p.flights.fares[flight]):
        if abs(p.flights.ladder_cents[flight, k] - fare) < abs(p.flights.ladder_cents[flight, near] - fare):
            near = k
    return tell_demand(p, flight, near, out)
