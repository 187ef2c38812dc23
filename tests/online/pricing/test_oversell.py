"""No seat is sold twice, none is lost: crowds on few seats, with holds, expiries, cancellations, retries and crashes.

PERENNIAL_OVERSELL_ROUNDS=300 asks for the long form (`make oversell`).
"""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from online.chance import hash64
from online.fold import Fold
from online.log import Claim, LogError, LogKeys, LogReader, LogServer, LogWriter, Verdict, connect
from online.pricing import selling
from online.pricing.records import BOOKED, DECLINED, Cancellation, FlightUpsert, PricingRecord, Quote, QuoteOutcome
from online.pricing.settings import Settings as PricingSettings
from online.pricing.stock import Ledger, claim_name, expected, reconcile, stock_name
from online.records import Begin, decode, encode
from online.settings import Settings, settings_text
from online.state import State

ROUNDS = int(os.environ.get("PERENNIAL_OVERSELL_ROUNDS", "6"))
SETTINGS = Settings(
    decisions_max=16, slots_max=800, event_ids_max=16, pricing=PricingSettings(quotes_max=1 << 17, markets_max=4)
)
START_MS = 1_800_000_000_000
EXPIRES_MS = START_MS + 900_000


class Till:
    """A few writers, as several workers have them; one of them may die and another take its place."""

    def __init__(self, url: str, writers: int) -> None:
        self.url = url
        self.writers = [LogWriter(url, patience_s=20.0) for _ in range(writers)]

    async def start(self) -> None:
        await asyncio.gather(*(writer.start() for writer in self.writers))

    async def close(self) -> None:
        await asyncio.gather(*(writer.close() for writer in self.writers))

    async def die(self, chance: random.Random) -> None:
        """A worker is killed: what it had sent may have been done, and nobody hears of it."""
        place = chance.randrange(len(self.writers))
        victim, self.writers[place] = self.writers[place], LogWriter(self.url, patience_s=20.0)
        await self.writers[place].start()
        await victim.close(drain_s=0.0)

    async def claim(self, chance: random.Random, record: PricingRecord, claim: Claim) -> Verdict:
        """Asked until somebody answers, of one worker or another."""
        while True:
            try:
                return await chance.choice(self.writers).claim(encode(record), claim)
            except LogError:
                await asyncio.sleep(0.01)


def claim_of(flight: str, verb: str, quote_id: str, at_ms: int, number: int = 0) -> Claim:
    return Claim(stock_name(hash64(flight)), verb, claim_name(hash64(quote_id)), at_ms, number)


async def traveller(till: Till, chance: random.Random, flight: str, name: str, told: Counter[str]) -> None:
    """Asks, perhaps holds, perhaps books, perhaps twice, perhaps gives back."""
    at_ms = START_MS + chance.randrange(600_000)
    if chance.random() < 0.4:
        until = at_ms + chance.randrange(1_000, 200_000)
        record = Quote(name, flight, at_ms, at_ms, 1, 9_000, EXPIRES_MS, until)
        held = await till.claim(chance, record, claim_of(flight, "hold", name, at_ms, until))
        told[f"hold {held.code}"] += 1
        if held.code == "none_left":
            return
        if chance.random() < 0.3:
            told["walked away"] += 1  # crashed or left between hold and confirmation: the hold ends by itself
            return
        at_ms += chance.randrange(300_000)
    drawn = chance.random()
    if drawn < 0.15:
        record_no = QuoteOutcome(name, flight, DECLINED, at_ms, at_ms)
        await till.claim(chance, record_no, claim_of(flight, "pass", name, at_ms))
        told["declined"] += 1
        return
    answers = set()
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        record_yes = QuoteOutcome(name, flight, BOOKED, at_ms, at_ms)
        verdict = await till.claim(chance, record_yes, claim_of(flight, "take", name, at_ms, EXPIRES_MS))
        told[f"book {verdict.code}"] += 1
        if verdict.code in ("granted", "again"):
            answers.add((verdict.position, verdict.left))
    assert len(answers) <= 1, "a repeated booking was answered differently"
    if answers and chance.random() < 0.2:
        back = Cancellation(name, flight, at_ms, at_ms)
        for _ in range(2):
            verdict = await till.claim(chance, back, claim_of(flight, "give", name, at_ms))
            assert verdict.code in ("granted", "again")
        told["cancelled"] += 1
        told["still booked"] -= 1
    if answers:
        told["still booked"] += 1


async def one_round(till: Till, chance: random.Random, number: int, told: Counter[str]) -> tuple[str, int, int]:
    """(flight, its seats, bookings that their travellers know of)."""
    flight, seats = f"flight-{number}", chance.randint(1, 10)
    record = FlightUpsert(flight, 0, "m", START_MS + 9 * 86_400_000, seats, "EUR", 5_000, 20_000)
    await till.claim(chance, record, Claim(stock_name(hash64(flight)), "limit", "", 0, seats))
    crowd: Counter[str] = Counter()
    tasks = [
        asyncio.create_task(traveller(till, random.Random(chance.random()), flight, f"{flight}/{k}", crowd))
        for k in range(chance.randint(200, 500))
    ]
    for _ in range(chance.randrange(3)):
        await asyncio.sleep(chance.random() * 0.02)
        await till.die(chance)
    await asyncio.gather(*tasks)
    known = crowd.pop("still booked", 0)
    told.update(crowd)
    return flight, seats, known


def test_crowds_on_few_seats_buy_each_of_them_once(tmp_path: Path, start_server: Callable[..., LogServer]) -> None:
    server = start_server(tmp_path / "log")
    chance, told = random.Random(7), Counter[str]()
    rounds: list[tuple[str, int, int]] = []
    servers = [server]

    async def play() -> None:
        till = Till(server.url, 4)
        await till.start()
        await till.writers[0].append([encode(Begin(1, "", 0, settings_text(SETTINGS), 0))])
        for number in range(ROUNDS):
            task = asyncio.create_task(one_round(till, chance, number, told))
            if number % 5 == 2:
                await asyncio.sleep(0.02)
                os.kill(servers[-1].pid, signal.SIGKILL)
                servers[-1].stop()
                told["server kills"] += 1
                servers.append(start_server(tmp_path / "log"))
            rounds.append(await task)
        await till.close()

    asyncio.run(play())
    reader = LogReader(server.url)
    entries = [(position, decode(payload)) for position, payload in every(reader)]
    reader.close()

    state, ledger = State(SETTINGS, None), Ledger()
    fold, sold_out = Fold(state), 0
    for position, record in entries:
        fold.entries([(position, record)])
        ledger.record(position, record)
    counters = dict(zip(selling.COUNTERS, map(int, state.views.selling.counters), strict=True))
    assert counters["seats_beyond_capacity"] == 0  # after no record of the log
    wanted = expected(state)
    with connect(server.url) as client:
        for flight, seats, known in rounds:
            name = stock_name(hash64(flight))
            fields = {k.decode(): v.decode() for k, v in client.hgetall(LogKeys().stock(name)).items()}
            for counted in (fields, wanted[name], ledger.stocks[name]):
                assert int(counted["taken"]) + int(counted["held"]) <= seats == int(counted["limit"])
                assert int(counted["taken"]) == known  # none lost, none sold that its traveller does not know of
            without_hint = [{k: v for k, v in c.items() if k != "soonest"} for c in (fields, wanted[name])]
            assert without_hint[0] == without_hint[1]
            assert {k: v for k, v in ledger.stocks[name].items() if k != "soonest"} == without_hint[0]
            sold_out += known == seats
        assert reconcile(client, LogKeys(), state) == []
        # A stock that somebody has touched, or that is lost, is counted again from the log.
        client.hset(LogKeys().stock(stock_name(hash64("flight-0"))), "taken", 0)
        client.delete(LogKeys().stock(stock_name(hash64("flight-1"))))
        assert len(reconcile(client, LogKeys(), state)) == 2
        assert reconcile(client, LogKeys(), state) == []
    assert sold_out > 0
    print(f"{len(rounds)} rounds, {len(entries)} records, {sold_out} sold out, 0 oversold, 0 lost: {dict(told)}")


def every(reader: LogReader) -> list[tuple[int, bytes]]:
    """All of the log."""
    found: list[tuple[int, bytes]] = []
    while entries := reader.read(len(found), 1_000, 0):
        found += entries
    return found
