"""Requests per CPU second of POST /v1/recommendations, against a FastAPI hello in the same run.

    python benchmarks/recommend_rate.py [--artifact DIR] [--items 10000] [--rounds 5] [--seconds 4]

One worker, learning on: while slates are asked for, events flow (200/s) and the learner publishes. What is counted is
the worker's own CPU time (utime + stime of /proc/PID/stat), so that a noisy neighbour changes the wall clock and not
the result; rounds of both alternate, medians are compared. The hello is FastAPI as its tutorial has it, a pydantic
body in and a dict out, under the same server with the same settings.
"""

import argparse
import asyncio
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

CONNECTIONS = 32
EVENTS_PER_SECOND = 200
USERS = 2_000

HELLO = """
from fastapi import FastAPI
from pydantic import BaseModel

class Greeting(BaseModel):
    name: str

app = FastAPI()

@app.post("/hello")
async def hello(greeting: Greeting):
    return {"hello": greeting.name}
"""


@contextlib.contextmanager
def service(home: Path, artifact: Path | None, workers: int = 1) -> Iterator[dict[str, Any]]:
    """A running `perennial up`; its address as JSON."""
    command = [sys.executable, "-m", "api.command", "up", "--home", str(home), "--port", "0", "--json"]
    command += ["--workers", str(workers)] + (["--artifact", str(artifact)] if artifact else [])
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        if not line:
            sys.exit("the service did not start")
        yield json.loads(line)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextlib.contextmanager
def hello_server(folder: Path) -> Iterator[tuple[str, int]]:
    """FastAPI's hello under uvicorn: its URL and process id."""
    (folder / "hello_app.py").write_text(HELLO)
    ready = folder / "hello.port"
    program = (
        "import socket, sys, uvicorn; from hello_app import app; s = socket.socket(); s.bind(('127.0.0.1', 0));"
        f"s.listen(1024); open({str(ready)!r}, 'w').write(str(s.getsockname()[1]));"
        "uvicorn.Server(uvicorn.Config(app, loop='uvloop', http='httptools', access_log=False, log_level='warning',"
        "server_header=False)).run(sockets=[s])"
    )
    process = subprocess.Popen([sys.executable, "-c", program], cwd=folder)
    try:
        while not ready.exists() or not ready.read_text():
            time.sleep(0.05)
        time.sleep(1.0)
        yield f"http://127.0.0.1:{ready.read_text()}", process.pid
    finally:
        process.terminate()
        process.wait()


def worker_pids(supervisor: int) -> list[int]:
    """The service's workers."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            parent = int((entry / "stat").read_text().rsplit(")", 1)[1].split()[1])
            if parent == supervisor and b"api.worker" in (entry / "cmdline").read_bytes():
                found.append(int(entry.name))
    return found


def cpu_seconds(pid: int) -> float:
    """CPU time of a process, all threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def request_bytes(host: str, path: str, body: dict[str, Any]) -> bytes:
    """One POST, ready to be sent."""
    content = json.dumps(body, separators=(",", ":")).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(content)}\r\n"
    )
    return head.encode() + b"\r\n" + content


async def ask(host: str, port: int, requests: list[bytes], expected: int, until: float, turn: int) -> int:
    """One connection, one request after the other; how many were answered as expected."""
    reader, writer = await asyncio.open_connection(host, port)
    answered = 0
    wanted = f"HTTP/1.1 {expected}".encode()
    while time.monotonic() < until:
        writer.write(requests[(turn + answered * CONNECTIONS) % len(requests)])
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0])
        content = await reader.readexactly(length)
        if not head.startswith(wanted):
            raise RuntimeError(f"{head!r} {content[:300]!r}")
        answered += 1
    writer.close()
    return answered


async def load(url: str, requests: list[bytes], expected: int, seconds: float) -> int:
    """CONNECTIONS at a time for a while."""
    host, port = url.removeprefix("http://").split(":")
    until = time.monotonic() + seconds
    return sum(
        await asyncio.gather(*(ask(host, int(port), requests, expected, until, turn) for turn in range(CONNECTIONS)))
    )


def generate(kind: str, url: str, seconds: float) -> None:
    """The load's own process: prints how many requests were answered."""
    host = url.removeprefix("http://")
    if kind == "hello":
        requests, expected = [request_bytes(host, "/hello", {"name": "ada"})], 200
    else:
        draw = random.Random(1)
        bodies = [{"user_id": f"u{draw.randrange(USERS)}", "n": 10} for _ in range(5_000)]
        requests, expected = [request_bytes(host, "/v1/recommendations", body) for body in bodies], 201
    print(asyncio.run(load(url, requests, expected, seconds)))


async def events_flow(url: str, items: int, seconds: float) -> None:
    """EVENTS_PER_SECOND events, ten to a call."""
    host, port = url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    draw = random.Random(2)
    until, size = time.monotonic() + seconds, 10
    following = time.monotonic()
    while time.monotonic() < until:
        events = [
            {"event_type": "play", "user_id": f"u{draw.randrange(USERS)}", "item_id": f"i{draw.randrange(items)}"}
            for _ in range(size)
        ]
        writer.write(request_bytes(f"{host}:{port}", "/v1/events", {"events": events}))
        head = await reader.readuntil(b"\r\n\r\n")
        await reader.readexactly(int(head.lower().split(b"content-length:", 1)[1].split(b"\r\n", 1)[0]))
        following += size / EVENTS_PER_SECOND
        await asyncio.sleep(max(0.0, following - time.monotonic()))
    writer.close()


def flow(url: str, items: int, seconds: float) -> None:
    asyncio.run(events_flow(url, items, seconds))


def prepare(url: str, items: int) -> None:
    """A catalogue of `items`, and a past for the users."""
    import http.client

    host, port = url.removeprefix("http://").split(":")
    connection = http.client.HTTPConnection(host, int(port))

    def post(path: str, body: Any) -> int:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        reply = connection.getresponse()
        content = reply.read()
        if reply.status not in (201, 202):
            sys.exit(f"{path}: {reply.status} {content[:300]!r}")
        position: int = json.loads(content)["position"]
        return position

    for start in range(0, items, 1_000):
        post("/v1/items", {"items": [{"item_id": f"i{n}"} for n in range(start, min(items, start + 1_000))]})
    draw, position = random.Random(3), 0
    for _ in range(20):
        events = [
            {
                "event_type": "play",
                "user_id": f"u{draw.randrange(USERS)}",
                "item_id": f"i{int(items * draw.random() ** 3)}",
            }
            for _ in range(1_000)
        ]
        position = post("/v1/events", {"events": events})
    learned = 0
    while learned < position:  # where the kernels are new, the first events wait for the compiler
        time.sleep(0.5)
        connection.request("GET", "/v1/state")
        learned = json.loads(connection.getresponse().read()).get("position", 0)
    connection.close()


def measure(kind: str, url: str, pid: int, seconds: float) -> tuple[float, float]:
    """(requests per CPU second, requests per second) of one round."""
    before = cpu_seconds(pid)
    began = time.monotonic()
    printed = subprocess.run(
        [sys.executable, __file__, "--generate", kind, "--url", url, "--seconds", str(seconds)],
        check=True,
        capture_output=True,
        text=True,
    )
    took = time.monotonic() - began
    return int(printed.stdout) / (cpu_seconds(pid) - before), int(printed.stdout) / took


def main() -> None:
    """Alternate rounds, print medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifact", type=Path, default=None)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--generate", choices=("hello", "slate", "events"), help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.generate == "events":
        flow(options.url, options.items, options.seconds)
        return
    if options.generate:
        generate(options.generate, options.url, options.seconds)
        return
    results: dict[str, list[float]] = {"hello": [], "slate": []}
    with (
        tempfile.TemporaryDirectory() as folder,
        hello_server(Path(folder)) as (hello_url, hello_pid),
        service(Path(folder) / "home", options.artifact) as address,
    ):
        url = address["url"]
        (worker,) = worker_pids(address["pid"])
        prepare(url, options.items)
        artifact = address["artifact"] or "none"
        print(f"{options.items:,} items, {USERS:,} users, artifact {artifact}, {CONNECTIONS} connections")
        for number in range(options.rounds):
            events = subprocess.Popen(
                [sys.executable, __file__, "--generate", "events", "--url", url, "--items", str(options.items)]
                + ["--seconds", str(options.seconds + 1.0)]
            )
            slate = measure("slate", url, worker, options.seconds)
            events.wait()
            hello = measure("hello", hello_url, hello_pid, options.seconds)
            results["slate"].append(slate[0])
            results["hello"].append(hello[0])
            print(
                f"round {number + 1}: slate {slate[0]:,.0f} per CPU second ({slate[1]:,.0f}/s), "
                f"hello {hello[0]:,.0f} per CPU second ({hello[1]:,.0f}/s)",
                flush=True,
            )
    slate_rate, hello_rate = statistics.median(results["slate"]), statistics.median(results["hello"])
    print(
        f"median: slate {slate_rate:,.0f}, hello {hello_rate:,.0f} requests per CPU second; "
        f"ratio {slate_rate / hello_rate:.2f} (target >= 0.7)"
    )


if __name__ == "__main__":
    main()
