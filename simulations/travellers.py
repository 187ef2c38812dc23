"""Travellers who ask for fares over HTTP alone, and buy or do not, at dates of their own.

    python -m simulations.travellers --url http://127.0.0.1:8080 [--frozen-url URL] --out DIR [--seconds 75]

Flights are put (PUT /v1/flights) when their sale begins, each traveller asks for a fare (POST /v1/quotes, with asked_at
and what is known of the request), and says what became of it; some bookings are cancelled. Four months of the market's
own calendar pass in about a minute. With a second service that does not learn, the same travellers come to both, and
what both took is compared with the exact optimum, which knows the truth.

It is a process of its own and prints one JSON object a second. Into `--out` it writes moves.csv: every quote, every
seat that went or came back, by arm.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import threading
import time
from pathlib import Path
from typing import Any

from simulations.airline_arms import OPTIMUM, Move, Running, Watched, write_moves
from simulations.airline_client import ServiceSeller
from simulations.airline_demo import FLIGHTS_PER_ROUTE, demo_market
from simulations.airline_market import DAY_MS, DAYS, START_MS, Market, play
from simulations.airline_optimum import Optimum
from simulations.measurements import CHAMPION, LIVE


class Arm:
    """One service that sells to everybody who comes, in a thread of its own."""

    def __init__(self, name: str, url: str, market: Market, *, seconds: float, prefix: str) -> None:
        first = START_MS + (min(f.departure_day for f in market.flights) - DAYS) * DAY_MS
        last = START_MS + max(f.departure_day for f in market.flights) * DAY_MS
        began = time.monotonic()
        self.service = ServiceSeller(url, name=prefix)
        self.seller = Watched(
            name, self.service, wall_s=lambda at_ms: began + seconds * (at_ms - first) / (last - first)
        )
        self.market = market
        self.problem: Exception | None = None
        self.thread = threading.Thread(target=self._play, daemon=True)
        self.thread.start()

    def _play(self) -> None:
        try:
            play(self.market, self.seller)
        except Exception as error:  # told where the process ends: a thread's end is nobody's news
            self.problem = error
        finally:
            self.service.close()

    def taken(self) -> int:
        """In cents, so far."""
        return sum(move.fare_cents for move in self.seller.moves[:] if move.seats > 0)


def best_moves(market: Market) -> list[Move]:
    """What the optimum does with the same customers; it needs no service."""
    best = Watched(OPTIMUM, Optimum())
    play(market, best)
    return best.moves


def figures(arms: list[Arm], running: Running, market: Market, began: float) -> dict[str, Any]:
    """How it stands, for whoever watches."""
    first = min(f.departure_day for f in market.flights) - DAYS
    last = max(f.departure_day for f in market.flights)
    clock_ms = min(arm.seller.clock_ms for arm in arms)
    day = max(0.0, (clock_ms - START_MS) / DAY_MS - first) if clock_ms else 0.0
    shares = {}
    for arm in arms:
        percent = running.percent(arm.taken(), arm.seller.clock_ms) if arm.seller.clock_ms else math.nan
        shares[arm.seller.arm] = None if math.isnan(percent) else round(percent, 2)
    return {
        "wall_s": round(time.monotonic() - began, 1),
        "day": round(day, 1),
        "days": last - first,
        "jump_day": market.drift_day - first if market.drift != "none" else None,
        "flights": len(market.flights),
        "arms": shares,
        "quotes": sum(sum(arm.service.sources.values()) for arm in arms),
        "disagreed": sum(arm.service.disagreed for arm in arms),
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m simulations.travellers", description=__doc__.split("\n")[0])
    parser.add_argument("--url", required=True, help="the service that learns")
    parser.add_argument("--frozen-url", default=None, help="one on the same artifact that does not")
    parser.add_argument("--out", type=Path, required=True, help="folder for what was measured")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--drift", type=float, default=1.0, help="0: demand does not move")
    parser.add_argument("--flights-per-route", type=int, default=FLIGHTS_PER_ROUTE)
    parser.add_argument("--season", type=int, default=0, help="later ones begin when the ones before are over")
    parser.add_argument("--seconds", type=float, default=75.0, help="for the whole calendar; longer where need be")
    parser.add_argument("--run", default="", help="first part of flight ids; another one for another run")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)

    def market() -> Market:  # each arm its own copy: the same flights, the same customers
        return demo_market(
            options.seed, drift=options.drift, flights_per_route=options.flights_per_route, season=options.season
        )

    optimum = best_moves(market())
    running, began = Running(optimum), time.monotonic()
    urls = {LIVE: options.url} | ({CHAMPION: options.frozen_url} if options.frozen_url else {})
    arms = [Arm(name, url, market(), seconds=options.seconds, prefix=options.run) for name, url in urls.items()]
    while any(arm.thread.is_alive() for arm in arms):
        time.sleep(1.0)
        print(json.dumps(figures(arms, running, arms[0].market, began)), flush=True)
        for arm in arms:
            if arm.problem is not None:
                print(f"travellers: {arm.seller.arm}: {arm.problem}", file=sys.stderr)
                return 1
    write_moves(options.out / "moves.csv", [*optimum, *(move for arm in arms for move in arm.seller.moves)])
    print(json.dumps(figures(arms, running, arms[0].market, began) | {"done": True}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
