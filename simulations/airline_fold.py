"""Plays `airline_market` against the service's own fold and decide in one process: the same records in the same order.

What a service adds on its way over HTTP is time: while nobody asks, its learner appends ticks, at which waiting flights
are solved, and an answer may be decided before or after one of them. Given where they stand in a service's log, this
seller quotes what that service quoted, fare by fare; without, it is a service that is never idle.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np

from online.archive import open_log
from online.artifact import Artifact
from online.fold import Fold
from online.pricing.quote import FareDecider, Request, RulesInForce, recorded
from online.pricing.records import BOOKED, DECLINED, Cancellation, FlightUpsert, Quote, QuoteOutcome, Tick
from online.records import Act, Begin, Record, decode
from online.settings import Settings, settings_text
from online.state import State
from simulations.airline_market import Market


class Pace:
    """What a service's log says of its own pace: its ticks by position, and from which state each quote was decided."""

    def __init__(self, ticks: Mapping[int, int], read_positions: Iterable[int]) -> None:
        self.ticks = dict(ticks)
        self.read_positions = deque(read_positions)

    @classmethod
    def of(cls, log_url: str, home: Path) -> Pace:
        """Read from a service's log."""
        reader = open_log(log_url, home)
        ticks, read_positions, place = {}, [], 0
        try:
            while entries := reader.read(place, 1_024, 0):
                for position, payload in entries:
                    record = decode(payload)
                    if isinstance(record, Tick):
                        ticks[position] = record.flights
                    elif isinstance(record, Quote):
                        read_positions.append(record.read_position)
                    place = position
        finally:
            reader.close()
        return cls(ticks, read_positions)


class FoldSeller:
    """A seller whose fares come out of a fold, record by record. learns: False freezes it by an act, at once.

    What it tells of flights and requests is its class's to say, for sellers that tell less.
    """

    flight_features = frozenset({"peak"})
    request_features = frozenset({"saturday_stay", "competitor_fare"})
    ladder = True  # filed; else any fare of the band
    client = ""  # whose key the records carry

    def __init__(self, artifact: Artifact | None, *, seed: int, learns: bool = True, pace: Pace | None = None) -> None:
        self.settings = Settings(seed=seed)
        self.state = State(self.settings, None, pricing=artifact)
        self.fares: list[int] = []
        self._artifact_id = artifact.id if artifact else ""
        self._pace = pace or Pace({}, ())
        self._fold = Fold(self.state)
        self._decider = FareDecider(self.settings.pricing)
        self._quote_of: dict[int, str] = {}
        self._booked: dict[int, list[str]] = {}
        self._append(Begin(1, "", seed, settings_text(self.settings), 0, self._artifact_id))
        if not learns:
            self._append(Act(act="freeze", reason="a seller that does not learn", received_ms=0))

    def _ticks(self, until: int) -> None:
        """Those that stand next in the service's log, up to a position."""
        while (position := self.state.position + 1) <= until and position in self._pace.ticks:
            self._fold.entries([(position, Tick(0, self._pace.ticks[position]))])

    def _append(self, record: Record) -> None:
        self._ticks(self.state.position + len(self._pace.ticks))
        self._fold.entries([(self.state.position + 1, record)])

    def forget(self) -> None:
        """Which flights are whose: another market is played next."""
        self._quote_of.clear()
        self._booked.clear()

    def open(self, market: Market, flight: int) -> None:
        self._market = market
        f = market.flights[flight]
        route = market.routes[f.route]
        ladder = tuple(int(fare) for fare in route.ladder_cents)
        self._append(
            FlightUpsert(
                flight_id=f.flight_id,
                received_ms=0,
                market=route.market,
                departs_ms=f.departs_ms,
                capacity=route.capacity,
                currency="USD",
                floor_cents=ladder[0],
                ceiling_cents=ladder[-1],
                ladder_cents=ladder if self.ladder else (),
                features=dict.fromkeys(sorted(self.flight_features), f.peak),
            )
        )

    def quote(self, flight: int, at_ms: int, features: dict[str, float], seats_left: int) -> int | None:
        if self._pace.read_positions:
            self._ticks(self._pace.read_positions.popleft())
        given = {name: value for name, value in features.items() if name in self.request_features}
        flight_id, views = self._market.flights[flight].flight_id, self.state.views
        rules = RulesInForce().of(views.selling)
        found = self._decider.decide(views.pricing, views.selling, rules, Request(flight_id, at_ms, given))
        quote_id = f"quote-{len(self.fares)}"
        self._append(
            recorded(
                found,
                quote_id=quote_id,
                flight_id=flight_id,
                at_ms=at_ms,
                received_ms=0,
                read_position=self.state.position,
                features=given,
                hold_s=0,
                ttl_s=self.settings.pricing.quote_ttl_s,
                artifact_id=self._artifact_id,
                staleness_ms=0,
                client=self.client,
            )
        )
        self._quote_of[flight] = quote_id
        fare = max(0, found.fare_cents)
        self.fares.append(fare)
        return fare or None

    def outcome(self, flight: int, at_ms: int, booked: bool) -> None:
        quote_id, flight_id = self._quote_of[flight], self._market.flights[flight].flight_id
        self._append(QuoteOutcome(quote_id, flight_id, BOOKED if booked else DECLINED, at_ms, 0, self.client))
        if booked:
            self._booked.setdefault(flight, []).append(quote_id)

    def cancelled(self, flight: int, at_ms: int) -> None:
        quote_id = self._booked[flight].pop()
        self._append(Cancellation(quote_id, self._market.flights[flight].flight_id, at_ms, 0, self.client))


def alike(one: list[int], other: list[int]) -> int:
    """How many fares of two sellers are the same, request by request."""
    return int(np.count_nonzero(np.array(one) == np.array(other)))
