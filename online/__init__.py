"""The ground floor: the log's records, the fold, the learners, the decisions. No torch, no fastapi.

Compiled kernels are kept between processes under a name made of all kernels' sources. numba itself looks only at the
file of the function it loads: after a change in a callee it would go on running the old one, and two machines with
the same sources would part by a bit.
"""

import os
import tempfile
from hashlib import blake2b
from pathlib import Path

import numba


def _sources_digest(folder: Path) -> str:
    """16 hex digits that change when any kernel's source does."""
    digest = blake2b(digest_size=8)
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        if b"njit" in content:
            digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + content)
    return digest.hexdigest()


def _kernel_folder() -> Path:
    """Where compiled kernels are kept: NUMBA_CACHE_DIR, beside the sources, the user's cache, or a temporary place."""
    here = Path(__file__).parent
    name = f"kernels-{_sources_digest(here)}"
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    places = [Path(chosen)] if chosen else [here / "__pycache__", Path(cache) / "perennial"]
    for place in places:
        try:
            (place / name).mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(place / name, os.W_OK):
            return place / name
    return Path(tempfile.mkdtemp(prefix="perennial-"))


numba.config.CACHE_DIR = str(_kernel_folder())  # type: ignore[attr-defined]
