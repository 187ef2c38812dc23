"""How long a fare takes: the decision alone, and POST /v1/quotes with outcomes and learning on.

    python benchmarks/quote_latency.py [--rate 200] [--seconds 20] [--flights 500] [--idempotent]

First the decision is timed inside this process, from read-only views of a state that the fold made. Then one worker is
asked `rate` quotes a second, open loop: a quote goes out when its time has come, whether or not earlier ones were
answered, and its latency counts from that time on (a thread of its own keeps the time: an event loop's timers have
whole milliseconds, which would count as the service's). Every quote gets an outcome, one in ten a booking. --idempotent
sends an Idempotency-Key with every call. The load generator shares the machine with the service. Before it and after it
the disk alone is timed, at the same rate: an append of as many bytes, synced. No durable answer can be faster.
"""

import argparse
import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from benchmarks.recommend_rate import service  # noqa: E402
from online.fold import Fold  # noqa: E402
from online.pricing.quote import FareDecider, Request  # noqa: E402
from online.pricing.records import FlightUpsert, Quote, QuoteOutcome  # noqa: E402
from online.pricing.rules import RuleSet  # noqa: E402
from online.records import Begin, Record  # noqa: E402
from online.settings import Settings, settings_text  # noqa: E402
from online.state import COLUMN_BY_NAME, State  # noqa: E402
from online.views import bind, read_only  # noqa: E402
from simulations.client import Client  # noqa: E402

START_MS = 1_800_000_000_000
DAY_MS = 86_400_000
DISK_S = 5.0
APPEND_BYTES = 600  # of a quote, or an outcome, as it goes into the server's file


def decisions(flights: int, rounds: int) -> tuple[float, float]:
    """p50 and p99 of a decision, in microseconds."""
    settings = Settings()
    records: list[Record] = [Begin(1, "", 0, settings_text(settings), 0)]
    for k in range(flights):
        departs = START_MS + (10 + k % 50) * DAY_MS
        records.append(FlightUpsert(f"f{k}", 0, f"m{k % 10}", departs, 150, "EUR", 5_000, 40_000))
    for k in range(4 * flights):
        at, features = START_MS + k * 1_000, {"saturday_stay": float(k % 2), "rival": 15_000.0 + k}
        records.append(Quote(f"q{k}", f"f{k % flights}", at, at, 1, 12_000, at + 900_000, features=features))
        records.append(QuoteOutcome(f"q{k}", f"f{k % flights}", k % 10 == 0, at, at))
    state = State(settings, None)
    Fold(state).entries(enumerate(records, start=1))
    views = bind(read_only(state.arrays, COLUMN_BY_NAME), settings)
    decider, rules, took = FareDecider(settings.pricing), RuleSet(), np.empty(rounds)
    at_ms = START_MS + 5 * flights * 1_000
    for k in range(rounds):
        request = Request(f"f{k % flights}", at_ms, {"saturday_stay": float(k % 2), "rival": 15_000.0 + k})
        began = time.perf_counter()
        decider.decide(views.pricing, views.selling, rules, request)
        took[k] = time.perf_counter() - began
    p50, p99 = np.percentile(took[rounds // 10 :] * 1e6, (50, 99))
    return float(p50), float(p99)


def disk(folder: Path, rate: float, seconds: float) -> np.ndarray:
    """Seconds of each of `rate` synced appends a second."""
    took = np.empty(int(rate * seconds))
    file = os.open(folder / "alone", os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    began = time.monotonic()
    for number in range(len(took)):
        time.sleep(max(0.0, began + number / rate - time.monotonic()))
        asked = time.monotonic()
        os.write(file, b"0" * APPEND_BYTES)
        os.fdatasync(file)
        took[number] = time.monotonic() - asked
    os.close(file)
    return took


async def load(
    url: str, rate: float, seconds: float, flights: int, *, idempotent: bool = False
) -> tuple[list[float], int]:
    """Latencies of the quotes in seconds, and answers that were no success."""
    client = Client(url, connections=64)
    departs = int(time.time() * 1_000) + 40 * DAY_MS
    for k in range(flights):
        body = {
            "market": f"m{k % 10}",
            "departs_at": departs,
            "capacity": 150,
            "currency": "EUR",
            "fare_floor_cents": 5_000,
            "fare_ceiling_cents": 40_000,
        }
        await client.call("PUT", f"/v1/flights/f{k}", body)
    await asyncio.sleep(3.0)  # their tables are solved while nobody asks
    took: list[float] = []
    failed = 0

    def key(what: str, number: int) -> dict[str, str] | None:
        return {"idempotency-key": f"{began:.6f}-{what}-{number}"} if idempotent else None

    async def one(number: int, due: float) -> None:
        nonlocal failed
        body = {
            "flight_id": f"f{number % flights}",
            "features": {"saturday_stay": number % 2, "rival": 15_000 + number},
        }
        reply = await client.call("POST", "/v1/quotes", body, headers=key("q", number))
        took.append(time.monotonic() - due)
        failed += reply.status != 201
        said = "booked" if number % 10 == 0 else "declined"
        path = f"/v1/quotes/{reply.json()['quote_id']}/outcome"
        answer = await client.call("POST", path, {"outcome": said}, headers=key("o", number))
        failed += answer.status != 200

    began = time.monotonic() + 0.1
    loop, tasks = asyncio.get_running_loop(), []

    def keep_time() -> None:
        for number in range(int(rate * seconds)):
            due = began + number / rate
            time.sleep(max(0.0, due - time.monotonic()))
            loop.call_soon_threadsafe(lambda number=number, due=due: tasks.append(loop.create_task(one(number, due))))

    await asyncio.to_thread(keep_time)
    await asyncio.gather(*tasks)
    return took, failed


def main() -> None:
    """Print both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=200.0, help="quotes a second")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--flights", type=int, default=500)
    parser.add_argument("--idempotent", action="store_true", help="an Idempotency-Key with every call")
    options = parser.parse_args()
    p50, p99 = decisions(options.flights, 20_000)
    print(f"decision: p50 {p50:.0f} us, p99 {p99:.0f} us (targets 50 and 200)", flush=True)
    with tempfile.TemporaryDirectory() as folder, service(Path(folder) / "home", None) as address:
        asyncio.run(load(address["url"], options.rate, 3.0, options.flights, idempotent=options.idempotent))
        alone = [disk(Path(folder), options.rate, DISK_S)]
        asked = load(address["url"], options.rate, options.seconds, options.flights, idempotent=options.idempotent)
        took, failed = asyncio.run(asked)
        alone.append(disk(Path(folder), options.rate, DISK_S))
    low, high = np.percentile(np.array(took) * 1e3, (50, 99))
    synced = np.percentile(np.concatenate(alone) * 1e3, (50, 99))
    print(
        f"the disk alone, {APPEND_BYTES} bytes synced, before and after: p50 {synced[0]:.1f} ms, p99 {synced[1]:.1f} ms"
    )
    keys = ", each with its key" if options.idempotent else ""
    print(
        f"POST /v1/quotes at {options.rate:.0f}/s with outcomes{keys}, one worker: p50 {low:.1f} ms, p99 {high:.1f} ms "
        f"(target 5), {len(took):,} quotes, {failed} failed"
    )


if __name__ == "__main__":
    main()
