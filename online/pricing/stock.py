"""The server's counts of seats held against the state's, and made again from it where they are not the same.

The log's server keeps them in hashes beside the log, changed only by the script that appends. They follow from the log,
so the learner may check them at every start, and write them anew: if the keys were lost, restored or touched.
"""

from typing import TYPE_CHECKING, Any

import redis

from online.chance import hash64
from online.log import LogKeys
from online.pricing.records import BOOKED, Cancellation, FlightUpsert, Quote, QuoteOutcome
from online.pricing.selling import GIVEN_BACK, HELD, TAKEN

if TYPE_CHECKING:
    from online.records import Record
    from online.state import State

_RESTORE = """
if tonumber(redis.call('GET', KEYS[1]) or '0') ~= tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[2])
for i = 2, #ARGV, 2 do redis.call('HSET', KEYS[2], ARGV[i], ARGV[i + 1]) end
return 1
"""
FLIGHTS_AT_ONCE = 512


def stock_name(flight_key: int) -> str:
    """The name of a flight's stock."""
    return f"{flight_key:016x}"


def claim_name(quote_key: int) -> str:
    """The name of a quote's claim."""
    return f"{quote_key:016x}"


def expected(state: "State") -> dict[str, dict[str, str]]:
    """By stock its fields as the state knows them; `soonest`, which is a hint, as it would be written anew."""
    view, flights = state.views.selling, state.views.pricing.flights
    stocks: dict[int, dict[str, str]] = {}
    for row in range(state.count("flights")):
        if view.flights.key[row] != 0:
            stocks[row] = {
                "limit": str(int(flights.capacity[row])),
                "taken": str(int(view.sales.taken[row])),
                "held": str(int(view.sales.held[row])),
                "soonest": str(int(view.sales.soonest_ms[row])),
            }
    claims = view.claims
    for row in range(state.count("claims")):
        flight, what = int(claims.flight[row]), int(claims.state[row])
        if flight in stocks and what in (HELD, TAKEN, GIVEN_BACK):
            told = f"{int(claims.position[row])} {int(claims.left[row])}"
            text = {HELD: f"h {int(claims.until_ms[row])} {told}", TAKEN: f"t {told}", GIVEN_BACK: f"g {told}"}[what]
            stocks[flight][f"c:{claim_name(int(claims.rows.key[row]))}"] = text
    return {stock_name(int(view.flights.key[row])): fields for row, fields in stocks.items()}


class Ledger:
    """Seats out of the log's records alone, for a state that is not the fold of all of them: after an act that took
    records out of what is learned, the seats that they sold are sold all the same."""

    def __init__(self) -> None:
        self.stocks: dict[str, dict[str, str]] = {}

    def record(self, position: int, record: "Record") -> None:
        """Count one record as the server did when it appended it."""
        match record:
            case FlightUpsert():
                stock = self.stocks.setdefault(_stock_of(record), {"taken": "0", "held": "0", "soonest": "0"})
                stock["limit"] = str(record.capacity)
            case Quote() if record.hold_until_ms:
                self._claim(position, record, f"h {record.hold_until_ms}")
            case QuoteOutcome():
                self._claim(position, record, "t" if record.outcome == BOOKED else "")
            case Cancellation():
                self._claim(position, record, "g")

    def _claim(self, position: int, record: Quote | QuoteOutcome | Cancellation, what: str) -> None:
        stock = self.stocks.get(_stock_of(record))
        if stock is None:
            return
        name = f"c:{claim_name(hash64(record.quote_id))}"
        holds = {n: int(text.split()[1]) for n, text in stock.items() if n[:2] == "c:" and text[0] == "h"}
        for ended in [n for n, until in holds.items() if until < record.at_ms]:
            del stock[ended], holds[ended]
        stock.pop(name, None)
        holds.pop(name, None)
        taken = int(stock["taken"]) + {"t": 1, "g": -1}.get(what, 0)
        held = len(holds) + (what[:1] == "h")
        stock |= {"taken": str(taken), "held": str(held), "soonest": str(min(holds.values(), default=0))}
        if what:
            stock[name] = f"{what} {position} {int(stock['limit']) - taken - held}"


def _stock_of(record: FlightUpsert | Quote | QuoteOutcome | Cancellation) -> str:
    return stock_name(hash64(record.flight_id))


def reconcile(
    client: redis.Redis, keys: LogKeys, state: "State", wanted: dict[str, dict[str, str]] | None = None
) -> list[str]:
    """Stocks whose counts were not the log's, now written anew; the state stands at the log's end, and `wanted` is a
    ledger's where it is not the fold of all of it.

    A stock is left alone where something was appended meanwhile: that append was judged by the counts as they were.
    """
    wanted = expected(state) if wanted is None else wanted
    names = sorted(wanted)
    restored: list[str] = []
    for first in range(0, len(names), FLIGHTS_AT_ONCE):
        some = names[first : first + FLIGHTS_AT_ONCE]
        with client.pipeline(transaction=False) as pipeline:
            for name in some:
                pipeline.hgetall(keys.stock(name))
            found: list[dict[bytes, bytes]] = pipeline.execute()
        for name, fields in zip(some, found, strict=True):
            if _counts(fields) != _counts(wanted[name]) and _restore(client, keys, state, name, wanted[name]):
                restored.append(name)
    return restored


def _counts(fields: dict[Any, Any]) -> dict[str, str]:
    text = {_text(name): _text(value) for name, value in fields.items()}
    text.pop("soonest", None)
    return text


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def _restore(client: redis.Redis, keys: LogKeys, state: "State", name: str, fields: dict[str, str]) -> bool:
    arguments = [word for pair in fields.items() for word in pair]
    return bool(client.eval(_RESTORE, 2, keys.sequence, keys.stock(name), str(state.position), *arguments))
