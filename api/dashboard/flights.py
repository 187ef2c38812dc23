"""*Flights*: what is for sale, what came of it, what the model expects, and which rules move its fares."""

import asyncio
import math
from html import escape
from typing import Any
from urllib.parse import quote

from api.dashboard.decisions import address_of
from api.dashboard.drawing import Line, figure
from api.dashboard.tables import Link, Table
from api.problems import Problem
from api.service import Service
from api.values import rfc3339
from online import records
from online.log import LogReader
from online.pricing.live import FlightUnknown
from online.pricing.outlook import FlightSeen
from online.pricing.records import SOURCES, Quote
from online.pricing.rules import Rule

PAGE = 100
QUOTES = 50
_CURVE_POINTS_MAX = 120  # quotes of a flight that are looked up in the log for its booking curve


def flight_address(flight_id: str) -> str:
    """Where a flight is shown."""
    return f"/dashboard/flight?id={quote(flight_id, safe='')}"


def money(cents: float) -> str:
    """A fare as people write it; the currency stands beside it."""
    return f"{cents / 100:,.2f}"


def flights(service: Service, text: str, offset: int) -> Table:
    """PAGE flights from `offset` on."""
    who = ("flight", "market", "departs", "days left")
    columns = (*who, "capacity", "booked", "held", "last fare", "currency", "requests", "expected takings")
    model = service.model_if_ready
    found, count = ([], 0) if model is None else model.pricing.flights(text.strip(), offset, PAGE)
    rows: list[Any] = [
        (
            Link(one.flight_id, flight_address(one.flight_id)),
            one.market,
            rfc3339(one.departs_ms),
            round(max(0.0, (one.departs_ms - one.clock_ms) / 86_400_000), 1) if one.clock_ms else None,
            one.capacity,
            one.booked,
            one.held,
            one.fare_cents / 100 if one.fare_cents else None,
            one.currency,
            int(one.requests),
            round(one.value_cents / 100) if one.clock_ms < one.departs_ms and one.value_cents > 0.0 else None,
        )
        for one in found
    ]
    caption = f"{count:,} flights, those on sale first, the next to leave foremost"
    query = {"q": text, "offset": str(offset) if offset else ""}
    return Table(name="flights", caption=caption, columns=columns, rows=rows, query=query, empty="no such flight")


async def quotes(service: Service) -> Table:
    """The newest quotes of all flights."""
    columns = ("position", "asked at", "flight", "fare", "bid price", "seats left", "named by", "rules", "quote")
    model = service.model_if_ready
    positions = [] if model is None else model.pricing.newest_quotes(QUOTES)
    rows: list[Any] = []
    for position, one in await _records(service, positions):
        moved = ", ".join(step.rule for step in one.because[1:])
        rows.append(
            (
                position,
                rfc3339(one.at_ms),
                Link(one.flight_id, flight_address(one.flight_id)),
                one.fare_cents / 100 if one.fare_cents >= 0 else None,
                round(one.bid_price_cents / 100, 2) if one.fare_cents >= 0 else None,
                one.seats_left,
                SOURCES[one.source],
                moved,
                Link(one.quote_id, address_of(one.quote_id)),
            )
        )
    return Table(name="quotes", caption="Fares, newest first", columns=columns, rows=rows)


def rules(service: Service, flight_id: str = "", market: str = "") -> Table:
    """The rules in force; of a flight, those that are about it."""
    columns = ("rule", "kind", "for", "from", "until", "what", "author", "reason")
    model = service.model_if_ready
    known = () if model is None else model.pricing.rules().rules
    chosen = [
        rule
        for rule in known
        if not flight_id or (rule.flight_id in (None, flight_id) and rule.market in (None, market))
    ]
    rows: list[Any] = [
        (
            rule.rule_id,
            rule.kind,
            rule.flight_id or rule.market or "all flights",
            None if rule.from_ms is None else rfc3339(rule.from_ms),
            None if rule.until_ms is None else rfc3339(rule.until_ms),
            _what(rule),
            rule.author,
            rule.reason,
        )
        for rule in chosen
    ]
    caption = "Overrides and other rules" + (" that are about this flight" if flight_id else " for fares")
    query = {"id": flight_id}
    return Table(name="fare-rules", caption=caption, columns=columns, rows=rows, query=query, empty="none in force")


def _what(rule: Rule) -> str:
    said = []
    if rule.fare_cents is not None:
        said.append(money(rule.fare_cents))
    if rule.ladder_cents:
        said.append(f"{len(rule.ladder_cents)} fares, {money(rule.ladder_cents[0])} to {money(rule.ladder_cents[-1])}")
    if rule.multiple_cents is not None:
        said.append(f"multiples of {money(rule.multiple_cents)} plus {money(rule.ending_cents)}")
    if rule.most_cents is not None:
        said.append(f"{money(rule.most_cents)} a day at most")
    if rule.most_percent is not None:
        said.append(f"{rule.most_percent:g} % a day at most")
    if rule.days_before is not None:
        said.append(f"but {rule.days_before} days before departure")
    if rule.feature is not None and rule.at_least is not None:
        said.append(f"but with {rule.feature} of {rule.at_least:g} or more")
    return ", ".join(said)


class Flight:
    """One flight: its state, and its quotes as they stand in the log. Made by `flight`."""

    def __init__(self, flight_id: str, seen: FlightSeen, curve: list[tuple[int, Quote]], rules_: Table) -> None:
        self.flight_id, self.seen, self.rules = flight_id, seen, rules_
        self.curve = [one for _, one in curve]

    def outlook(self) -> Table:
        """The booking curve so far, and what is expected until departure."""
        columns = ("at", "days before departure", "what", "seats booked or held", "fare")
        seen = self.seen
        rows: list[Any] = [
            (
                rfc3339(one.at_ms),
                _days(seen, one.at_ms),
                "quoted",
                float(seen.capacity - one.seats_left),
                None if one.fare_cents < 0 else one.fare_cents / 100,
            )
            for one in self.curve
        ]
        rows += [
            (
                rfc3339(one.at_ms),
                _days(seen, one.at_ms),
                "expected",
                round(one.booked, 1),
                None if math.isnan(one.fare_cents) else round(one.fare_cents / 100, 2),
            )
            for one in seen.ahead
        ]
        caption = "Booking curve and forecast"
        query = {"id": self.flight_id}
        return Table(name="flight-outlook", caption=caption, columns=columns, rows=rows, query=query)

    def sensitivity(self) -> Table:
        """The market's posterior of price sensitivity."""
        columns = ("travellers", "steepness", "low", "high", "odds halve per rise of, % of it")
        rows: list[Any] = [
            (one.kind, one.steepness, one.low, one.high, 100.0 * math.log(2.0) / one.steepness)
            for one in self.seen.sensitivity
        ]
        caption = (
            f"Price sensitivity in {self.seen.market}: what a fare higher by {money(self.seen.reference_cents)} costs "
            "in the logit, 95 %"
        )
        return Table(name="sensitivity", caption=caption, columns=columns, rows=rows, query={"id": self.flight_id})

    def html(self) -> str:
        """The page's HTML."""
        seen = self.seen
        worth = f"{money(seen.value_cents)} from {rfc3339(seen.solved_ms)} on" if seen.solved_ms else "none yet"
        left = "not asked for yet" if not seen.clock_ms else f"{_days(seen, seen.clock_ms):g}"
        facts = [
            ("flight", self.flight_id),
            ("market", seen.market),
            ("departs", rfc3339(seen.departs_ms)),
            ("days left, by its market's time", left),
            ("seats", f"{seen.booked:,} booked and {seen.held:,} held of {seen.capacity:,}"),
            ("last fare", f"{money(seen.fare_cents)} {seen.currency}" if seen.fare_cents else "none yet"),
            ("floor and ceiling", f"{money(seen.floor_cents)} to {money(seen.ceiling_cents)}"),
            ("requests", f"{seen.requests:,.0f}, where {seen.requests_expected:,.1f} were expected"),
            ("expected takings", worth),
            ("features", ", ".join(f"{name} = {value:g}" for name, value in seen.features.items()) or "none"),
        ]
        told = "".join(f"<dt>{name}</dt><dd>{escape(text)}</dd>" for name, text in facts)
        booked = [(float(one.at_ms), float(seen.capacity - one.seats_left)) for one in self.curve]
        expected = [(float(one.at_ms), one.booked) for one in seen.ahead]
        asked = [(float(at), fare / 100) for at, fare, _ in seen.quotes if fare >= 0]
        coming = [(float(one.at_ms), one.fare_cents / 100) for one in seen.ahead if not math.isnan(one.fare_cents)]

        def day(at_ms: float) -> str:
            return f"{(seen.departs_ms - at_ms) / 86_400_000:.0f} days before"

        charts = figure(
            "Seats booked or held",
            f"of {seen.capacity}",
            [Line("so far", "a", booked), Line("expected by the model of now", "b", expected)],
            x_label=day,
            y_label=lambda seats: f"{seats:.0f}",
            y_from=0.0,
            y_to=float(seen.capacity),
        ) + figure(
            "Fares",
            "as quoted, after all rules; and the mean fare expected to be booked",
            [Line("quoted", "a", asked), Line("expected", "b", coming)],
            x_label=day,
            y_label=lambda fare: f"{fare:,.0f}",
        )
        return (
            f'<dl class="facts">{told}</dl><div class="charts">{charts}</div>'
            f"{self.sensitivity().html()}{self.rules.html()}{self.outlook().html()}"
        )


def _days(seen: FlightSeen, at_ms: int) -> float:
    return round((seen.departs_ms - at_ms) / 86_400_000, 2)


async def flight(service: Service, flight_id: str) -> Flight:
    """One flight. Raises Problem: flight_unknown, log_unavailable."""
    model = service.model
    try:
        seen = await asyncio.to_thread(model.pricing.flight, flight_id)
    except FlightUnknown as error:
        raise Problem("flight_unknown") from error
    every = max(1, math.ceil(len(seen.quotes) / _CURVE_POINTS_MAX))
    newest_first = [position for _, _, position in seen.quotes[::-every]]
    curve = await _records(service, newest_first[::-1])
    return Flight(flight_id, seen, curve, rules(service, flight_id, seen.market))


async def _records(service: Service, positions: list[int]) -> list[tuple[int, Quote]]:
    def read(reader: LogReader) -> list[tuple[int, Quote]]:
        found = []
        for position in positions:
            payload = reader.entry(position)
            record = None if payload is None else records.decode(payload)
            if isinstance(record, Quote):
                found.append((position, record))
        return found

    return await service.read(read)
