"""What one worker of the service needs to know, given by whoever starts it: no environment is read here."""

import os
import secrets
from pathlib import Path

import msgspec

N_DEFAULT = 10
BODY_TIMEOUT_S = 15.0


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One worker. `secret` makes ids out of Idempotency-Keys, the same in every worker of one home folder."""

    home: Path
    log_url: str
    secret: bytes = b"perennial"
    keys_required: bool = False  # also while there are none: the service listens to other machines
    access_log: bool = False  # a line for every request
    ready_file: Path | None = None  # written once this worker can decide
    metrics_folder: Path | None = None  # where workers share their counters; None: this process alone


def worker_ready_file(home: Path, pid: int) -> Path:
    """What a worker leaves where its supervisor looks, since one address for all of them tells of one only."""
    return home / "run" / "workers" / str(pid)


def read_secret(home: Path) -> bytes:
    """The home folder's own secret, made on first use, readable by its owner only."""
    path = home / "secret"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return path.read_bytes()
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_bytes(32))
        file.flush()
        os.fsync(file.fileno())
    return path.read_bytes()
