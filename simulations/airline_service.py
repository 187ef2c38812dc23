"""A real service to sell through, for as long as a market is played: `perennial up` on a folder of its own."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from simulations.airline_client import ServiceRefused, ServiceSeller
from simulations.processes import Child, lines_of, next_line


class Address(NamedTuple):
    """Where it is found."""

    url: str
    log_url: str
    home: Path


@contextmanager
def service(folder: Path, *, artifact: Path, seed: int, learns: bool = True) -> Iterator[Address]:
    """Up from here to the end of the block. learns: False freezes it by an act, before its first flight."""
    folder.mkdir(parents=True)
    settings = folder / "settings.json"
    settings.write_text(json.dumps({"seed": seed}), encoding="utf-8")
    arguments = ["-m", "api.command", "up", "--json", "--home", str(folder / "home"), "--port", "0"]
    child = Child("up", [*arguments, "--artifact", str(artifact), "--settings", str(settings)], talk=folder / "up.log")
    try:
        line = next_line(lines_of(child), child)
        if line is None:
            raise ServiceRefused(f"the service ended before it was ready; see {child.talk}")
        told = json.loads(line)
        if not learns:
            operator = ServiceSeller(told["url"])
            operator.act("freeze", "a seller that does not learn")
            operator.close()
        yield Address(told["url"], told["log_url"], folder / "home")
    finally:
        child.stop(timeout_s=60.0)
