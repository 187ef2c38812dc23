"""A home folder, whether its service runs or not: where its log is reached, and what it began from."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from api.supervisor import read_address
from online.history import History, artifacts_of
from online.log import LogReader, LogServer


class HomeEmpty(Exception):
    """Nothing was ever served from this folder."""

    def __init__(self, home: Path) -> None:
        super().__init__(f"{home} has no log yet: start a service on it with `perennial up`, or name another --home")


@contextlib.contextmanager
def log_of(home: Path, redis_url: str | None) -> Iterator[LogReader]:
    """A reader of the home's log: of the running service, of `redis_url`, or of a server for as long as this takes.

    Call from the main thread. Raises HomeEmpty, LogError.
    """
    running = read_address(home)
    url = redis_url or (running.log_url if running is not None else None)
    server = None
    if url is None:
        if not (home / "log").is_dir():
            raise HomeEmpty(home)
        server = LogServer.start(home / "log")
        url = server.url
    reader = LogReader(url)
    try:
        yield reader
    finally:
        reader.close()
        if server is not None:
            server.stop()


def history_of(home: Path, reader: LogReader, *, from_snapshots: bool = True) -> History:
    """The past of a home's log. Raises HomeEmpty, LogError, LogForeign."""
    if reader.head() == 0:
        raise HomeEmpty(home)
    return History(reader, artifacts_of(home), snapshots=home / "snapshots" if from_snapshots else None)
