"""Which flights' tables are due, and when they are solved: after records, and at the ticks of an idle learner.

A table is due when its flight is put, when its market's day or posterior breaks off, when enough was learned or sold.
Staleness is counted in event time and in records, never by a clock, so a season that is played in seconds is priced
like one that takes months.
"""

from typing import TYPE_CHECKING

import numpy as np

from online.journal import touch
from online.pricing.fold_kernel import solve
from online.pricing.selling import SOLVED

if TYPE_CHECKING:
    from online.state import State


def all_due(state: "State", market: int, position: int) -> None:
    """Every flight of the market that has not left is to be solved again; one that is ahead of the market's time was
    sold in a season before this one."""
    sales, flights, count = state.views.selling.sales, state.views.pricing.flights, state.count("flights")
    now = int(state.views.selling.market_clock_ms[market])
    waiting = (flights.market[:count] == market) & (flights.departs_ms[:count] > now) & (sales.due[:count] == 0)
    waiting &= sales.clock_ms[:count] <= now
    sales.due[:count][waiting] = max(1, position)


def after_record(state: "State", flight: int, position: int) -> None:
    """After a record about a flight: solve its table, or that of the flight that has waited longest."""
    view, p, settings = state.views.selling, state.views.pricing, state.settings.pricing
    view.sales.last_position[flight] = position
    touch(state.moved.flights, flight)
    market = int(p.flights.market[flight])
    touch(state.moved.markets, market)
    fresh = (
        p.markets.dispersion[market, 3] - view.sales.solved_outcomes[flight] < settings.solve_outcomes
        or view.market_clock_ms[market] - p.flights.solved_ms[flight] < settings.solve_pause_s * 1_000
    )
    moved = abs(int(p.flights.solved_seats[flight]) - int(p.flights.seats_left[flight]))
    if view.sales.due[flight] == 0 and fresh and moved < max(2, int(p.flights.capacity[flight]) // 20):
        solve_next(state)
    else:
        _solve(state, flight)


def solve_next(state: "State") -> bool:
    """Solve the flight whose table has been due for the longest time; False where none is."""
    due = state.views.selling.sales.due[: state.count("flights")]
    waiting = np.flatnonzero(due)
    if not len(waiting):
        return False
    _solve(state, int(waiting[np.argmin(due[waiting])]))
    return True


def waiting_flights(state: "State") -> int:
    """How many tables are due."""
    return int(np.count_nonzero(state.views.selling.sales.due[: state.count("flights")]))


def _solve(state: "State", flight: int) -> None:
    view, p = state.views.selling, state.views.pricing
    market = int(p.flights.market[flight])
    # A flight that was never asked for has no time of its own yet: its market's.
    at_ms = max(int(view.market_clock_ms[market]), int(view.sales.clock_ms[flight]))
    view.sales.due[flight] = 0
    if at_ms == 0 or at_ms >= int(p.flights.departs_ms[flight]):
        return
    solve(p, flight, at_ms, bool(state.views.frame.learning[0] == 1))
    view.sales.solved_outcomes[flight] = p.markets.dispersion[market, 3]
    view.counters[SOLVED] += 1
    touch(state.moved.flights, flight)
    touch(state.moved.markets, market)
