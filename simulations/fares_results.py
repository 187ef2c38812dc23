"""What a demo's travellers brought, and the sentences that may be said about it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from simulations.airline_arms import (
    OPTIMUM,
    Move,
    Share,
    booking_curve,
    fares_over_time,
    gain_over,
    revenue_by_flight,
    share_of_optimum,
)
from simulations.airline_market import DAY_MS, START_MS, Market
from simulations.measurements import CHAMPION, LIVE

ARMS = (CHAMPION, LIVE)


@dataclass(frozen=True, slots=True)
class Fares:
    """Both arms and the optimum, on the same travellers."""

    routes: int
    flights: int
    capacity: int  # of all flights
    jump_day: int | None  # of the calendar that begins with the first request; None where nothing moves
    reference_cents: tuple[float, ...]  # by flight
    moves: tuple[Move, ...]

    @classmethod
    def of(cls, market: Market, moves: list[Move]) -> Fares:
        """From the market that was played, and every move in it."""
        first = (min(move.at_ms for move in moves) - START_MS) // DAY_MS
        return cls(
            routes=len(market.routes),
            flights=len(market.flights),
            capacity=sum(market.routes[f.route].capacity for f in market.flights),
            jump_day=None if market.drift == "none" else market.drift_day - int(first),
            reference_cents=tuple(market.routes[f.route].reference_cents for f in market.flights),
            moves=tuple(moves),
        )

    def revenue(self, arm: str) -> np.ndarray:
        """Cents by flight, float [flights]."""
        return revenue_by_flight(self.moves, arm, self.flights)

    def share(self, arm: str) -> Share:
        """Of the optimum's takings."""
        return share_of_optimum(self.revenue(arm), self.revenue(OPTIMUM))

    @property
    def gain(self) -> Share:
        """Continued less frozen, in points, paired by flight."""
        return gain_over(self.revenue(LIVE), self.revenue(CHAMPION), self.revenue(OPTIMUM))

    def sold(self, arm: str) -> int:
        """Seats, those that were given back included."""
        return sum(1 for move in self.moves if move.arm == arm and move.seats > 0)

    def asked(self) -> int:
        """Requests that each arm met."""
        return sum(1 for move in self.moves if move.arm == OPTIMUM and not move.seats)

    def curve(self, arm: str) -> list[tuple[float, float]]:
        """Booked seats by days before departure."""
        return booking_curve(self.moves, arm, self.capacity)

    def fares(self, arm: str) -> list[tuple[float, float]]:
        """Mean fares quoted by week."""
        return fares_over_time(self.moves, arm, self.reference_cents)

    def cumulative(self, arm: str, *, every_days: int = 4) -> list[tuple[float, float]]:
        """(days since the first request, takings so far in % of the optimum's so far)."""
        first = min(move.at_ms for move in self.moves)
        days = np.array([(move.at_ms - first) / DAY_MS for move in self.moves if move.seats > 0])
        cents = np.array([move.fare_cents for move in self.moves if move.seats > 0], float)
        mine = np.array([move.arm == arm for move in self.moves if move.seats > 0])
        best = np.array([move.arm == OPTIMUM for move in self.moves if move.seats > 0])
        points = []
        for day in range(3 * every_days, int(days.max()) + every_days + 1, every_days):
            so_far = days <= day
            whole = cents[so_far & best].sum()
            if whole > 0.0:
                points.append((float(day), float(100.0 * cents[so_far & mine].sum() / whole)))
        return points


def fares_setting(fares: Fares) -> str:
    """What was played, in one sentence."""
    moved = (
        "nothing moves"
        if fares.jump_day is None
        else f"on day {fares.jump_day} everybody would pay a third more or less, and as many more or fewer ask"
    )
    return (
        f"{fares.flights} flights on {fares.routes} routes, {fares.asked():,} requests in each arm, a thin history; "
        f"{moved}"
    )


def fares_rows(fares: Fares) -> list[tuple[str, str, str, str]]:
    """(what, frozen, continued, difference): one source for the terminal and the report."""
    frozen, live, gain = fares.share(CHAMPION), fares.share(LIVE), fares.gain
    taken = [fares.revenue(arm).sum() / 100.0 for arm in ARMS]
    return [
        (
            "takings, % of the exact optimum's",
            f"{frozen.percent:.1f} % ± {frozen.error:.1f}",
            f"{live.percent:.1f} % ± {live.error:.1f}",
            f"{gain.percent:+.1f} points ± {gain.error:.1f}",
        ),
        ("takings, USD", f"{taken[0]:,.0f}", f"{taken[1]:,.0f}", f"{taken[1] - taken[0]:+,.0f}"),
        ("seats sold", f"{fares.sold(CHAMPION):,}", f"{fares.sold(LIVE):,}", ""),
    ]


def fares_sentence(fares: Fares) -> str:
    """What may be said of it: with the paired standard error, and where it would be otherwise."""
    frozen, live, gain = fares.share(CHAMPION), fares.share(LIVE), fares.gain
    shown = "" if abs(gain.percent) > 1.96 * gain.error else ": no difference shown"
    sentence = (
        f"fares took {live.percent:.1f} % of the exact optimum by learning on, {frozen.percent:.1f} % frozen "
        f"({gain.percent:+.1f} points, paired standard error {gain.error:.1f}{shown})"
    )
    if fares.jump_day is not None:
        return sentence + ", after demand had jumped (where nothing moves and the history is rich, far less)"
    return sentence + ", where nothing moves (after a jump, far more)"
