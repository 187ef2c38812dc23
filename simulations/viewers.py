"""A population of viewers that uses the service over HTTP alone, as their apps would.

    python -m simulations.viewers --url http://127.0.0.1:8080 --out DIR [--rate 80] [--seconds 60]

Titles are announced as they come out (PUT /v1/items), a visit asks for a slate (POST
/v1/recommendations), what the viewer did with it is reported when it reaches the network (POST
/v1/events): soon, hours later, or never. Event time runs as fast as the visits are made: at 80 visits a
second a simulated day takes about a minute.

It is a process of its own, so that nothing it does slows what it measures. It prints one JSON object a
second, takes orders as JSON lines on stdin (`{"do": "stop"}`; the end of stdin is an order to stop), and
writes what it measured into `--out`: decisions.csv, freshness.csv, interactions.csv, organic.csv.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import gc
import json
import signal
import sys
from collections import defaultdict
from pathlib import Path

from simulations.client import Client
from simulations.population import Population
from simulations.video_settings import WorldSettings
from simulations.video_world import VideoWorld


def watched_before(history: Path) -> dict[int, list[int]]:
    """What each viewer had watched by the end of a history file, oldest first."""
    watched: dict[int, list[int]] = defaultdict(list)
    with history.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["event_type"] == "watch" and float(row["value"]) >= 0.25:
                watched[int(row["user_id"][1:])].append(int(row["item_id"][1:]))
    return watched


async def _orders(population: Population, reader: asyncio.StreamReader) -> None:
    """Obey the lines on stdin. Its end is an order to stop: nobody is left to watch."""
    while line := await reader.readline():
        order = json.loads(line)
        match order["do"]:
            case "phase":
                population.phase = order["name"]
            case "feedback":
                population.feedback_flows = order["on"]
            case "stop":
                population.held_out_visits = int(order.get("held_out", 0))
                break
            case other:
                raise ValueError(f"no such order: {other!r}")
    population.stop()


async def _run(options: argparse.Namespace) -> None:
    world = VideoWorld(WorldSettings(seed=options.seed, drift=options.drift))
    client = Client(options.url, connections=options.connections, key=options.key)
    population = Population(
        world,
        client,
        first_day=options.history_days,
        rate=options.rate,
        held_out_share=options.held_out,
        watched=watched_before(options.history) if options.history else {},
        run=options.run,
    )
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, population.stop)
    if options.seconds is not None:
        loop.call_later(options.seconds, population.stop)
    if options.orders:
        reader = asyncio.StreamReader()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        orders = asyncio.create_task(_orders(population, reader))
        orders.add_done_callback(lambda task: task.cancelled() or task.exception())
    await population.announce(population.starts_at_ms)
    # What was built so far stays: collected in the middle of a call, it would be measured as the service.
    gc.collect()
    gc.freeze()

    async def tell() -> None:
        while True:
            await asyncio.sleep(1.0)
            print(json.dumps(population.figures()), flush=True)

    telling = asyncio.create_task(tell())
    await population.live()
    if population.held_out_visits:
        await population.held_out(population.held_out_visits)
    telling.cancel()
    population.save(options.out)
    print(json.dumps(population.figures() | {"phase": "done"}), flush=True)
    await client.close()


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m simulations.viewers", description=__doc__.split("\n")[0])
    parser.add_argument("--url", required=True)
    parser.add_argument("--out", type=Path, required=True, help="folder for what was measured")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--drift", type=float, default=1.0, help="0: a stationary world")
    parser.add_argument("--history-days", type=int, default=12, help="the viewers begin after these days")
    parser.add_argument("--history", type=Path, default=None, help="interactions file: what was watched before")
    parser.add_argument("--rate", type=float, default=80.0, help="visits a second, at most")
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--held-out", type=float, default=0.15, help="share of viewers who report nothing")
    parser.add_argument("--seconds", type=float, default=None, help="stop after this long")
    parser.add_argument("--run", default="run", help="first part of event ids; another one for another run")
    parser.add_argument("--key", default=None, help="API key")
    parser.add_argument("--orders", action="store_true", help="take orders on stdin")
    asyncio.run(_run(parser.parse_args(arguments)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
