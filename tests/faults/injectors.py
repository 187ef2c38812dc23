"""Faults for tests of anything that promises to keep what it acknowledged; no containers, no root.

kill, pause            SIGKILL; SIGSTOP for a while
failpoint              the environment under which a process kills itself at a named place (`online.failpoint`)
append_until_killed    records until a server is killed, and which of them it had acknowledged
build_fsync_library    a preloaded library that makes syncs slow and notes what was synced
cut_power              takes away what was not, but for a torn piece
UnreliableRelay        a socket in between that loses and delays replies
no_room                a process that may write files of so many bytes and no more
"""

import asyncio
import contextlib
import os
import random
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from online.log import LogServer, LogUnavailable, LogWriter

COMPILER = shutil.which("cc") or shutil.which("gcc")


def kill(pid: int) -> None:
    """SIGKILL; a process that is gone already is no error."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextlib.contextmanager
def paused(pid: int) -> Iterator[None]:
    """SIGSTOP inside, SIGCONT after: a process that hangs and answers nobody."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


def failpoint(name: str, k: int, marker: Path) -> dict[str, str]:
    """The environment in which the process dies once, at its k-th pass of a place."""
    return {"PERENNIAL_FAILPOINT": f"{name}:{k}:{marker}"}


def build_fsync_library(folder: Path) -> Path:
    """Compile the preloaded library. Set LD_PRELOAD to it, FSYNC_NOTES to a file, FSYNC_SLOW_US to a wait."""
    assert COMPILER is not None
    built = folder / "fsync_log.so"
    source = Path(__file__).with_name("fsync_log.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-O2", "-o", built, source, "-ldl"], check=True)
    return built


async def append_until_killed(server: LogServer, kill_after: int) -> dict[bytes, int]:
    """32 appenders, until `kill_after` records are acknowledged and the server is killed; where each one stands."""
    acknowledged: dict[bytes, int] = {}
    writer = LogWriter(server.url, patience_s=0.05)
    await writer.start()
    killed = False

    async def appender(name: int) -> None:
        turn = 0
        while not killed:
            record = b"%d/%d " % (name, turn) + b"x" * 200
            turn += 1
            try:
                acknowledged[record] = await writer.append([record])
            except LogUnavailable:
                return

    async def killing() -> None:
        nonlocal killed
        while len(acknowledged) < kill_after:
            await asyncio.sleep(0.0005)
        kill(server.pid)
        killed = True

    await asyncio.gather(killing(), *map(appender, range(32)))
    await writer.close()
    server.stop()
    return acknowledged


def cut_power(files: list[Path], notes: Path, seed: int) -> int:
    """Truncate each append-only file to what was synced, plus a torn piece; how many bytes were taken away."""
    kept: dict[str, int] = {}
    for line in notes.read_text().splitlines() if notes.exists() else ():
        size, _, path = line.partition("\t")
        kept[path] = max(kept.get(path, 0), int(size))
    taken = 0
    torn = random.Random(seed)
    for path in files:
        written, synced = path.stat().st_size, kept.get(str(path), 0)
        if written > synced:
            left = synced + torn.randrange(written - synced)
            os.truncate(path, left)
            taken += written - left
    return taken


@contextlib.contextmanager
def no_room(bytes_: int) -> Iterator[None]:
    """No file of this process grows beyond so many bytes: writing on fails with EFBIG, as a full disk with ENOSPC."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, ignored)


class UnreliableRelay:
    """Between clients and a server, on a unix socket of its own: replies are lost (and the connection with them) or
    delayed, by chance of a seed; whoever asked asks again. `async with` it; `url` is what clients connect to."""

    def __init__(self, path: Path, upstream: str, *, seed: int, lose: float = 0.0, delay: float = 0.0) -> None:
        self.url = f"unix://{path}"
        self._path, self._upstream = path, upstream
        self._chance = random.Random(seed)
        self._lose, self._delay = lose, delay
        self.lost = self.delayed = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> "UnreliableRelay":
        self._server = await asyncio.start_unix_server(self._serve, self._path)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        up_reader, up_writer = await asyncio.open_unix_connection(self._upstream)
        there = asyncio.create_task(self._forward(reader, up_writer))
        try:
            while piece := await up_reader.read(65_536):
                drawn = self._chance.random()
                if drawn < self._lose:
                    self.lost += 1
                    break
                if drawn < self._lose + self._delay:
                    self.delayed += 1
                    await asyncio.sleep(self._chance.uniform(0.01, 0.3))
                writer.write(piece)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            there.cancel()
            for side in (writer, up_writer):
                side.close()
            self._tasks.discard(task)

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await reader.read(65_536):
                writer.write(piece)
                await writer.drain()


def bound(trials: int) -> str:
    """What no failure in so many independent trials shows, at 95 %: the rule of three."""
    return f"0 of {trials}: at 95 % fewer than {3 / trials:.2%} of them fail"
