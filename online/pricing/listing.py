"""Flights, quotes and markets as lists for operators, out of the learner's published state."""

from typing import NamedTuple

import numpy as np

from online.pricing.clients import client_weight
from online.pricing.layout import Pricing
from online.pricing.outlook import FlightSeen, alone, quotes_of
from online.pricing.quote import about_flight, flight_row
from online.views import Views


class FlightLine(NamedTuple):
    """A flight in a list."""

    flight_id: str
    market: str
    currency: str
    departs_ms: int
    clock_ms: int
    capacity: int
    booked: int
    held: int
    fare_cents: int
    requests: float
    value_cents: float


class ClientLine(NamedTuple):
    """A client in a list, over all markets: see `online.pricing.clients`."""

    key: int  # hash64 of its name
    markets: int
    expected: float
    kept: float
    least: float  # what its outcomes count where they count least


def flights_listed(views: Views, text: str, offset: int, count: int) -> tuple[list[FlightLine], int]:
    """`count` flights from `offset` on, those on sale first, the next to leave foremost; and how many there are.

    With a text, those whose id or market holds it.
    """
    selling, f = views.selling, views.pricing.flights
    rows = int(selling.flights.handed_out[0])
    known = np.flatnonzero(selling.flights.key[:rows] != 0)
    clock = np.maximum(selling.sales.clock_ms[known], selling.market_clock_ms[f.market[known]])
    departs = f.departs_ms[known]
    gone = clock >= departs
    order = np.lexsort((np.where(gone, -departs, departs), gone))
    found, wanted, seen = [], text.casefold(), 0
    for place in order.tolist():
        row = int(known[place])
        if not wanted and not offset <= seen < offset + count:
            seen += 1
            continue
        about = about_flight(selling, row)
        if wanted and wanted not in about.flight_id.casefold() and wanted not in about.market.casefold():
            continue
        seen += 1
        if offset < seen <= offset + count:
            found.append(
                FlightLine(
                    about.flight_id,
                    about.market,
                    about.currency,
                    int(departs[place]),
                    int(clock[place]),
                    int(f.capacity[row]),
                    int(selling.sales.taken[row]),
                    int(selling.sales.held[row]),
                    int(selling.sales.fare_cents[row]),
                    float(f.arrived[row]),
                    float(f.value_cents[row]),
                )
            )
    return found, seen


def clients_listed(views: Views) -> list[ClientLine]:
    """Every client that a market remembers, those of whom most is expected first."""
    p, found = views.pricing, dict[int, ClientLine]()
    m, weigh = p.markets, client_weight.py_func  # a page that is looked at now and then is worth no compiling
    for market, k in np.argwhere(m.client[: int(views.selling.markets.handed_out[0])]).tolist():
        key = int(m.client[market, k])
        line = found.get(key, ClientLine(key, 0, 0.0, 0.0, 1.0))
        found[key] = ClientLine(
            key,
            line.markets + 1,
            line.expected + float(m.client_expected[market, k]),
            line.kept + float(m.client_kept[market, k]),
            min(line.least, float(weigh(p, market, np.uint64(key)))),
        )
    return sorted(found.values(), key=lambda line: (-line.expected, line.key))


def newest_quotes(views: Views, count: int) -> list[int]:
    """Log positions of the newest quotes, the newest first."""
    positions = views.selling.quotes.position
    known = positions[positions > 0]
    return [int(position) for position in np.sort(known)[::-1][:count]]


def flight_seen(views: Views, flight_id: str) -> tuple[FlightSeen, Pricing]:
    """One flight with its quotes, and a copy to look ahead from. Raises FlightUnknown."""
    selling, p = views.selling, views.pricing
    row = flight_row(selling, flight_id)
    about, copy = about_flight(selling, row), alone(p, row)
    clock = max(int(selling.sales.clock_ms[row]), int(selling.market_clock_ms[p.flights.market[row]]))
    seen = FlightSeen(
        market=about.market,
        currency=about.currency,
        features=about.features,
        departs_ms=int(copy.flights.departs_ms[0]),
        clock_ms=clock,
        capacity=int(copy.flights.capacity[0]),
        booked=int(selling.sales.taken[row]),
        held=int(selling.sales.held[row]),
        fare_cents=int(selling.sales.fare_cents[row]),
        floor_cents=int(selling.sales.floor_cents[row]),
        ceiling_cents=int(selling.sales.ceiling_cents[row]),
        requests=float(copy.flights.arrived[0]),
        requests_expected=float(copy.flights.expected[0]),
        value_cents=float(copy.flights.value_cents[0]),
        solved_ms=int(copy.flights.solved_ms[0]),
        reference_cents=float(copy.markets.reference_cents[0]),
        quotes=quotes_of(selling, row),
    )
    return seen, copy
