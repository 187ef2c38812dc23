"""Shared memory whose service was killed: nobody is left to take it away but the next service that starts.

    owner     in the folder: the home's path, under a shared lock for as long as the learner lives

A lock goes with its process, however that ends, and stays with one that is merely stopped. A folder is taken away under
the exclusive lock, and only where its learner is silent and nobody supervises its home; what does not say whose it is
stays.
"""

import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from online.publication import HEARTBEAT_MS, LearnerNotReady, open_control, shared_folder

OWNER = "owner"
SILENT_S = 60.0


def hold(home: Path) -> int:
    """Make the shared folder of this home if need be, and say that it is in use. The descriptor that holds the lock."""
    folder = shared_folder(home)
    while True:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            holding = os.open(folder / OWNER, os.O_RDWR | os.O_CREAT, 0o600)
        except FileNotFoundError:  # it was taken away just now
            continue
        fcntl.flock(holding, fcntl.LOCK_SH)
        try:
            kept = os.path.samestat(os.stat(folder / OWNER), os.fstat(holding))
        except FileNotFoundError:
            kept = False
        if kept:
            os.pwrite(holding, os.fsencode(home.resolve()), 0)
            return holding
        os.close(holding)


def remove_leftovers(own: Path, *, silent_s: float = SILENT_S) -> Iterator[Path]:
    """Take away the shared memory of services that are certainly gone, but for that of the home `own`; their homes."""
    kept = shared_folder(own)
    for folder in kept.parent.glob(f"perennial-{os.getuid()}-*"):
        if folder != kept and (home := _removed(folder, silent_s)) is not None:
            yield home


def _removed(folder: Path, silent_s: float) -> Path | None:
    try:
        holding = os.open(folder / OWNER, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(holding, fcntl.LOCK_EX | fcntl.LOCK_NB)
        home = Path(os.fsdecode(os.read(holding, 65_536)))
        if shared_folder(home) != folder or not _silent(folder, silent_s) or _supervised(home):
            return None
        # The owner goes last: until then who wants to use the folder waits for the lock, and finds it gone.
        for path in sorted(folder.iterdir(), key=lambda path: path.name == OWNER):
            path.unlink(missing_ok=True)
        folder.rmdir()
        return home
    except OSError:  # in use, or used again just now
        return None
    finally:
        os.close(holding)


def _silent(folder: Path, silent_s: float) -> bool:
    try:
        heard_ms = int(open_control(folder)[HEARTBEAT_MS])
    except LearnerNotReady:
        return True
    return time.time_ns() / 1e6 - heard_ms > 1e3 * silent_s


def _supervised(home: Path) -> bool:
    """Whether a supervisor holds this home's lock."""
    try:
        lock = os.open(home / "run" / "lock", os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
