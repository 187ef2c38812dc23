"""Takings on a simulated airline market, as a share of the optimum that knows the truth; the same customers for all.

    python benchmarks/pricing_market.py [--flights 160] [--first-seed 1] [--seeds 1] [--cases rich,jump] [--json]
    python benchmarks/pricing_market.py --over-http [--flights 160] …
    python benchmarks/pricing_market.py --fold [--flights 160] …
    python benchmarks/pricing_market.py --seats 0.3 [--flights 160] …

rich: a booking log of 240 flights, no drift. jump: the same log; in mid-calendar everybody would pay a third more or
less, and as many more or fewer ask. few: a log of 20 flights on half of the routes. none: no log. Also boom and trend.
Routes and seeds are others than those that settings were chosen on (101 to 106). s.e. is of the difference to the
optimum, flight by flight. --over-http: the same customers come to two real services, `perennial up` on the same
artifact, one of which an act has frozen; each fare is held against that of the same fold in one process. --fold: that
fold alone, without a service. "later" are the flights that leave 30 days after mid-calendar or later, by_market each
route. "arrivals alone" learns how many ask, flight by flight, and nothing of what they would pay. --seats: so much of
each route's seats, in its past as well, which is sold out all the sooner.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from online.artifact import Artifact
from simulations.airline_arms import gain_over, share_of_optimum
from simulations.airline_client import ServiceSeller
from simulations.airline_driver import KernelSeller
from simulations.airline_fold import FoldSeller, Pace, alike
from simulations.airline_history import past, write_bookings
from simulations.airline_market import DAYS, Market, Route, Seller, draw_market, draw_routes, play
from simulations.airline_optimum import Optimum, fluid_bound_cents
from simulations.airline_sellers import Emsr, Rule, best_fixed, by_route, tuned_rule
from simulations.airline_service import service

ROUTES = 8
CASES = {
    "rich": ("none", 240),
    "jump": ("jump", 240),
    "boom": ("boom", 240),
    "trend": ("trend", 240),
    "few": ("none", 20),
    "none": ("none", 0),
}


def trained(routes: list[Route], flights: int, seed: int, folder: Path) -> Artifact:
    """What the batch job makes of a past of so many flights, which ended before anybody sells here."""
    from batch.pricing.train import pretrain_pricing

    file = folder / f"bookings-{seed}-{flights}.csv"
    there = routes if flights > 20 else routes[: len(routes) // 2]
    days = 200 if flights > 20 else 100
    market = draw_market(
        routes=there,
        flights_per_route=max(flights // len(there), 1),
        seed=seed + 1_000,
        first_departure_day=-days,
        calendar_days=days,
    )
    rows = write_bookings(file, market, past(market, seed)) if flights else file.write_text("")
    print(f"  a log of {rows:,} requests of {flights} flights", file=sys.stderr)
    return pretrain_pricing(file, folder / f"artifact-{seed}", device="cpu", quiet=True)


def drawn(seed: int, seats: float) -> list[Route]:
    """The routes of a seed, with so much of their seats."""
    return [replace(route, capacity=max(1, int(route.capacity * seats))) for route in draw_routes(ROUTES, seed)]


@cache
def practised(seed: int, seats: float) -> tuple[Rule, Rule]:
    """The rule ladder and the fixed fares, tuned on 80 other flights of the same routes, without drift."""
    routes = drawn(seed, seats)
    first = DAYS + 1
    practice = draw_market(
        routes=routes, flights_per_route=10, seed=seed + 2_000, first_departure_day=first, calendar_days=100
    )
    return tuned_rule(practice, seed=seed), best_fixed(practice)


def sellers(artifact: Artifact, seed: int, seats: float, *, baselines: bool) -> dict[str, Seller]:
    """Everybody who sells in a case."""
    found: dict[str, Seller] = {
        "frozen": KernelSeller(artifact, learns=False, seed=seed),
        "arrivals alone": KernelSeller(artifact, demand=False, seed=seed),
        "continued": KernelSeller(artifact, seed=seed),
    }
    if baselines:
        rule, fixed = practised(seed, seats)
        found |= {
            "EMSRb, true demand": Emsr(marginal=False),
            "EMSRb-MR, true demand": Emsr(marginal=True),
            "tuned rule": rule,
            "best fixed fare": fixed,
        }
    return found


def over_http(
    market: Market, artifact: Artifact, seed: int, folder: Path, *, learns: bool
) -> tuple[np.ndarray, np.ndarray, str]:
    """Takings through a service, takings of the same fold in this process, and how the two agree."""
    begun = time.monotonic()
    made = folder / f"artifact-{seed}"
    with service(folder / f"service-{learns}", artifact=made, seed=seed, learns=learns) as address:
        seller = ServiceSeller(address.url, in_order=True)
        took = play(market, seller).revenue_cents
        seller.close()
        pace = Pace.of(address.log_url, address.home)
    seconds = time.monotonic() - begun
    inside = FoldSeller(artifact, seed=seed, learns=learns, pace=pace)
    again = play(market, inside).revenue_cents
    told = (
        f"{alike(seller.fares, inside.fares):,} of {len(seller.fares):,} fares over HTTP are those of the fold in one "
        f"process; {len(pace.ticks)} ticks, {seller.disagreed} disagreements on seats, {seconds:.0f} s"
    )
    return took, again, told


def run(
    case: str, *, flights: int, seeds: range, baselines: bool, http: bool, fold: bool = False, seats: float = 1.0
) -> dict[str, object]:
    """One case over all seeds."""
    agreement: list[str] = []
    revenue: dict[str, list[np.ndarray]] = {}
    optima, expected, bound = [], 0.0, 0.0
    markets: dict[str, list[float]] = {}
    after: list[np.ndarray] = []
    for seed in seeds:
        routes = drawn(seed, seats)
        market: Market = draw_market(
            routes=routes, flights_per_route=flights // ROUTES, seed=seed, drift=CASES[case][0]
        )
        best = Optimum()
        optimum = play(market, best).revenue_cents
        optima.append(optimum)
        after.append(np.array([f.departure_day > market.drift_day + 30 for f in market.flights]))
        expected += sum(best.expected_cents.values())
        bound += sum(
            fluid_bound_cents(market.truth(n), routes[f.route].ladder_cents, routes[f.route].capacity)
            for n, f in enumerate(market.flights)
        )
        with tempfile.TemporaryDirectory() as folder:
            artifact = trained(routes, CASES[case][1], seed, Path(folder))
            found = sellers(artifact, seed, seats, baselines=baselines)
            taken = {name: play(market, seller).revenue_cents for name, seller in found.items()}
            for name, learns in (("frozen", False), ("continued", True)) if fold else ():
                alone = FoldSeller(artifact, seed=seed, learns=learns)
                taken[f"{name}, in the fold"] = play(market, alone).revenue_cents
            for name, learns in (("frozen", False), ("continued", True)) if http else ():
                took, again, told = over_http(market, artifact, seed, Path(folder), learns=learns)
                taken |= {f"{name}, over HTTP": took, f"{name}, same fold": again}
                agreement.append(f"seed {seed}, {name}: {told}")
            for name, took in taken.items():
                revenue.setdefault(name, []).append(took)
                shares = 100.0 * by_route(market, took) / by_route(market, optimum)
                markets.setdefault(name, []).extend(round(float(s), 1) for s in shares)
    whole, late = np.concatenate(optima).astype(float), np.concatenate(after)
    table = {}
    for name, parts in revenue.items():
        took = np.concatenate(parts).astype(float)
        share = share_of_optimum(took, whole)
        table[name] = {
            "share": round(share.percent, 2),
            "se": round(share.error, 2),
            "later": round(float(100.0 * took[late].sum() / whole[late].sum()), 2),
            "by_market": markets[name],
        }
    gains = {}
    for name in (
        found for found in revenue if found in ("continued", "continued, over HTTP", "continued, in the fold")
    ):
        live, still = (np.concatenate(revenue[n]).astype(float) for n in (name, name.replace("continued", "frozen")))
        gain = gain_over(live, still, whole)
        gains[name] = {"points": round(gain.percent, 2), "se": round(gain.error, 2)}
    return {
        "case": case,
        "flights": len(whole),
        "optimum_took": int(whole.sum()),
        "optimum_expected": round(expected),
        "fluid_bound": round(100.0 * bound / expected, 2),
        "gain": gains["continued"]["points"],
        "gain_se": gains["continued"]["se"],
        "gains": gains,
        "sellers": table,
        "agreement": agreement,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flights", type=int, default=160, help="per seed")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--cases", default="rich,jump,few,none")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--over-http", action="store_true", help="play two real services too")
    parser.add_argument("--fold", action="store_true", help="sell through the service's fold in this process too")
    parser.add_argument("--seats", type=float, default=1.0, help="of a route's own number, for every route")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = []
    for case in given.cases.split(","):
        begun = time.monotonic()
        seeds = range(given.first_seed, given.first_seed + given.seeds)
        found = run(
            case,
            flights=given.flights,
            seeds=seeds,
            baselines=not given.no_baselines,
            http=given.over_http,
            fold=given.fold,
            seats=given.seats,
        )
        results.append(found)
        if not given.json:
            print(
                f"{case}: {found['flights']} flights; the optimum expected {found['optimum_expected'] / 100:,.0f} "
                f"and took {found['optimum_took'] / 100:,.0f}; fluid bound {found['fluid_bound']} % "
                f"({time.monotonic() - begun:.0f} s)"
            )
            for name, row in found["sellers"].items():
                share = f"{row['share']:7.2f} % ± {row['se']:.2f}"
                print(f"  {name:24}{share}   later {row['later']:.2f}   {row['by_market']}")
            for name, gain in found["gains"].items():
                print(f"  {name} - frozen: {gain['points']:+.2f} ± {gain['se']:.2f} points")
            for told in found["agreement"]:
                print(f"  {told}")
            sys.stdout.flush()
    if given.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
