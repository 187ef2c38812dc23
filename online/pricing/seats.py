"""Seats as the log counts them: the same steps that the server took when it appended each record.

The server judges (online/log/append.lua); here the verdicts, which are the records that stand in the log, are counted
again. So the state knows every seat, and the server's counts can be held against it, or made again from it.
"""

from typing import TYPE_CHECKING

import numpy as np

from online.pricing.selling import BEYOND, GIVEN_BACK, GONE, HELD, NOT_SOLD, TAKEN
from online.rows import add_row, find_row, reindex_rows, room

if TYPE_CHECKING:
    from online.state import State


def seats_left(state: "State", flight: int) -> int:
    """Seats that are neither booked nor held."""
    sales = state.views.selling.sales
    capacity = int(state.views.pricing.flights.capacity[flight])
    return capacity - int(sales.taken[flight]) - int(sales.held[flight])


def closed(state: "State", flight: int) -> bool:
    """Whether silence is no sign: the flight is sold out, and nobody here has ever asked for such a one."""
    left = int(state.views.pricing.flights.seats_left[flight])
    return left < 1 and int(state.views.selling.counters[NOT_SOLD]) == 0


def claim_row(state: "State", key: int) -> int:
    """The row of a quote's claim, or -1."""
    return int(find_row(state.views.selling.claims.rows, np.uint64(key)))


def hold(state: "State", flight: int, key: int, at_ms: int, until_ms: int, position: int) -> None:
    """A quote that holds a seat was appended."""
    end_holds(state, flight, at_ms)
    sales = state.views.selling.sales
    sales.soonest_ms[flight] = until_ms if sales.held[flight] == 0 else min(int(sales.soonest_ms[flight]), until_ms)
    sales.held[flight] += 1
    _note(state, flight, key, HELD, until_ms, position)


def take(state: "State", flight: int, key: int, at_ms: int, position: int) -> None:
    """A booking was appended."""
    held = _is_held(state, key, at_ms)
    end_holds(state, flight, at_ms)
    sales = state.views.selling.sales
    if held:
        sales.held[flight] -= 1
    sales.taken[flight] += 1
    _note(state, flight, key, TAKEN, 0, position)


def let_go(state: "State", flight: int, key: int, at_ms: int) -> None:
    """A quote was declined: what it held is free."""
    held = _is_held(state, key, at_ms)
    end_holds(state, flight, at_ms)
    if held:
        state.views.selling.sales.held[flight] -= 1
        state.views.selling.claims.state[claim_row(state, key)] = GONE
    _write_left(state, flight)


def give_back(state: "State", flight: int, key: int, at_ms: int, position: int) -> bool:
    """A booking was cancelled; False where it was not one."""
    row = claim_row(state, key)
    if row < 0 or state.views.selling.claims.state[row] != TAKEN:
        return False
    end_holds(state, flight, at_ms)
    state.views.selling.sales.taken[flight] -= 1
    _note(state, flight, key, GIVEN_BACK, 0, position)
    return True


def end_holds(state: "State", flight: int, at_ms: int) -> None:
    """Holds that ended before this granted claim."""
    sales, claims = state.views.selling.sales, state.views.selling.claims
    if sales.held[flight] == 0 or at_ms <= sales.soonest_ms[flight]:
        return
    count = state.count("claims")
    held = np.flatnonzero((claims.flight[:count] == flight) & (claims.state[:count] == HELD))
    until = claims.until_ms[held]
    ended = held[until < at_ms]
    claims.state[ended] = GONE
    sales.held[flight] -= len(ended)
    going_on = until[until >= at_ms]
    sales.soonest_ms[flight] = int(going_on.min()) if len(going_on) else 0


def forget_claims(state: "State") -> None:
    """Give the rows of claims back whose flight was evicted, or that are gone."""
    claims = state.views.selling.claims
    count = state.count("claims")
    lost = (claims.flight[:count] < 0) | (claims.state[:count] == GONE)
    for name, empty in (("flight", -1), ("state", GONE), ("until_ms", 0), ("position", 0), ("left", 0)):
        getattr(claims, name)[:count][lost] = empty
    claims.rows.key[:count][lost] = 0
    reindex_rows(claims.rows)


def _is_held(state: "State", key: int, at_ms: int) -> bool:
    row = claim_row(state, key)
    claims = state.views.selling.claims
    return row >= 0 and claims.state[row] == HELD and int(claims.until_ms[row]) >= at_ms


def _note(state: "State", flight: int, key: int, what: int, until_ms: int, position: int) -> None:
    row = claim_row(state, key)
    if row < 0:
        state.ensure("claims", 1)
        if room(state.views.selling.claims.rows) == 0:
            forget_claims(state)
        if room(state.views.selling.claims.rows) == 0:
            state.evict("claims")
        row = int(add_row(state.views.selling.claims.rows, np.uint64(key)))
    _write_left(state, flight)
    claims = state.views.selling.claims
    claims.flight[row] = flight
    claims.state[row] = what
    claims.until_ms[row] = until_ms
    claims.position[row] = position
    claims.left[row] = seats_left(state, flight)


def _write_left(state: "State", flight: int) -> None:
    left = seats_left(state, flight)
    state.views.pricing.flights.seats_left[flight] = left
    if left < 0:
        # The server never grants this; if it is ever seen, the log and the server's counts have come apart.
        state.views.selling.counters[BEYOND] += 1
