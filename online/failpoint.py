"""Places at which a test can have this process killed: PERENNIAL_FAILPOINT=name:k:file.

The process kills itself, as SIGKILL would, when it passes the named place for the k-th time; what copies of it (forks)
have passed counts too. The file is made first; while it is there nothing happens: the process that is started in its
place lives. Without the variable a place costs one comparison.
"""

import mmap
import os
import signal
from pathlib import Path

NAMES = (
    "durable.written",  # a file is on the disk under its temporary name
    "durable.renamed",  # and under its own, its folder not synced yet
    "learner.folded",  # a batch is folded, and not published
    "learner.published",  # and published
    "learner.switched",  # another past is in force, and not published
    "archive.archived",  # segments are written, and the stream is not trimmed
    "erasure.begun",  # the receipt is begun, and nothing has left
    "erasure.replaced",  # records have left the stream, and not the archive and the snapshots
    "erasure.archived",  # and the archive, and not the snapshots
    "erasure.removed",  # and the snapshots, and the receipt is not finished
)
_WANTED = os.environ.get("PERENNIAL_FAILPOINT", "")
_passed = mmap.mmap(-1, mmap.PAGESIZE) if _WANTED else None  # how often, in memory that copies share


def failpoint(name: str) -> None:
    """A place with a name of NAMES."""
    if _passed is None:
        return
    wanted, k, marker = _WANTED.split(":", 2)
    if name != wanted:
        return
    times = int.from_bytes(_passed[:8], "little") + 1
    _passed[:8] = times.to_bytes(8, "little")
    if times == int(k) and not Path(marker).exists():
        Path(marker).write_text(name)
        os.kill(os.getpid(), signal.SIGKILL)
