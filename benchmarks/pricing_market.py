"""Takings on a simulated airline market, as a share of the optimum that knows the truth; the same customers for all.

    python benchmarks/pricing_market.py [--flights 160] [--seeds 1] [--cases rich,jump,few,none] [--json]

rich: a booking log of 240 flights, no drift. jump: the same log; in mid-calendar everybody would pay a third more or
less, and as many more or fewer ask. few: a log of 20 flights on half of the routes. none: no log. Also boom and trend.
Routes and seeds are others than those that settings were chosen on (101 to 106). s.e. is of the difference to the
optimum, flight by flight; "later" are the flights that leave 30 days after mid-calendar or later, by_market each route.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from online.artifact import Artifact
from simulations.airline_driver import KernelSeller
from simulations.airline_history import past, write_bookings
from simulations.airline_market import DAYS, Market, Route, Seller, draw_market, draw_routes, play
from simulations.airline_optimum import Optimum, fluid_bound_cents
from simulations.airline_sellers import Emsr, Rule, best_fixed, by_route, tuned_rule

ROUTES = 8
FIRST_SEED = 1
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
    return pretrain_pricing(file, folder / f"artifact-{seed}-{flights}", device="cpu", quiet=True)


def standard_error(revenue: np.ndarray, optimum: np.ndarray) -> float:
    """Of the share in %, by flights."""
    share = revenue.sum() / optimum.sum()
    return float(100.0 * np.sqrt(((revenue - share * optimum) ** 2).sum()) / optimum.sum())


@cache
def practised(seed: int) -> tuple[Rule, Rule]:
    """The rule ladder and the fixed fares, tuned on 80 other flights of the same routes, without drift."""
    routes = draw_routes(ROUTES, seed)
    first = DAYS + 1
    practice = draw_market(
        routes=routes, flights_per_route=10, seed=seed + 2_000, first_departure_day=first, calendar_days=100
    )
    return tuned_rule(practice, seed=seed), best_fixed(practice)


def sellers(case: str, routes: list[Route], seed: int, folder: Path, *, baselines: bool) -> dict[str, Seller]:
    """Everybody who sells in a case."""
    _, flights = CASES[case]
    artifact = trained(routes, flights, seed, folder)
    found: dict[str, Seller] = {
        "frozen": KernelSeller(artifact, learns=False, seed=seed),
        "continued": KernelSeller(artifact, seed=seed),
    }
    if baselines:
        rule, fixed = practised(seed)
        found |= {
            "EMSRb, true demand": Emsr(marginal=False),
            "EMSRb-MR, true demand": Emsr(marginal=True),
            "tuned rule": rule,
            "best fixed fare": fixed,
        }
    return found


def run(case: str, *, flights: int, seeds: int, baselines: bool) -> dict[str, object]:
    """One case over all seeds."""
    revenue: dict[str, list[np.ndarray]] = {}
    optima, expected, bound = [], 0.0, 0.0
    markets: dict[str, list[float]] = {}
    after: list[np.ndarray] = []
    for seed in range(FIRST_SEED, FIRST_SEED + seeds):
        routes = draw_routes(ROUTES, seed)
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
            for name, seller in sellers(case, routes, seed, Path(folder), baselines=baselines).items():
                took = play(market, seller).revenue_cents
                revenue.setdefault(name, []).append(took)
                shares = 100.0 * by_route(market, took) / by_route(market, optimum)
                markets.setdefault(name, []).extend(round(float(s), 1) for s in shares)
    whole, late = np.concatenate(optima).astype(float), np.concatenate(after)
    table = {}
    for name, parts in revenue.items():
        took = np.concatenate(parts).astype(float)
        table[name] = {
            "share": round(float(100.0 * took.sum() / whole.sum()), 2),
            "se": round(standard_error(took, whole), 2),
            "later": round(float(100.0 * took[late].sum() / whole[late].sum()), 2),
            "by_market": markets[name],
        }
    live, still = (np.concatenate(revenue[n]).astype(float) for n in ("continued", "frozen"))
    gain = (live - still) / whole.sum() * 100.0
    return {
        "case": case,
        "flights": len(whole),
        "optimum_took": int(whole.sum()),
        "optimum_expected": round(expected),
        "fluid_bound": round(100.0 * bound / expected, 2),
        "gain": round(float(gain.sum()), 2),
        "gain_se": round(float(np.sqrt(((gain - gain.mean()) ** 2).sum())), 2),
        "sellers": table,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flights", type=int, default=160, help="per seed")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cases", default="rich,jump,few,none")
    parser.add_argument("--no-baselines", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    results = []
    for case in given.cases.split(","):
        begun = time.monotonic()
        found = run(case, flights=given.flights, seeds=given.seeds, baselines=not given.no_baselines)
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
            print(f"  continued - frozen: {found['gain']:+.2f} ± {found['gain_se']:.2f} points", flush=True)
    if given.json:
        print(json.dumps(results))


if __name__ == "__main__":
    main()
