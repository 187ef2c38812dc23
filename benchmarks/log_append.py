"""Appends per second and CPU per append of the log's writer, against the real embedded server, every append durable.

    python benchmarks/log_append.py [--seconds 3] [--payload-bytes 220]

N appenders run in one process, each waiting for its record to be on the disk before it sends the next. CPU is this
process's own (the API worker's share) and the server's, per append. Last, reading: records per second and CPU.
"""

import argparse
import asyncio
import os
import resource
import tempfile
import time
from pathlib import Path

import uvloop

from online.log import LogReader, LogServer, LogWriter

TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def cpu_s(who: int = resource.RUSAGE_SELF) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime


def cpu_of(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


async def measure(url: str, server_pid: int, appenders: int, seconds: float, payload: bytes) -> str:
    writer = LogWriter(url)
    await writer.start()
    deadline = time.perf_counter() + seconds
    waits_ms: list[float] = []

    async def appender() -> None:
        while (began := time.perf_counter()) < deadline:
            await writer.submit((payload,))
            waits_ms.append((time.perf_counter() - began) * 1e3)

    began, own, theirs = time.perf_counter(), cpu_s(), cpu_of(server_pid)
    await asyncio.gather(*(appender() for _ in range(appenders)))
    wall, own, theirs = time.perf_counter() - began, cpu_s() - own, cpu_of(server_pid) - theirs
    await writer.close()
    count = len(waits_ms)
    waits_ms.sort()
    return (
        f"{appenders:>9} {count / wall:>11,.0f} {own / count * 1e6:>14.1f} {theirs / count * 1e6:>14.1f} "
        f"{waits_ms[count // 2]:>8.2f} {waits_ms[count * 99 // 100]:>8.2f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--payload-bytes", type=int, default=220)
    arguments = parser.parse_args()
    payload = os.urandom(arguments.payload_bytes)
    with tempfile.TemporaryDirectory() as folder:
        server = LogServer.start(Path(folder) / "log")
        print("appenders  appends/s  worker us/each  server us/each   p50 ms   p99 ms")
        for appenders in (1, 32, 256):
            line = measure(server.url, server.pid, appenders, arguments.seconds, payload)
            print(uvloop.run(line), flush=True)
        reader = LogReader(server.url)
        after, began, own = 0, time.perf_counter(), cpu_s()
        while records := reader.read(after, 1_000, 0):
            after = records[-1][0]
        wall, own = time.perf_counter() - began, cpu_s() - own
        print(f"reading {after:,} records: {after / wall:,.0f}/s, {own / after * 1e6:.1f} us of CPU each")
        reader.close()
        server.stop()


if __name__ == "__main__":
    main()
