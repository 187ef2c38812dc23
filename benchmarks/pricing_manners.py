"""The simulated market played in other manners than ours, through the service's fold and decide in one process.

    python benchmarks/pricing_manners.py [--flights 160] [--seed 1] [--case rich] [--manners plain,late] [--json]

Who plays a market may tell less, or tell it later, or play dates in another order. Each manner sells the same flights
to the same customers; what it takes is a share of the optimum's, and its difference to the plain manner is paired,
flight by flight. `benchmarks/pricing_market.py --over-http` shows that the fares are those of the service over HTTP.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.pricing_market import CASES, ROUTES, trained
from online.pricing.records import BOOKED, DECLINED, QuoteOutcome
from online.records import Act
from simulations.airline_arms import gain_over, share_of_optimum
from simulations.airline_fold import FoldSeller
from simulations.airline_market import DAY_MS, Market, draw_market, draw_routes, play
from simulations.airline_optimum import Optimum

TOLD_AFTER_MS = 50  # an outcome that is told late happened so long after its question


class Bare(FoldSeller):
    """Says nothing about flights, and nothing about requests."""

    flight_features = request_features = frozenset[str]()


class PeakAsked(FoldSeller):
    """Tells of a flight's peak with every request, not with the flight."""

    flight_features = frozenset[str]()
    request_features = FoldSeller.flight_features | FoldSeller.request_features


class Band(FoldSeller):
    """Files a floor and a ceiling, and no ladder: any whole cent may be quoted."""

    ladder = False


class Unasked(FoldSeller):
    """Nobody asks for a flight that is sold out."""

    def quote(self, flight: int, at_ms: int, features: dict[str, float], seats_left: int) -> int | None:
        return super().quote(flight, at_ms, features, seats_left) if seats_left > 0 else None


class BookingsOnly(FoldSeller):
    """Never says that somebody declined."""

    def outcome(self, flight: int, at_ms: int, booked: bool) -> None:
        if booked:
            super().outcome(flight, at_ms, booked)


class Late(Unasked):
    """Tells of a day's outcomes when the next day begins."""

    def __init__(self, *arguments: object, **named: object) -> None:
        super().__init__(*arguments, **named)  # type: ignore[arg-type]
        self._told: list[QuoteOutcome] = []
        self._day = 0

    def quote(self, flight: int, at_ms: int, features: dict[str, float], seats_left: int) -> int | None:
        if at_ms // DAY_MS != self._day:
            self._tell(at_ms)
        return super().quote(flight, at_ms, features, seats_left)

    def _tell(self, at_ms: int) -> None:
        self._day = at_ms // DAY_MS
        for record in self._told:
            self._append(record)
        self._told.clear()

    def outcome(self, flight: int, at_ms: int, booked: bool) -> None:
        quote_id, flight_id = self._quote_of[flight], self._market.flights[flight].flight_id
        said = BOOKED if booked else DECLINED
        self._told.append(QuoteOutcome(quote_id, flight_id, said, at_ms + TOLD_AFTER_MS, 0))
        if booked:
            self._booked.setdefault(flight, []).append(quote_id)

    def cancelled(self, flight: int, at_ms: int) -> None:
        self._tell(at_ms)
        super().cancelled(flight, at_ms)


class Agencies(FoldSeller):
    """Twenty keys ask, each as often as another."""

    shares: tuple[float, ...] = (0.05,) * 20

    def quote(self, flight: int, at_ms: int, features: dict[str, float], seats_left: int) -> int | None:
        drawn = np.random.default_rng([3, flight, at_ms // 1_000]).random()
        self.client = f"agency-{int(np.searchsorted(np.cumsum(self.shares)[:-1], drawn))}"
        return super().quote(flight, at_ms, features, seats_left)


class Shop(Agencies):
    """Nine of ten questions come through one key, the others through ten."""

    shares = (0.9, *(0.01,) * 10)


def whole(market: Market, seller: FoldSeller) -> np.ndarray:
    """All flights in time order."""
    return play(market, seller).revenue_cents


def filed_at_once(market: Market, seller: FoldSeller) -> np.ndarray:
    """All flights are put before anybody asks."""

    class Filed:
        def open(self, market: Market, flight: int) -> None: ...

        def __getattr__(self, name: str) -> object:
            return getattr(seller, name)

    for flight in range(len(market.flights)):
        seller.open(market, flight)
    return play(market, Filed()).revenue_cents  # type: ignore[arg-type]


def one_by_one(market: Market, seller: FoldSeller) -> np.ndarray:
    """Each flight's whole sale before the next one's, the first to leave foremost."""
    took = np.zeros(len(market.flights), np.int64)
    for number in np.argsort([f.departure_day for f in market.flights], kind="stable"):
        alone = replace(market, flights=[market.flights[number]], truths={})
        seller.forget()
        took[number] = play(alone, seller).revenue_cents[0]
    return took


def again(market: Market, seller: FoldSeller) -> np.ndarray:
    """The whole season frozen, and then the same dates once more under other flights' ids, learning."""
    seller._append(Act(act="freeze", reason="a season that teaches nothing", received_ms=0))
    play(market, seller)
    seller._append(Act(act="resume", reason="the same dates again", received_ms=0))
    seller.forget()
    flights = [replace(flight, flight_id=f"again-{flight.flight_id}") for flight in market.flights]
    return play(replace(market, flights=flights, truths={}), seller).revenue_cents


Manner = tuple[type[FoldSeller], Callable[[Market, FoldSeller], np.ndarray], str]
MANNERS: dict[str, Manner] = {
    "plain": (FoldSeller, whole, "as our own benchmark does"),
    "bare": (Bare, whole, "no features at all"),
    "peak_asked": (PeakAsked, whole, "a flight's own feature told with requests only"),
    "band": (Band, whole, "floor and ceiling, no filed ladder"),
    "unasked": (Unasked, whole, "nobody asks for sold-out flights"),
    "bookings": (BookingsOnly, whole, "bookings told, nothing declined"),
    "late": (Late, whole, "outcomes told a day late"),
    "agencies": (Agencies, whole, "twenty keys, each as often"),
    "shop": (Shop, whole, "nine of ten questions through one key of eleven"),
    "filed_at_once": (FoldSeller, filed_at_once, "all flights put at the beginning"),
    "one_by_one": (FoldSeller, one_by_one, "one flight's whole sale after the other"),
    "again": (FoldSeller, again, "the same dates a second time"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flights", type=int, default=160)
    parser.add_argument("--routes", type=int, default=ROUTES)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--case", choices=sorted(CASES), default="rich")
    parser.add_argument("--cents", type=float, default=1.0, help="multiply all fares: another currency")
    parser.add_argument("--manners", default=",".join(MANNERS))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    routes = [
        replace(
            route,
            reference_cents=route.reference_cents * given.cents,
            ladder_cents=np.round(route.ladder_cents * given.cents).astype(np.int64),
        )
        for route in draw_routes(given.routes, given.seed)
    ]
    drift, history = CASES[given.case]
    market = draw_market(routes=routes, flights_per_route=given.flights // given.routes, seed=given.seed, drift=drift)
    best = play(market, Optimum()).revenue_cents.astype(float)
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        artifact = trained(routes, history, given.seed, Path(folder))
    plain: np.ndarray | None = None
    for name in dict.fromkeys(["plain", *given.manners.split(",")]):
        make, playing, what = MANNERS[name]
        took = playing(replace(market, truths={}), make(artifact, seed=given.seed)).astype(float)
        plain = took if plain is None else plain
        share, apart = share_of_optimum(took, best), gain_over(took, plain, best)
        found[name] = {
            "share": round(share.percent, 2),
            "se": round(share.error, 2),
            "to_plain": round(apart.percent, 2),
            "to_plain_se": round(apart.error, 2),
        }
        if not given.json:
            print(
                f"{given.case} {name:14}{share.percent:7.2f} % ± {share.error:.2f}   to plain {apart.percent:+6.2f} "
                f"± {apart.error:.2f}   {what}",
                flush=True,
            )
    if given.json:
        print(json.dumps({"case": given.case, "flights": len(market.flights), "manners": found}))


if __name__ == "__main__":
    main()
