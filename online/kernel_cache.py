"""Where compiled kernels are kept between processes: under a name made of every source that they are made of.

numba itself looks only at the file of the function that it loads. After a change in a callee of another file, or in a
constant that a kernel took from there, it would go on running the old one, and two machines with the same sources
would part by a bit. So a kernel's folder is named by the digest of its module and of all modules of the project that
this one imports, however far away; and a change in one domain leaves the other's kernels as they are.
"""

import os
import re
import tempfile
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

from numba.core.caching import UserProvidedCacheLocator

ROOT = Path(__file__).parent.parent
_IMPORT = re.compile(r"^(?:from|import) (online[\w.]*)(?: import (\([^)]*\)|.*))?", re.MULTILINE)


def imported(source: str, root: Path) -> set[Path]:
    """Files of the project that a module's source imports when it is loaded, its own packages aside."""
    files = set()
    for module, names in _IMPORT.findall(source):
        base = root.joinpath(*module.split("."))
        files |= {base.with_suffix(".py"), *(base / f"{name}.py" for name in re.findall(r"\w+", names))}
    return {file for file in files if file.is_file()}


def closure(file: Path, root: Path) -> set[Path]:
    """The file and all that it imports, directly or not."""
    found, waiting = {file}, [file]
    while waiting:
        for one in _imports_of(waiting.pop(), root) - found:
            found.add(one)
            waiting.append(one)
    return found


@cache
def _imports_of(file: Path, root: Path) -> frozenset[Path]:
    return frozenset(imported(file.read_text(encoding="utf-8"), root))


@cache
def sources_digest(file: Path, root: Path = ROOT) -> str:
    """16 hex digits that change when any source does that the file's kernels may be made of."""
    digest = blake2b(digest_size=8)
    for path in sorted(closure(file, root)):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


@cache
def kernels_folder() -> Path:
    """Where kernels may be kept: NUMBA_CACHE_DIR, beside the sources, the user's cache, or a temporary place."""
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    cached = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    places = [Path(chosen)] if chosen else [Path(__file__).parent / "__pycache__", Path(cached) / "perennial"]
    for place in places:
        folder = place / "kernels"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError:
            continue
        if os.access(folder, os.W_OK):
            return folder
    return Path(tempfile.mkdtemp(prefix="perennial-"))


class KernelLocator(UserProvidedCacheLocator):
    """numba's way to ask where a kernel of this project is kept; it leaves those of others to numba."""

    def __init__(self, kernel: Any, file: str) -> None:
        super().__init__(kernel, file)  # type: ignore[no-untyped-call]
        self._cache_path = _kept_in(file)

    @classmethod
    def from_function(cls, py_func: Any, py_file: str) -> Any:
        """The locator of a function, or None where it is not this project's."""
        return cls(py_func, py_file) if _kept_in(py_file) else None


@cache
def _kept_in(file: str) -> str:
    """The folder of a source's kernels, which is there and may be written; "" where it is not this project's."""
    path = Path(file).resolve()
    if not path.is_file() or not path.is_relative_to(ROOT):
        return ""
    folder = kernels_folder() / f"{path.stem}-{sources_digest(path)}"
    folder.mkdir(parents=True, exist_ok=True)
    tempfile.TemporaryFile(dir=folder).close()
    return str(folder)
