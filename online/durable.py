"""Files that are there whole, or not at all."""

import contextlib
import fcntl
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from online.failpoint import failpoint


def write_durably(path: Path, content: bytes) -> None:
    """Temporary file, fsync, rename, fsync of the folder: a reader sees the old content or the new, never a part."""
    write_together([(path, content)])


def write_together(files: Sequence[tuple[Path, bytes | Sequence[bytes | memoryview]]]) -> None:
    """Several files, each whole or not at all, the later ones there only where the earlier ones are; each folder is
    synced once, at the end. A content comes at once or in pieces.

    Contents are on the disk before anything gets its name, names are given in order, and file systems with a journal
    keep that order through a power cut. Where one does not, a name may come back without the one before it.
    """
    folders: dict[Path, None] = {}
    with contextlib.ExitStack() as opened:
        written = []
        for path, content in files:
            path.parent.mkdir(parents=True, exist_ok=True)
            folders[path.parent] = None
            file = opened.enter_context(open(_temporary(path), "wb"))
            file.writelines([content] if isinstance(content, bytes) else content)
            file.flush()
            written.append(file)
        for file in written:  # all being written: where the first one's sync ends, little is left for the others
            os.fsync(file.fileno())
    failpoint("durable.written")
    for path, _ in files:
        _temporary(path).rename(path)
    failpoint("durable.renamed")
    for folder in folders:
        number = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(number)
        finally:
            os.close(number)


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """One process at a time writes or removes in a folder: what one is about to name, another must not clear away."""
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".lock", "a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def clear_unnamed(folder: Path) -> None:
    """Remove what a process that died had written and not named yet. The caller is alone in the folder."""
    for path in folder.glob(".*"):
        if path.name != ".lock" and path.is_file():
            path.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}")
