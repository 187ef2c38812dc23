"""From acknowledged feedback to the next decision that knows it, over HTTP, while 200 events/s flow.

    python benchmarks/freshness.py [--artifact DIR] [--probes 300]

A probe sends one event, and from its acknowledgement on asks for slates of that user, one after the other, until one
was decided from a state that has learned the event (`model.position` has reached the event's). The time counted ends
when that answer has arrived, so it holds the answer's own latency too.
"""

import argparse
import asyncio
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))

from recommend_rate import EVENTS_PER_SECOND, USERS, prepare, service

from simulations.client import Client

RATE = Path(__file__).resolve().parent / "recommend_rate.py"


async def probe(client: Client, user: str, item: str) -> tuple[float, int, float]:
    """(ms until visible, decisions asked, ms of the acknowledgement)."""
    sent = time.perf_counter()
    reply = await client.call(
        "POST", "/v1/events", {"events": [{"event_type": "like", "user_id": user, "item_id": item}]}
    )
    acknowledged = time.perf_counter()
    position, asked = reply.json()["position"], 0
    while True:
        asked += 1
        slate = await client.call("POST", "/v1/recommendations", {"user_id": user})
        if slate.json()["model"]["position"] >= position:
            return (time.perf_counter() - acknowledged) * 1e3, asked, (acknowledged - sent) * 1e3


async def probes(url: str, count: int, items: int) -> list[tuple[float, int, float]]:
    client = Client(url)
    draw = random.Random(4)
    found = []
    for _ in range(count):
        found.append(await probe(client, f"u{draw.randrange(USERS)}", f"i{draw.randrange(items)}"))
        await asyncio.sleep(draw.random() * 0.04)
    await client.close()
    return found


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def main() -> None:
    """Start a service, let events flow, probe, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, default=None)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--probes", type=int, default=500)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, service(Path(folder) / "home", options.artifact) as address:
        prepare(address["url"], options.items)
        events = subprocess.Popen(
            [sys.executable, str(RATE), "--generate", "events", "--url", address["url"]]
            + ["--items", str(options.items), "--seconds", "3600"]
        )
        try:
            time.sleep(1.0)
            found = asyncio.run(probes(address["url"], options.probes, options.items))
        finally:
            events.terminate()
            events.wait()
    visible = [ms for ms, _, _ in found]
    asked = statistics.mean(n for _, n, _ in found)
    acknowledged = [ms for _, _, ms in found]
    print(f"{options.items:,} items, {EVENTS_PER_SECOND} events/s beside, {len(found)} probes")
    print(
        f"acknowledged → visible in a decision: p50 {percentile(visible, 0.5):.1f} ms, "
        f"p99 {percentile(visible, 0.99):.1f} ms, max {max(visible):.1f} ms (target p99 <= 50 ms); "
        f"{asked:.1f} decisions asked on the way"
    )
    print(
        f"event sent → acknowledged durably: p50 {percentile(acknowledged, 0.5):.1f} ms, "
        f"p99 {percentile(acknowledged, 0.99):.1f} ms"
    )


if __name__ == "__main__":
    main()
