"""The pulse of the service: its figures once a second, the last half hour of them, for charts and for those who watch.

Read from shared memory, so taking it costs nothing that a decision would notice. Each worker keeps its own; they see
the same learner.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import msgspec
from fastapi import Response

from api.dashboard.tables import HEADERS
from api.identifiers import clock_ms
from api.reports import mixture_radius
from api.service import Service
from online.records import ARMS

EVERY_S = 1.0
KEPT = 1_800
_OUTCOMES = ("received", "applied", "duplicate", "late", "rejected")
_encoder, _decoder = msgspec.json.Encoder(), msgspec.json.Decoder(dict[str, Any])


class Pulse:
    """Samples, newest last. `run` takes them; `stream` tells them."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._samples: deque[bytes] = deque(maxlen=KEPT)  # as JSON: a quarter of what the objects take
        self._newer = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Take samples until `stop`. Call inside the event loop."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Those who listen are told that it is over."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        async with self._newer:
            self._newer.notify_all()

    async def _run(self) -> None:
        while True:
            self._samples.append(_encoder.encode(sample(self._service)))
            async with self._newer:
                self._newer.notify_all()
            await asyncio.sleep(EVERY_S)

    @property
    def samples(self) -> list[dict[str, Any]]:
        """All that are kept."""
        return [_decoder.decode(one) for one in self._samples]

    def json(self) -> Response:
        """All samples that are kept."""
        return Response(b"[" + b",".join(self._samples) + b"]", media_type="application/json", headers=HEADERS)

    async def stream(self) -> AsyncIterator[bytes]:
        """Server-sent events, one a sample, from the next on."""
        while self._task is not None:
            async with self._newer:
                await self._newer.wait()
            if self._task is not None and self._samples:
                yield b"data: " + self._samples[-1] + b"\n\n"


def sample(service: Service) -> dict[str, Any]:
    """The figures of this moment; without a learner, only that."""
    model = service.model_if_ready
    found: dict[str, Any] = {"at_ms": clock_ms(), "log": service.writer.connected, "ready": model is not None}
    if model is None:
        return found
    counters, monitors = model.counters(), model.monitors()
    p50, p99 = model.freshness_ms()
    head = max(service.writer.head, model.position)
    arms = {}
    for arm in model.arms():
        radius = mixture_radius(arm.n, alpha=0.05) if arm.n else None
        arms[arm.arm] = {
            "n": arm.n,
            "mean": arm.mean_reward if arm.n else None,
            "low": max(0.0, arm.mean_reward - radius) if radius is not None else None,
            "high": min(1.0, arm.mean_reward + radius) if radius is not None else None,
            "recent": _number(monitors[f"reward_mean_{arm.arm}"]) if arm.n else None,
        }
    drifts = {"prequential_loss": int(monitors["prequential_loss_drifts"])}
    drifts |= {f"reward_{arm}": int(monitors[f"reward_drifts_{arm}"]) for arm in ARMS}
    return {
        **found,
        "position": model.position,
        "head": head,
        "lag": head - model.position,
        "silent_ms": max(0, clock_ms() - model.heartbeat_ms),
        "learning": model.learning,
        "artifact": model.artifact_id,
        "freshness_ms": {"p50": _number(p50), "p99": _number(p99)},
        "loss": _number(monitors["prequential_loss"]) or None,
        "drifts": drifts,
        "drift_alarms": sum(drifts.values()),
        "arms": arms,
        "events": {name: counters[name] for name in _OUTCOMES},
        "decisions": counters["decisions"],
        "users": counters["users"],
        "items": counters["items"],
    }


def _number(value: float) -> float | None:
    return round(value, 6) if math.isfinite(value) else None
