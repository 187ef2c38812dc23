"""The airline market played for several arms at once, each meeting the same customers, and what that brought.

An arm sells through a seller: a running service over HTTP, or the optimum that knows the truth. What is measured is
the share of the optimum's takings; flights pair, so the standard error is that of the difference, flight by flight.
"""

from __future__ import annotations

import csv
import math
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass, fields
from itertools import accumulate
from pathlib import Path

import numpy as np

from simulations.airline_market import DAY_MS, DAYS, Market, Seller

OPTIMUM = "optimum"


@dataclass(frozen=True, slots=True)
class Move:
    """One thing that an arm did: it quoted, or a seat went (+1) or came back (-1). Times are the market's own."""

    arm: str
    flight: int
    at_ms: int
    days_before: float
    fare_cents: int  # quoted, or paid for the seat; 0 where nothing was for sale or a seat came back
    seats: int  # 0 for a quote


class Watched:
    """A seller whose moves are noted, and whose market keeps to a pace: `wall_s` says when a moment is due."""

    def __init__(self, arm: str, seller: Seller, *, wall_s: Callable[[int], float] | None = None) -> None:
        self.arm, self.seller = arm, seller
        self.moves: list[Move] = []
        self.clock_ms = 0
        self._wall_s = wall_s
        self._market: Market | None = None
        self._fare: dict[int, int] = {}

    def _note(self, flight: int, at_ms: int, fare_cents: int, seats: int) -> None:
        assert self._market is not None
        before = (self._market.flights[flight].departs_ms - at_ms) / DAY_MS
        self.moves.append(Move(self.arm, flight, at_ms, round(before, 3), fare_cents, seats))

    def open(self, market: Market, flight: int) -> None:
        self._market = market
        self.seller.open(market, flight)

    def quote(self, flight: int, at_ms: int, features: dict[str, float], seats_left: int) -> int | None:
        if self._wall_s is not None:
            time.sleep(max(0.0, self._wall_s(at_ms) - time.monotonic()))
        fare = self.seller.quote(flight, at_ms, features, seats_left)
        self.clock_ms = at_ms
        self._fare[flight] = fare or 0
        self._note(flight, at_ms, fare or 0, 0)
        return fare

    def outcome(self, flight: int, at_ms: int, booked: bool) -> None:
        self.seller.outcome(flight, at_ms, booked)
        if booked:
            self._note(flight, at_ms, self._fare[flight], 1)

    def cancelled(self, flight: int, at_ms: int) -> None:
        self.seller.cancelled(flight, at_ms)
        self._note(flight, at_ms, 0, -1)


@dataclass(frozen=True, slots=True)
class Share:
    """Of the optimum's takings, in %, with its standard error by flights."""

    percent: float
    error: float


def revenue_by_flight(moves: Sequence[Move], arm: str, flights: int) -> np.ndarray:
    """Cents, float [flights]."""
    taken = np.zeros(flights)
    for move in moves:
        if move.arm == arm and move.seats > 0:
            taken[move.flight] += move.fare_cents
    return taken


def share_of_optimum(revenue: np.ndarray, optimum: np.ndarray) -> Share:
    """The ratio of sums, and the standard error of it over flights: Cochran, Sampling Techniques (1977), eq. 6.4."""
    whole = float(optimum.sum())
    if whole <= 0.0:
        return Share(math.nan, math.nan)
    share = float(revenue.sum()) / whole
    return Share(100.0 * share, 100.0 * float(np.sqrt(((revenue - share * optimum) ** 2).sum())) / whole)


def gain_over(live: np.ndarray, still: np.ndarray, optimum: np.ndarray) -> Share:
    """One arm's share less another's, in points, paired flight by flight."""
    whole = float(optimum.sum())
    if whole <= 0.0:
        return Share(math.nan, math.nan)
    gain = 100.0 * (live - still) / whole
    return Share(float(gain.sum()), float(np.sqrt(((gain - gain.mean()) ** 2).sum())))


class Running:
    """Takings up to a moment, as a share of what the optimum had taken by then."""

    def __init__(self, optimum: Sequence[Move]) -> None:
        sold = sorted((move.at_ms, move.fare_cents) for move in optimum if move.seats > 0)
        self._at = [at for at, _ in sold]
        self._taken = [0, *accumulate(fare for _, fare in sold)]

    def taken(self, at_ms: int) -> int:
        """The optimum's takings up to a moment, in cents."""
        return self._taken[bisect_right(self._at, at_ms)]

    def percent(self, taken_cents: float, at_ms: int) -> float:
        """nan before the optimum has sold anything."""
        whole = self.taken(at_ms)
        return 100.0 * taken_cents / whole if whole else math.nan


def booking_curve(moves: Sequence[Move], arm: str, capacity: int) -> list[tuple[float, float]]:
    """(days before departure, seats sold and not given back, in % of all flights' seats), the earliest first."""
    changes = np.zeros(DAYS + 1)  # by whole days since a flight is on sale
    for move in moves:
        if move.arm == arm and move.seats:
            changes[min(DAYS, max(0, math.floor(DAYS - move.days_before) + 1))] += move.seats
    sold = 100.0 * np.cumsum(changes) / max(1, capacity)
    return [(float(DAYS - day), float(share)) for day, share in enumerate(sold)]


def fares_over_time(
    moves: Sequence[Move], arm: str, reference_cents: Sequence[float], *, every_days: float = 7.0
) -> list[tuple[float, float]]:
    """(days since the first request, mean fare quoted in % of each route's reference), by weeks of the calendar."""
    quoted = [move for move in moves if move.arm == arm and not move.seats and move.fare_cents > 0]
    if not quoted:
        return []
    first = min(move.at_ms for move in moves)
    weeks: dict[int, list[float]] = {}
    for move in quoted:
        week = int((move.at_ms - first) / DAY_MS // every_days)
        weeks.setdefault(week, []).append(100.0 * move.fare_cents / reference_cents[move.flight])
    return [((week + 0.5) * every_days, float(np.mean(fares))) for week, fares in sorted(weeks.items())]


def write_moves(path: Path, moves: Sequence[Move]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow([one.name for one in fields(Move)])
        out.writerows(astuple(move) for move in moves)


def read_moves(path: Path) -> list[Move]:
    with path.open(newline="", encoding="utf-8") as file:
        return [
            Move(row["arm"], int(row["flight"]), int(row["at_ms"]), float(row["days_before"]),
                 int(row["fare_cents"]), int(row["seats"]))
            for row in csv.DictReader(file)
        ]  # fmt: skip
