"""A home folder, whether its service runs or not: where its log is reached, and what it began from."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from api.supervisor import read_address
from online.artifact import Artifact, read_artifact
from online.log import LogReader, LogServer
from online.records import Begin, decode
from online.settings import Settings, read_settings


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


def pricing_beginning(home: Path, reader: LogReader) -> Artifact | None:
    """Pricing's artifact that the log began from. Raises Artifact…, LogError."""
    payload = reader.entry(1)
    first = decode(payload) if payload is not None else None
    if not isinstance(first, Begin) or not first.pricing_artifact_id:
        return None
    return read_artifact(home / "artifacts" / first.pricing_artifact_id)


def beginning(home: Path, reader: LogReader) -> tuple[Artifact | None, Settings]:
    """The artifact and the settings that the log began from. Raises HomeEmpty, Artifact…, LogError."""
    payload = reader.entry(1)
    first = decode(payload) if payload is not None else None
    if not isinstance(first, Begin):
        raise HomeEmpty(home)
    artifact = read_artifact(home / "artifacts" / first.artifact_id) if first.artifact_id else None
    return artifact, read_settings(first.settings)
