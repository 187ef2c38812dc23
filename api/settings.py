"""What one worker of the service needs to know, given by whoever starts it: no environment is read here."""

from pathlib import Path

import msgspec

N_DEFAULT = 10
BODY_TIMEOUT_S = 15.0


class ServiceSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One worker. `secret` makes ids out of Idempotency-Keys, the same in every worker of one home folder."""

    home: Path
    log_url: str
    secret: bytes = b"perennial"
    metrics_folder: Path | None = None  # where workers share their counters; None: this process alone


def read_secret(home: Path) -> bytes:
    """The home folder's own secret, made on first use, readable by its owner only."""
    import os
    import secrets

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
