"""Every precondition of the service, asked and not assumed; each red line with its cure."""

import importlib.metadata
import os
import platform
import shutil
import sys
import time
from pathlib import Path

from api.supervisor import read_address
from online.log import LogError, LogUnavailable, check_server, connect
from online.log.checks import Check
from online.log.server import find_program, program_version

_DISK_MIN_BYTES = 2 << 30
_SHARED_MIN_BYTES = 256 << 20
_PACKAGES = ("fastapi", "hiredis", "msgspec", "numba", "numpy", "redis", "uvicorn", "uvloop")


def examine(home: Path, redis_url: str | None, *, batch: bool = True) -> list[Check]:
    """All checks, in the order in which a service would trip over them; `batch`: the batch job's too, slower to ask."""
    return [
        _python(),
        _packages(),
        _clock(),
        _home(home),
        _disk(home),
        _shared_memory(),
        _open_files(),
        *_log(home, redis_url),
        *([_gpu()] if batch else []),
    ]


def _python() -> Check:
    found = f"{platform.python_implementation()} {platform.python_version()}"
    return Check(name="python", ok=sys.version_info >= (3, 11), found=found, cure="use CPython 3.11 or newer")


def _packages() -> Check:
    versions, missing = [], []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            missing.append(name)
    found = f"missing: {', '.join(missing)}" if missing else ", ".join(versions)
    return Check(name="packages", ok=not missing, found=found, cure="run `make setup`")


def _clock() -> Check:
    year = time.gmtime().tm_year
    return Check(
        name="clock",
        ok=2024 <= year < 2100,
        found=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        cure="set the system's clock: arrivals are recorded with it",
    )


def _home(home: Path) -> Check:
    place = home if home.exists() else _existing_parent(home)
    ok = os.access(place, os.W_OK)
    found = f"{home}{'' if home.exists() else ' (not made yet)'}{'' if ok else ', not to be written'}"
    return Check(name="home", ok=ok, found=found, cure="choose a folder of your own with --home")


def _disk(home: Path) -> Check:
    free = shutil.disk_usage(_existing_parent(home)).free
    return Check(
        name="disk",
        ok=free >= _DISK_MIN_BYTES,
        found=f"{free >> 20:,} MiB free",
        cure=f"make room: a full disk stops the log (at least {_DISK_MIN_BYTES >> 30} GiB)",
    )


def _shared_memory() -> Check:
    memory = Path("/dev/shm")
    if not memory.is_dir():
        return Check(name="shared memory", ok=True, found="no /dev/shm; the home folder is used", cure="")
    free = shutil.disk_usage(memory).free
    return Check(
        name="shared memory",
        ok=free >= _SHARED_MIN_BYTES,
        found=f"{free >> 20:,} MiB free in /dev/shm",
        cure="give it more (in a container: --shm-size=1g)",
    )


def _open_files() -> Check:
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return Check(name="open files", ok=soft >= 1024, found=f"{soft} allowed", cure="raise it: `ulimit -n 4096`")


def _log(home: Path, redis_url: str | None) -> list[Check]:
    if redis_url is None:
        running = read_address(home)
        redis_url = running.log_url if running is not None else None
    if redis_url is None:
        try:
            program = find_program()
            found = f"{program.name} {'.'.join(map(str, program_version(program)))} (not running)"
        except LogError as error:
            return [Check(name="log server", ok=False, found="none", cure=str(error))]
        return [Check(name="log server", ok=True, found=found, cure="")]
    client = connect(redis_url)
    try:
        checks = check_server(client)
    except LogUnavailable as error:
        return [Check(name="log server", ok=False, found=str(error), cure="start it, or correct the URL")]
    finally:
        client.close()
    return [Check(name=f"log: {check.name}", ok=check.ok, found=check.found, cure=check.cure) for check in checks]


def _gpu() -> Check:
    """Never red: the service needs none, and the batch job runs without one."""
    try:
        import torch
    except ImportError:
        return Check(name="gpu", ok=True, found="torch is not installed; only `pretrain` needs it", cure="")
    if torch.cuda.is_available():
        return Check(name="gpu", ok=True, found=str(torch.cuda.get_device_name(0)), cure="")
    return Check(name="gpu", ok=True, found="none; `pretrain` will use the CPU", cure="")


def _existing_parent(path: Path) -> Path:
    path = path.absolute()
    while not path.exists():
        path = path.parent
    return path
