"""The market that a demo shows, drawn from its seed: a thin past for the batch job, then flights to sell.

Small enough to be sold within a minute and a half over HTTP. Where the demo's world drifts, what everybody would pay
jumps by a third in mid-calendar; where it does not, nothing moves.
"""

from __future__ import annotations

from pathlib import Path

from simulations.airline_history import past, write_bookings
from simulations.airline_market import Market, draw_market, draw_routes

ROUTES = 4
FLIGHTS_PER_ROUTE = 10
CALENDAR_DAYS = 60
PAST_FLIGHTS_PER_ROUTE = 6
PAST_DAYS = 100


def past_market(seed: int) -> Market:
    """The flights before: they left before anybody sells here."""
    return draw_market(
        routes=draw_routes(ROUTES, seed),
        flights_per_route=PAST_FLIGHTS_PER_ROUTE,
        seed=seed + 1_000,
        first_departure_day=-PAST_DAYS,
        calendar_days=PAST_DAYS,
    )


def write_past_bookings(path: Path, seed: int) -> int:
    """What they left behind, as `perennial pretrain pricing` reads it. -> its rows"""
    market = past_market(seed)
    return write_bookings(path, market, past(market, seed))


def demo_market(seed: int, *, drift: float, flights_per_route: int = FLIGHTS_PER_ROUTE, season: int = 0) -> Market:
    """The flights that a demo sells. Each season begins when the one before it is over, with customers of its own."""
    market = draw_market(
        routes=draw_routes(ROUTES, seed),
        flights_per_route=flights_per_route,
        seed=seed + season,
        drift="jump" if drift and not season else "none",
        first_departure_day=61 + season * (CALENDAR_DAYS + 61),
        calendar_days=CALENDAR_DAYS,
    )
    if drift and season:  # what has jumped stays where it is
        market.drift, market.drift_day = "jump", -1
    return market
