"""How long a fare takes: the quote's computation, an outcome's update, and solving 10,000 flights again. One core.

    python benchmarks/pricing_speed.py [--flights 10000] [--quotes 20000] [--json]

Flights of 20 markets, 60 to 180 seats, up to 60 days ahead, 24 fares, three features; markets remember requests in
every window. Times are of the calls from Python, as a worker and the fold make them.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from online.pricing.arrays import begin_flight, begin_market, begin_pool, pricing_capacity, pricing_views
from online.pricing.arrivals import advance_flight, observe_request
from online.pricing.fare import default_ladder, quote
from online.pricing.features import add_feature, overlay
from online.pricing.layout import CONTEXTS, DAY_MS, FARES_MAX, FEATURES_MAX, PRICING_COLUMNS
from online.pricing.posterior import observe_outcome, roll_market
from online.pricing.program import solve_flight
from online.pricing.settings import Settings
from online.tables import allocate

NOW_MS = 1_800_000_000_000
MARKETS = 20


def quantiles(seconds: list[float]) -> dict[str, float]:
    """Median and 99th percentile in microseconds."""
    return {f"p{q}": round(float(np.quantile(seconds, q / 100.0)) * 1e6, 1) for q in (50, 99)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flights", type=int, default=10_000)
    parser.add_argument("--quotes", type=int, default=20_000)
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    rng = np.random.default_rng(1)
    arrays = allocate(PRICING_COLUMNS, {**pricing_capacity(), "markets": MARKETS, "flights": given.flights})
    begin_pool(arrays)
    p = pricing_views(arrays, Settings())
    for key in (1, 2, 3):
        add_feature(p.features, np.uint64(key))
    ladder = np.zeros(FARES_MAX, np.int32)
    fares = default_ladder(9_900, 49_900, ladder)
    for market in range(MARKETS):
        begin_market(p, market, 22_000.0, market)
        roll_market(p, market, np.uint64(market + 1), np.uint64(1), NOW_MS)
    departs = NOW_MS + (rng.random(given.flights) * 59.0 * DAY_MS).astype(np.int64) + DAY_MS
    for flight in range(given.flights):
        seats = int(rng.integers(60, 181))
        begin_flight(p, flight, flight % MARKETS, int(departs[flight]), seats, seats, ladder, fares)
    request = np.full(FEATURES_MAX, np.nan)
    arrays["markets.context"][...] = rng.random(arrays["markets.context"].shape)
    arrays["markets.contexts"][...] = CONTEXTS
    for _ in range(100):  # features have a scale after so many requests
        flight = int(rng.integers(given.flights))
        request[:3] = rng.random(3)
        observe_request(p, flight % MARKETS, flight, request, NOW_MS + 1)

    solve_flight(p, 0, NOW_MS)
    begun = time.perf_counter()
    for flight in range(given.flights):
        advance_flight(p, flight, NOW_MS + 2)
        solve_flight(p, flight, NOW_MS + 2)
    solved_s = time.perf_counter() - begun

    quote(p, 0, request, NOW_MS + 3, 5, 3 * DAY_MS)
    overlay(p, 0, request)
    observe_outcome(p, 0, 0, 10.0, 20_000.0, 0.0)
    quotes, updates = [], []
    for _ in range(given.quotes):
        flight = int(rng.integers(given.flights))
        request[:3] = rng.random(3)
        begun = time.perf_counter()
        rung, _, _ = quote(p, flight, request, NOW_MS + 3, int(rng.integers(1, 60)), 3 * DAY_MS)
        quotes.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        overlay(p, flight, request)
        observe_outcome(p, flight % MARKETS, flight, 20.0, float(ladder[rung]), float(rng.random() < 0.3))
        updates.append(time.perf_counter() - begun)
    found = {
        "solve_s": round(solved_s, 2),
        "solve_ms_per_flight": round(1e3 * solved_s / given.flights, 3),
        "quote_us": quantiles(quotes),
        "update_us": quantiles(updates),
    }
    if given.json:
        print(json.dumps(found))
        return
    print(f"{given.flights:,} flights solved again in {solved_s:.2f} s: {found['solve_ms_per_flight']} ms each")
    for name in ("quote_us", "update_us"):
        print(f"{name.removesuffix('_us'):8} p50 {found[name]['p50']} µs  p99 {found[name]['p99']} µs")


if __name__ == "__main__":
    main()
