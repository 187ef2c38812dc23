"""A demo's own calls to its service, over HTTP: state, experiment, metrics, acts."""

from __future__ import annotations

import http.client
import json
import math
from typing import Any
from urllib.parse import urlsplit

from simulations.demo_context import Demo, DemoFailed, made


def act(demo: Demo, act: str, reason: str) -> bool:
    """An operator's act. -> False where the service takes none (404, 405, 501)"""
    status, body = call(demo, "POST", "/v1/acts", {"act": act, "reason": reason})
    if status in (404, 405, 501):
        return False
    if status >= 300:
        raise DemoFailed(f"the act {act!r} was answered with {status}: {body[:300]!r}")
    return True


def monitors(demo: Demo, wall_s: float) -> dict[str, str]:
    """Prequential loss and drift alarms, by river inside the learner's process, out of /metrics."""
    try:
        text = get_text(demo, "/metrics")
    except (OSError, http.client.HTTPException):
        return {}
    loss, alarms = math.nan, None
    for line in text.splitlines():
        if line.startswith("#"):
            continue
        name, _, value = line.rpartition(" ")
        if name.startswith("perennial_prequential"):
            loss = float(value)
        elif name.startswith("perennial_drift"):
            alarms = (alarms or 0) + int(float(value))
    facts = {}
    if loss > 0.0:  # 0: nothing was predicted yet
        demo.results.loss = [*demo.results.loss, (wall_s, loss)]
        facts["prequential loss"] = f"{loss:.3f}"
    if alarms is not None:
        demo.results.drift_alarms = alarms
        facts["drift alarms"] = str(alarms)
    return facts


def get(demo: Demo, path: str) -> Any:
    status, body = call(demo, "GET", path)
    if status != 200:
        raise DemoFailed(f"GET {path} was answered with {status}: {body[:300]!r}")
    return json.loads(body)


def get_text(demo: Demo, path: str) -> str:
    return call(demo, "GET", path)[1].decode()


def call(demo: Demo, method: str, path: str, body: Any = None) -> tuple[int, bytes]:
    parts = urlsplit(demo.url)
    connection = http.client.HTTPConnection(made(parts.hostname), parts.port, timeout=30.0)
    try:
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, {} if body is None else {"content-type": "application/json"})
        reply = connection.getresponse()
        return reply.status, reply.read()
    finally:
        connection.close()
