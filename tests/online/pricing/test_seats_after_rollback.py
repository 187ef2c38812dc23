"""An act on the past takes records out of what is learned, never a sold seat back: it stays sold, and is sold once."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from online.chance import hash64
from online.learner import Learner
from online.lineage import Arguments, Cut
from online.log import Claim, LogKeys, LogReader, LogServer, LogWriter, Verdict, connect
from online.pricing.records import BOOKED, Cancellation, FlightUpsert, Quote, QuoteOutcome
from online.pricing.settings import Settings as PricingSettings
from online.pricing.stock import claim_name, stock_name
from online.records import Act, Begin, Event, Record, encode
from online.settings import Settings, settings_text

SETTINGS = Settings(
    decisions_max=16, slots_max=800, event_ids_max=16, pricing=PricingSettings(quotes_max=64, markets_max=4)
)
START_MS = 1_800_000_000_000
STOCK = stock_name(hash64("f"))
SEATS = 3
SOLD_FROM = 3  # the first position behind the flight's record


class Sale:
    """One flight, sold out through the log's server."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.at_ms = START_MS

    async def _write(self, record: Record, claim: Claim | None) -> Verdict | int:
        writer = LogWriter(self.url, patience_s=5.0)
        await writer.start()
        try:
            return await (writer.claim(encode(record), claim) if claim else writer.append([encode(record)]))
        finally:
            await writer.close()

    def append(self, record: Record) -> int:
        position = asyncio.run(self._write(record, None))
        assert isinstance(position, int)
        return position

    def claim(self, record: Record, verb: str, quote: str, number: int = 0) -> str:
        named = claim_name(hash64(quote)) if quote else ""
        verdict = asyncio.run(self._write(record, Claim(STOCK, verb, named, self.at_ms, number)))
        assert isinstance(verdict, Verdict)
        return verdict.code

    def open(self) -> None:
        self.append(Begin(1, "", SETTINGS.seed, settings_text(SETTINGS), 0))
        flight = FlightUpsert("f", 0, "m", START_MS + 9 * 86_400_000, SEATS, "EUR", 5_000, 20_000)
        assert self.claim(flight, "limit", "", SEATS) == "granted"

    def quote(self, name: str) -> None:
        self.append(Quote(name, "f", self.at_ms, self.at_ms, 1, 9_000, self.at_ms + 900_000, client="agency"))

    def book(self, name: str) -> str:
        booked = QuoteOutcome(name, "f", BOOKED, self.at_ms, self.at_ms, client="agency")
        return self.claim(booked, "take", name, self.at_ms + 900_000)

    def give_back(self, name: str) -> str:
        return self.claim(Cancellation(name, "f", self.at_ms, self.at_ms), "give", name)

    def act(self, to: int, without: Cut | None = None) -> int:
        told = Arguments(to=to, without=without) if without else Arguments(to=to)
        text = msgspec.json.encode(told, order="sorted").decode()
        return self.append(Act("rollback", "a test", 0, arguments=text))

    def counted(self) -> tuple[int, int]:
        """(seats taken, limit) as the server counts them."""
        with connect(self.url) as client:
            taken, limit = client.hmget(LogKeys().stock(STOCK), "taken", "limit")
        return int(taken or 0), int(limit or 0)


@pytest.fixture
def sale(log_server: LogServer) -> Sale:
    found = Sale(log_server.url)
    found.open()
    for name in ("a", "b", "c"):
        found.quote(name)
        assert found.book(name) == "granted"
    return found


def restarted(sale: Sale, home: Path) -> Learner:
    """A learner as it is after a start: it has folded the log and held the server's counts against it."""
    learner = Learner(home, LogReader(sale.url), None, SETTINGS)
    learner.catch_up()
    learner.check_seats(sale.url)
    return learner


def act_on_the_past(sale: Sale, kind: str) -> None:
    match kind:
        case "rollback":
            sale.act(SOLD_FROM - 1)
        case "surgery":
            sale.act(SOLD_FROM - 1, Cut(clients=("agency",)))
        case _:
            undone = sale.act(SOLD_FROM - 1) - 1
            sale.act(undone)


@pytest.mark.parametrize("kind", ["rollback", "surgery", "undone"])
@pytest.mark.parametrize("more", [False, True], ids=["at the act", "with records behind it"])
@pytest.mark.parametrize("lost", [False, True], ids=["counts there", "counts lost"])
def test_seats_that_were_sold_stay_sold_whatever_is_rolled_back(
    sale: Sale, tmp_path: Path, kind: str, more: bool, lost: bool
) -> None:
    act_on_the_past(sale, kind)
    if more:
        sale.append(Event("e1", "play", "u1", "i1", START_MS, START_MS))
    if lost:
        with connect(sale.url) as client:
            client.delete(LogKeys().stock(STOCK))
    restarted(sale, tmp_path)
    assert sale.counted() == (SEATS, SEATS), "the log sold them, and its server knows"
    sale.quote("d")
    assert sale.book("d") == "none_left"
    assert sale.book("a") == "again", "a booking that was rolled back is a booking still"
    assert sale.give_back("a") == "granted"
    assert sale.book("d") == "granted"
    restarted(sale, tmp_path)
    assert sale.counted() == (SEATS, SEATS)
    sale.quote("e")
    assert sale.book("e") == "none_left"


def seats_shown(learner: Learner) -> int:
    return int(learner.state.views.pricing.flights.seats_left[0])


def test_seats_shown_after_an_act_on_the_past_are_its_lineages_and_the_servers_count_decides(
    sale: Sale, tmp_path: Path
) -> None:
    """What is left behind is no part of the state, seats included: a fare may be named that nobody can book, never a
    seat sold twice. Undoing the act shows the seats as they are."""
    sold_out = sale.act(SOLD_FROM - 1) - 1
    learner = restarted(sale, tmp_path)
    assert (seats_shown(learner), sale.counted()) == (SEATS, (SEATS, SEATS))
    assert sale.give_back("a") == "granted", "its traveller has a booking, whatever is learned from it"
    learner.catch_up()
    assert (seats_shown(learner), sale.counted()) == (SEATS, (SEATS - 1, SEATS))
    sale.quote("d")
    assert sale.book("d") == "granted"
    learner.catch_up()
    assert (seats_shown(learner), sale.counted()) == (SEATS - 1, (SEATS, SEATS))
    sale.act(sold_out)
    assert (seats_shown(restarted(sale, tmp_path)), sale.counted()) == (0, (SEATS, SEATS))


def test_cancellations_that_were_left_behind_are_too_few_seats_and_never_too_many(sale: Sale, tmp_path: Path) -> None:
    before = sale.act(0, Cut(events=("nobody",)))  # changes nothing: a place to go back to, behind the bookings
    assert sale.give_back("b") == "granted"
    sale.act(before)
    learner = restarted(sale, tmp_path)
    assert (seats_shown(learner), sale.counted()) == (0, (SEATS - 1, SEATS))
    assert sale.book("c") == "again"
