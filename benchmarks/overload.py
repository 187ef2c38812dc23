"""What a service does when five times as much is asked as it can answer: goodput, what is refused, what is kept.

    python benchmarks/overload.py [--seconds 30] [--factor 5] [--workers 1] [--json]

Three stretches on one fresh service. Calm: 32 connections ask one after the other, which is the peak. Flood: requests
come at `factor` times that rate whether or not answers come (an open model), over as many connections as are free of
1,500; what finds none free was not sent, and is counted. After: as before. Seven of ten requests ask for a slate, two
report an event, one reads figures. At the end every event that was acknowledged is sent again: each must be known.

The load comes from this same machine, so the flood also takes processor time from the service: goodput is a lower
bound.
"""

import argparse
import asyncio
import contextlib
import itertools
import json
import random
import statistics
import sys
import tempfile
import time
from collections import Counter, deque
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.recommend_rate import service

CALM, CONNECTIONS_MAX = 32, 1_500
KINDS = ("slate",) * 7 + ("event",) * 2 + ("figures",)


class Connection(asyncio.Protocol):
    """One kept connection, one request at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._got = b""
        self._reply: asyncio.Future[tuple[int, dict[bytes, bytes]]] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.transport = None
        if self._reply is not None and not self._reply.done():
            self._reply.set_exception(ConnectionError("closed"))

    def data_received(self, data: bytes) -> None:
        self._got += data
        head, found, rest = self._got.partition(b"\r\n\r\n")
        if not found or self._reply is None:
            return
        lines = head.split(b"\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
        if len(rest) >= int(headers[b"content-length"]):
            self._got = b""
            if not self._reply.done():
                self._reply.set_result((int(lines[0].split()[1]), headers))

    def ask(self, request: bytes) -> "asyncio.Future[tuple[int, dict[bytes, bytes]]]":
        """Status and headers, once all of the answer is here."""
        assert self.transport is not None
        self._reply = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._reply


class Load:
    """Requests, and what became of them."""

    def __init__(self, url: str) -> None:
        self._address = urlsplit(url)
        self._idle: deque[Connection] = deque()
        self._opened = 0
        self._numbers = itertools.count()
        self.acknowledged: list[str] = []
        self.reset()

    def reset(self) -> None:
        """Count anew."""
        self.answers: Counter[tuple[str, int]] = Counter()
        self.took: list[float] = []
        self.refused_in: list[float] = []
        self.without_pause = self.unsent = self.lost = 0

    def request(self) -> tuple[str, str, bytes]:
        """(kind, the event's id, bytes) of one more request."""
        number = next(self._numbers)
        kind, name, user = random.choice(KINDS), f"over-{number}", f"u{random.randrange(500)}"
        if kind == "figures":
            return kind, name, b"GET /v1/experiment HTTP/1.1\r\nhost: localhost\r\n\r\n"
        if kind == "slate":
            path, body = "recommendations", json.dumps({"user_id": user, "n": 10})
        else:
            event = {"event_id": name, "event_type": "play", "user_id": user, "item_id": f"i{number % 200}"}
            path, body = "events", json.dumps({"events": [event]})
        head = f"POST /v1/{path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n"
        return kind, name, f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()

    async def one(self) -> None:
        """One request, from here to its answer."""
        kind, name, request = self.request()
        began = time.perf_counter()
        connection = None
        try:
            connection = await self._connection()
            status, headers = await asyncio.wait_for(connection.ask(request), 30.0)
        except (OSError, TimeoutError):
            self.lost += 1
            self._opened -= 1
            if connection is not None and connection.transport is not None:
                connection.transport.abort()
            self.missed(kind, name, request)
            return
        if b"close" in headers.get(b"connection", b"") and connection.transport is not None:
            connection.transport.close()
            connection.transport = None
        self._give(connection)
        self.answers[kind, status] += 1
        took = time.perf_counter() - began
        if status < 300:
            self.took.append(took)
            if kind == "event":
                self.acknowledged.append(name)
        else:
            self.refused_in.append(took)
            self.without_pause += status not in (429, 503) or not headers.get(b"retry-after", b"").isdigit()
            self.missed(kind, name, request)

    def missed(self, kind: str, name: str, request: bytes) -> None:
        """There was no good answer; who wants to may ask again."""

    async def _connection(self) -> Connection:
        while self._idle:
            kept = self._idle.popleft()
            if kept.transport is not None and not kept.transport.is_closing():
                return kept
            self._opened -= 1
        self._opened += 1
        loop = asyncio.get_running_loop()
        _, made = await loop.create_connection(Connection, self._address.hostname, self._address.port)
        return made

    def _give(self, connection: Connection) -> None:
        if connection.transport is None:
            self._opened -= 1
        else:
            self._idle.append(connection)

    async def calm(self, seconds: float) -> None:
        """A few clients, each waiting for its answer."""
        until = time.monotonic() + seconds

        async def client() -> None:
            while time.monotonic() < until:
                await self.one()

        await asyncio.gather(*(client() for _ in range(CALM)))

    async def flood(self, seconds: float, rate: float) -> None:
        """Requests at a rate, whatever becomes of them."""
        under_way: set[asyncio.Task[None]] = set()
        began, sent = time.monotonic(), 0
        while (now := time.monotonic()) < began + seconds:
            for _ in range(int((now - began) * rate) - sent):
                sent += 1
                if len(under_way) >= CONNECTIONS_MAX:
                    self.unsent += 1
                    continue
                task = asyncio.create_task(self.one())
                under_way.add(task)
                task.add_done_callback(under_way.discard)
            await asyncio.sleep(0.002)
        if under_way:
            await asyncio.wait(under_way)

    async def close(self) -> None:
        """Let go of what is kept."""
        for connection in self._idle:
            if connection.transport is not None:
                connection.transport.close()
        await asyncio.sleep(0.1)  # a transport is closed in the loop's next turns

    def report(self, name: str, seconds: float) -> dict[str, Any]:
        """What the last stretch came to."""
        good = sum(count for (_, status), count in self.answers.items() if status < 300)
        kinds = {
            kind: {str(status): n for (one, status), n in sorted(self.answers.items()) if one == kind}
            for kind in dict.fromkeys(KINDS)
        }
        return {
            "stretch": name,
            "good_per_s": round(good / seconds, 1),
            "ms_p50": _ms(self.took, 50),
            "ms_p99": _ms(self.took, 99),
            "refused": len(self.refused_in),
            "refused_ms_p50": _ms(self.refused_in, 50),
            "refused_without_pause": self.without_pause,
            "lost": self.lost,
            "unsent": self.unsent,
            "answers": kinds,
        }


def _ms(seconds: list[float], percent: int) -> float | None:
    return None if len(seconds) < 100 else round(statistics.quantiles(seconds, n=100)[percent - 1] * 1_000, 1)


async def measure(url: str, *, seconds: float, factor: float) -> dict[str, Any]:
    """All three stretches, and whether what was acknowledged is known."""
    load = Load(url)
    stretches = []
    await load.calm(min(5.0, seconds))  # warm
    load.reset()
    began = time.monotonic()
    await load.calm(seconds)
    stretches.append(load.report("calm", time.monotonic() - began))
    peak = stretches[0]["good_per_s"]
    load.reset()
    began = time.monotonic()
    await load.flood(seconds, peak * factor)
    stretches.append(load.report(f"{factor:g} times as much", time.monotonic() - began))
    load.reset()
    await asyncio.sleep(1.0)
    began = time.monotonic()
    await load.calm(4.0)
    stretches.append(load.report("after", time.monotonic() - began))
    await load.close()
    return {
        "stretches": stretches,
        "goodput": round(stretches[1]["good_per_s"] / peak, 3),
        "after": round(stretches[2]["good_per_s"] / peak, 3),
        "acknowledged": len(load.acknowledged),
        "acknowledged_lost": await asyncio.to_thread(_unknown, url, load.acknowledged),
    }


def _unknown(url: str, ids: list[str]) -> int:
    """How many of these events the service does not know."""
    import httpx

    missing = 0
    with httpx.Client(base_url=url, timeout=60.0) as client:
        for start in range(0, len(ids), 1_000):
            events = [
                {"event_id": one, "event_type": "play", "user_id": "u0", "item_id": "i0"}
                for one in ids[start : start + 1_000]
            ]
            reply = client.post("/v1/events", json={"events": events})
            reply.raise_for_status()
            missing += reply.json()["accepted"]
    return missing


def main(arguments: list[str] | None = None) -> int:
    """Exit code 1 where anything acknowledged was lost, or a refusal did not say when to come again."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--factor", type=float, default=5.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)
    random.seed(0)
    with tempfile.TemporaryDirectory() as folder, service(Path(folder) / "home", None, options.workers) as address:
        import httpx

        catalogue = [{"item_id": f"i{n}", "title": f"Title {n}"} for n in range(200)]
        httpx.post(f"{address['url']}/v1/items", json={"items": catalogue}, timeout=60.0).raise_for_status()
        found = asyncio.run(measure(address["url"], seconds=options.seconds, factor=options.factor))
    if options.json:
        print(json.dumps(found))
    else:
        for one in found["stretches"]:
            print(
                f"{one['stretch']:18} {one['good_per_s']:8,.0f} good/s   "
                f"p50 {one['ms_p50']} ms, p99 {one['ms_p99']} ms   "
                f"refused {one['refused']:,} (p50 {one['refused_ms_p50']} ms)   "
                f"no answer {one['lost']:,}   not sent {one['unsent']:,}"
            )
            print(f"{'':18} {one['answers']}")
        print(f"goodput {found['goodput']:.0%} of the peak; afterwards {found['after']:.0%}")
        print(f"{found['acknowledged']:,} events acknowledged, {found['acknowledged_lost']:,} of them lost")
    wrong = found["acknowledged_lost"] + sum(one["refused_without_pause"] for one in found["stretches"])
    return 1 if wrong else 0


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
