"""Fixtures that several packages' tests share: a real server of the log, gone when the test ends."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# One thread per process: there are as many of them as cores already. Set before numba is imported.
os.environ.setdefault("NUMBA_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import hypothesis
import pytest

from online.log import LogServer

# A kernel is compiled where it is first called, which no deadline of one example allows for.
hypothesis.settings.register_profile("perennial", deadline=None)
hypothesis.settings.load_profile("perennial")


@pytest.fixture
def start_server() -> Iterator[Callable[[Path], LogServer]]:
    """Starts servers of the log on given folders; all of them are stopped when the test ends."""
    started: list[LogServer] = []

    def start(folder: Path, **options: object) -> LogServer:
        server = LogServer.start(folder, **options)
        started.append(server)
        return server

    yield start
    for server in started:
        server.stop()


@pytest.fixture
def log_server(tmp_path: Path, start_server: Callable[[Path], LogServer]) -> LogServer:
    """A server of the log on a folder of its own."""
    return start_server(tmp_path / "log")
