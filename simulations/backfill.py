"""Tell a new service what its users did before it existed, over HTTP, as someone who moves in would.

An artifact holds what all users taught together, and no user's own past. The past is sent as events in order of time;
while learning is frozen by an operator's act they move each user's own state and nothing that is shared.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from simulations.client import Client

BATCH = 1_000


class BackfillRefused(Exception):
    """The service did not take a batch of the past."""


def backfill(url: str, history: Path, *, progress: Callable[[str], None]) -> int:
    """Send the watched titles of an interactions file. -> events sent. Raises BackfillRefused, CallFailed."""
    return asyncio.run(_backfill(url, history, progress))


async def _backfill(url: str, history: Path, progress: Callable[[str], None]) -> int:
    client = Client(url, connections=1, timeout_s=60.0)
    sent, position = 0, 0
    try:
        for batch in _batches(history):
            # One call at a time: the log keeps the order in which things happened.
            reply = await client.call("POST", "/v1/events", {"events": batch})
            if reply.status != 202:
                raise BackfillRefused(f"POST /v1/events: {reply.status} {reply.body[:500]!r}")
            answer = reply.json()
            if answer["rejected"]:
                raise BackfillRefused(f"an event of the past was rejected: {answer['rejected'][0]}")
            sent += len(batch)
            position = answer["position"]
            progress(f"{sent:,} events")
        await _learned(client, position, progress)
    finally:
        await client.close()
    return sent


def _batches(history: Path) -> Iterator[list[dict[str, Any]]]:
    batch: list[dict[str, Any]] = []
    with history.open(newline="", encoding="utf-8") as file:
        for number, row in enumerate(csv.DictReader(file)):
            if row["event_type"] != "watch":
                continue
            batch.append(
                {
                    "event_id": f"past-{number}",
                    "event_type": "watch",
                    "user_id": row["user_id"],
                    "item_id": row["item_id"],
                    "occurred_at": int(row["timestamp"]),
                    "value": float(row["value"]),
                    "context": {"device": row["context_device"], "hour_band": row["context_hour_band"]},
                }
            )
            if len(batch) == BATCH:
                yield batch
                batch = []
    if batch:
        yield batch


async def _learned(client: Client, position: int, progress: Callable[[str], None]) -> None:
    """Wait until the learner has come so far."""
    while True:
        reply = await client.call("GET", "/v1/state")
        if reply.status == 200:
            reached = reply.json()["position"]
            if reached >= position:
                return
            progress(f"folded up to {reached:,} of {position:,}")
        await asyncio.sleep(0.2)
