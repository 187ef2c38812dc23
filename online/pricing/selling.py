"""What is for sale and what became of it, as arrays: seats, quotes that wait for an outcome, claims on seats, rules.

`online.pricing.layout` holds what is learned; these columns stand beside it in the same tables. Seats are counted here
as the log's server counts them when it appends a record (online/log/append.lua): the same steps in the same order, so
that the server's counts can be made again from the log.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from online.fifo import Fifo, fifo, fifo_capacity, fifo_columns
from online.journal import LENGTH, RowJournal
from online.pricing.layout import FEATURES_MAX
from online.pricing.rules import RULES_BYTES_MAX
from online.pricing.settings import Settings
from online.rows import Rows, rows, rows_capacity, rows_columns
from online.tables import Array, Arrays, Column
from online.text import Text, text, text_capacity, text_columns

# What became of a quote.
OPEN, SAID_NO, SILENT, BOOKED, REPEATED, NOT_FOR_SALE, CLOSED_EARLY = range(7)
# What became of a claim; a hold that was let go leaves a row that nobody finds.
GONE, HELD, TAKEN, GIVEN_BACK = range(4)

COUNTERS = (
    "quotes",
    "not_for_sale",
    "booked",
    "declined",
    "expired",
    "repeated",
    "cancelled",
    "closed_early",
    "unmatched",
    "solved",
    "drift_breaks",
    "seats_beyond_capacity",
    "flights_evicted",
    "flights_refused",
)
(
    QUOTES,
    NOT_SOLD,
    BOOKINGS,
    DECLINED,
    EXPIRED,
    REPEATS,
    CANCELLED,
    EARLY,
    UNMATCHED,
    SOLVED,
    BREAKS,
    BEYOND,
    EVICTED,
    REFUSED,
) = range(14)
GROWING = ("markets", "flights", "claims")
TEXTS = ("flight",)


class Sales(NamedTuple):
    """Per flight, beside `layout.FlightArrays`."""

    last_position: Array  # i8 of the last record about it
    floor_cents: Array  # i4
    ceiling_cents: Array  # i4
    filed: Array  # u1 1: its ladder is filed, not made
    taken: Array  # i4 seats booked
    held: Array  # i4 seats held
    soonest_ms: Array  # i8 before which no hold ends
    clock_ms: Array  # i8 highest event time
    newest_quote: Array  # i8 number of the newest open quote, -1
    fare_cents: Array  # i4 last quoted; 0 none
    day_fare_cents: Array  # i4 last quoted the day before; 0 none
    due: Array  # i8 position from which on its table is due; 0 is not
    solved_outcomes: Array  # f8 of its market when it was solved


class Quotes(NamedTuple):
    """The newest quotes, a ring."""

    ring: Fifo
    flight: Array  # i4 row, -1
    at_ms: Array  # i8
    received_ms: Array  # i8
    expires_ms: Array  # i8
    fare_cents: Array  # i4 as shown, -1 nothing was for sale
    position: Array  # i8
    state: Array  # u1
    older: Array  # i8 number of the open quote before it of the same flight, -1
    asked: Array  # u8 key of its features
    feature: Array  # f8 [quotes, FEATURES_MAX] NaN not given
    client: Array  # u8 hash64 of its name
    counted: Array  # f8 what its outcome counted when it was learned; 0 it was not
    cursor: Array  # i8 [1] no older quote is open


class Claims(NamedTuple):
    """Seats by the quote that claimed them."""

    rows: Rows
    flight: Array  # i4 row, -1
    state: Array  # u1
    until_ms: Array  # i8 of a hold
    position: Array  # i8 of the record
    left: Array  # i4 seats left after it


class Selling(NamedTuple):
    """All of it."""

    markets: Rows
    market_clock_ms: Array  # i8 highest event time
    flights: Rows
    sales: Sales
    about: Text  # canonical JSON of what was said of a flight
    quotes: Quotes
    claims: Claims
    counters: Array  # i8 [len(COUNTERS)]
    rules: Array  # u1 [RULES_BYTES_MAX]
    rules_used: Array  # i8 [2] bytes in use, position of the last change


SELLING_COLUMNS: tuple[Column, ...] = (
    *rows_columns("markets"),
    Column(name="markets.clock_ms", dtype="i8", served=True),
    *rows_columns("flights"),
    Column(name="flights.last_position", dtype="i8"),
    Column(name="flights.floor_cents", dtype="i4", served=True),
    Column(name="flights.ceiling_cents", dtype="i4", served=True),
    Column(name="flights.filed", dtype="u1", served=True),
    Column(name="flights.taken", dtype="i4", served=True),
    Column(name="flights.held", dtype="i4", served=True),
    Column(name="flights.soonest_ms", dtype="i8"),
    Column(name="flights.clock_ms", dtype="i8", served=True),
    Column(name="flights.newest_quote", dtype="i8", fill=-1),
    Column(name="flights.fare_cents", dtype="i4", served=True),
    Column(name="flights.day_fare_cents", dtype="i4", served=True),
    Column(name="flights.due", dtype="i8"),
    Column(name="flights.solved_outcomes", dtype="f8"),
    *text_columns("flights", "flight"),
    *fifo_columns("quotes", served=True),
    Column(name="quotes.flight", dtype="i4", fill=-1, refers="flights", served=True),
    Column(name="quotes.at_ms", dtype="i8", served=True),
    Column(name="quotes.received_ms", dtype="i8", served=True),
    Column(name="quotes.expires_ms", dtype="i8", served=True),
    Column(name="quotes.fare_cents", dtype="i4", served=True),
    Column(name="quotes.position", dtype="i8", served=True),
    Column(name="quotes.state", dtype="u1"),
    Column(name="quotes.older", dtype="i8", fill=-1),
    Column(name="quotes.asked", dtype="u8"),
    Column(name="quotes.feature", dtype="f8", shape=(FEATURES_MAX,), fill=float("nan")),
    Column(name="quotes.client", dtype="u8"),
    Column(name="quotes.counted", dtype="f8"),
    Column(name="quotes_cursor.cursor", dtype="i8"),
    *(replace(column, served=False) for column in rows_columns("claims")),
    Column(name="claims.flight", dtype="i4", fill=-1, refers="flights"),
    Column(name="claims.state", dtype="u1"),
    Column(name="claims.until_ms", dtype="i8"),
    Column(name="claims.position", dtype="i8"),
    Column(name="claims.left", dtype="i4"),
    Column(name="selling.counters", dtype="i8", served=True),
    Column(name="fare_rules.content", dtype="u1", served=True),
    Column(name="fare_rules_used.used", dtype="i8", served=True),
)


class Moved(NamedTuple):
    """Rows written since the last publication, see `online.journal`."""

    markets: RowJournal
    flights: RowJournal


def nothing_moved() -> Moved:
    """A journal of each table, with nothing noted."""
    return Moved(*(RowJournal(np.zeros(LENGTH, np.int32), np.zeros(1, np.int64)) for _ in Moved._fields))


def selling_capacity(settings: Settings) -> dict[str, int]:
    """Rows of the tables above as they begin; those of GROWING grow."""
    return {
        **rows_capacity("markets", min(16, settings.markets_max)),
        **rows_capacity("flights", min(256, settings.flights_max)),
        **rows_capacity("claims", min(1024, settings.claims_max)),
        **text_capacity("flight", 1 << 14),
        **fifo_capacity("quotes", settings.quotes_max),
        "quotes_cursor": 1,
        "selling": len(COUNTERS),
        "fare_rules": RULES_BYTES_MAX,
        "fare_rules_used": 2,
    }


def selling_views(arrays: Arrays) -> Selling:
    """The views of the columns."""
    own = {name: arrays[f"quotes.{name}"] for name in Quotes._fields if name not in ("ring", "cursor")}
    return Selling(
        markets=rows(arrays, "markets"),
        market_clock_ms=arrays["markets.clock_ms"],
        flights=rows(arrays, "flights"),
        sales=Sales(**{name: arrays[f"flights.{name}"] for name in Sales._fields}),
        about=text(arrays, "flights", "flight"),
        quotes=Quotes(ring=fifo(arrays, "quotes"), cursor=arrays["quotes_cursor.cursor"], **own),
        claims=Claims(
            rows=rows(arrays, "claims"),
            **{name: arrays[f"claims.{name}"] for name in Claims._fields if name != "rows"},
        ),
        counters=arrays["selling.counters"],
        rules=arrays["fare_rules.content"],
        rules_used=arrays["fare_rules_used.used"],
    )
