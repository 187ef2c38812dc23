"""The fares' part of a demo: a booking history becomes an artifact, and travellers ask two services for fares.

One is the demo's own, which learns; the other is a second one on the same artifact that an act has frozen before its
first traveller. The same travellers come to both, at the same dates.
"""

from __future__ import annotations

import json
import queue
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

from simulations.airline_arms import read_moves
from simulations.airline_client import ServiceSeller
from simulations.airline_demo import FLIGHTS_PER_ROUTE, PAST_FLIGHTS_PER_ROUTE, ROUTES, demo_market, write_past_bookings
from simulations.demo_context import MINUTES, Demo, DemoFailed, made
from simulations.fares_results import Fares
from simulations.processes import Child, lines_of


def begin_pricing(demo: Demo, stack: ExitStack) -> Child:
    """`perennial pretrain pricing` on a thin booking history, beside what takes longer."""
    bookings = demo.folder / "bookings.csv"
    rows = write_past_bookings(bookings, demo.results.seed)
    demo.results.facts["booking history"] = f"{rows:,} requests of {ROUTES * PAST_FLIGHTS_PER_ROUTE} flights"
    demo.pricing_artifact = demo.folder / "pricing-artifact"
    arguments = ["-m", "api.command", "pretrain", "pricing", "--bookings", str(bookings)]
    arguments += ["--out", str(demo.pricing_artifact), "--device", "cpu"]
    child = Child("pretrain pricing", arguments, talk=demo.folder / "pretrain-pricing.log")
    stack.callback(child.stop, timeout_s=10.0)
    return child


def await_pricing(demo: Demo, child: Child) -> None:
    """Until the artifact is there; mostly it is, by then."""
    demo.screen.stage("pretrain fares")
    while child.process.poll() is None:
        time.sleep(0.1)
        demo.screen.still(child.last_line())
    child.check()
    demo.results.stages.append(("pretrain fares", demo.screen.done(demo.results.facts["booking history"])))


@dataclass
class Travellers:
    """The travellers, the frozen service that they compare with, and what they said last."""

    demo: Demo
    stack: ExitStack
    frozen: Child
    addresses: queue.Queue[bytes | None]  # of the frozen service, once it is up
    seconds: float
    last: dict[str, Any] = field(default_factory=dict)
    _child: Child | None = None
    _lines: queue.Queue[bytes | None] = field(default_factory=queue.Queue)

    @property
    def _out(self) -> str:
        return str(self.demo.folder / "travellers")

    def look(self) -> dict[str, Any]:
        """Start them once the frozen service is up; what they say now. Never waits."""
        self.frozen.check()
        if self._child is None:
            try:
                line = self.addresses.get_nowait()
            except queue.Empty:
                return self.last
            if line is None:
                raise DemoFailed(f"the frozen service ended before it was ready; see {self.frozen.talk}")
            self._begin(json.loads(line)["url"])
            return self.last
        self._child.check()
        while True:
            try:
                line = self._lines.get_nowait()
            except queue.Empty:
                return self.last
            if line is not None:
                self.last = json.loads(line)

    def _begin(self, frozen_url: str) -> None:
        operator = ServiceSeller(frozen_url)
        operator.act("freeze", "demo: the arm that does not learn")
        operator.close()
        demo = self.demo
        arguments = ["-m", "simulations.travellers", "--url", demo.url, "--frozen-url", frozen_url, "--out", self._out]
        arguments += ["--seed", str(demo.results.seed), "--drift", str(demo.world.drift)]
        arguments += ["--flights-per-route", str(flights_per_route(demo)), "--seconds", f"{self.seconds:.1f}"]
        self._child = Child("travellers", arguments, talk=demo.folder / "travellers.log")
        self.stack.callback(self._child.stop, timeout_s=10.0)
        self._lines = lines_of(self._child)

    @property
    def done(self) -> bool:
        """Whether the last flight has left."""
        return bool(self.last.get("done"))


def begin_travellers(demo: Demo, stack: ExitStack, *, seconds: float) -> Travellers:
    """Start the frozen service; the travellers come as soon as it is up."""
    arguments = ["-m", "api.command", "up", "--json", "--home", str(demo.folder / "home-frozen"), "--port", "0"]
    arguments += ["--artifact", str(made(demo.pricing_artifact)), "--settings", str(demo.folder / "settings.json")]
    frozen = Child("up, frozen", arguments, talk=demo.folder / "up-frozen.log")
    stack.callback(frozen.stop, timeout_s=60.0)
    return Travellers(demo, stack, frozen, lines_of(frozen), seconds)


def end_travellers(demo: Demo, travellers: Travellers) -> None:
    """What both services took; the frozen one is of no use any more."""
    market = demo_market(demo.results.seed, drift=demo.world.drift, flights_per_route=flights_per_route(demo))
    demo.results.fares = Fares.of(market, read_moves(demo.folder / "travellers" / "moves.csv"))
    demo.results.facts["travellers"] = (
        f"{travellers.last['quotes']:,} fares asked for, {travellers.last['disagreed']} disagreements on whether a "
        f"seat was left"
    )
    travellers.frozen.stop(timeout_s=60.0)


def begin_next_season(demo: Demo, stack: ExitStack) -> Child:
    """Other travellers, slowly, on the service that learns alone: so that there are flights to look at."""
    arguments = ["-m", "simulations.travellers", "--url", demo.url, "--out", str(demo.folder / "next-season")]
    arguments += ["--seed", str(demo.results.seed), "--drift", str(demo.world.drift), "--season", "1"]
    child = Child("travellers", [*arguments, "--seconds", "1800"], talk=demo.folder / "travellers.log")
    stack.callback(child.stop, timeout_s=10.0)
    return child


def flights_per_route(demo: Demo) -> int:
    """Fewer where the demo is shorter than usual."""
    return max(3, round(FLIGHTS_PER_ROUTE * min(1.0, demo.minutes / MINUTES)))
