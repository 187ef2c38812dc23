"""The processes of one home folder: the log's server, the learner, the workers; started in order, restarted
when they die, stopped in order, and gone when the supervisor is gone.

    server ← learner ← workers          each needs the ones to its left; stopping goes from right to left

The listening socket belongs to the supervisor, so a connection that arrives while a worker is being
restarted waits in the socket's queue instead of being refused. Children ask the kernel to be ended with
their parent (PR_SET_PDEATHSIG, which is tied to the thread that started them: everything here happens in
the main thread).
"""

import contextlib
import fcntl
import http.client
import ipaddress
import json
import os
import select
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import msgspec

from api.children import Child, interruptible, signals
from api.keys import KeysUnreadable, read_keys
from api.settings import worker_ready_file
from online.archive import open_log
from online.artifact import Artifact, ArtifactMissing, read_artifact
from online.log import LogError, LogServer, connect, require_durable
from online.records import Begin, decode

_LAUNCH = Path(__file__).resolve().parent.parent / "online" / "log" / "launch.py"
_BACKLOG = 1024
_LOCK_S = 0.5  # a service that starts elsewhere may be looking for a moment whether anybody has it
_SERVER_AGAIN_S = 2.0


class StartRefused(Exception):
    """The service cannot start as asked; the message says why, and what would do."""


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What `perennial up` was asked for. `port` 0 takes a free one; `workers` 1 or more."""

    home: Path
    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    redis_url: str | None = None
    artifact: Path | None = None
    pricing_artifact: Path | None = None
    settings: Path | None = None
    snapshot_every_s: float = 300.0
    log_kept: int = 100_000  # records that stay in the server's memory once they are archived
    access_log: bool = False
    ready_timeout_s: float = 900.0  # a first start compiles the kernels, on a busy machine for minutes


class Address(msgspec.Struct, frozen=True, kw_only=True):
    """Where a running service is found; stands in run/address.json."""

    url: str
    docs: str
    dashboard: str
    log_url: str
    home: str
    pid: int
    artifact: str
    pricing_artifact: str = ""


class Supervisor:
    """One service. `start`, then `watch` until a signal, then `stop`; or `run` for all three."""

    def __init__(self, options: Options, *, say: Callable[[str], None]) -> None:
        refuse_open_host(options.host, options.home)
        self._options = options
        self._say = say
        self._server: LogServer | None = None
        self._server_due = 0.0  # when one that would not start is started again
        self._children: list[Child] = []
        self._listening: socket.socket | None = None
        self._lock: IO[str] | None = None
        self.address: Address | None = None

    # Starting

    def start(self) -> Address:
        """Everything up and ready. Raises StartRefused, and what the log's server and checks raise."""
        options = self._options
        options.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _take_lock(options.home)
        self._listening = _listen(options.host, options.port)
        log_url = self._start_log()
        artifact, pricing = self._artifacts(log_url)
        environment = self._environment()
        self._children = [
            Child("learner", lambda: self._spawn(self._learner_command(log_url, artifact, pricing), environment)),
            *(
                Child(f"worker {number}", lambda: self._spawn(self._worker_command(log_url), environment))
                for number in range(1, options.workers + 1)
            ),
        ]
        for child in self._children:
            child.start()
        self._wait_ready()
        host, port = self._listening.getsockname()[:2]
        url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
        self.address = Address(
            url=url,
            docs=f"{url}/docs",
            dashboard=f"{url}/",
            log_url=log_url,
            home=str(options.home),
            pid=os.getpid(),
            artifact=artifact.id if artifact else "",
            pricing_artifact=pricing.id if pricing else "",
        )
        _write_json(self._run / "address.json", msgspec.to_builtins(self.address))
        return self.address

    @property
    def _run(self) -> Path:
        return self._options.home / "run"

    def _start_log(self) -> str:
        if self._options.redis_url is not None:
            url = self._options.redis_url
        else:
            self._server = LogServer.start(self._options.home / "log")
            url = self._server.url
        client = connect(url)
        try:
            require_durable(client)
        finally:
            client.close()
        return url

    def _artifacts(self, log_url: str) -> tuple[Artifact | None, Artifact | None]:
        """Recommendation's artifact and pricing's: as asked for, else those that this home's log began from."""
        reader = open_log(log_url, self._options.home)
        try:
            payload = reader.entry(1)
        finally:
            reader.close()
        begun = decode(payload) if payload is not None else None
        began = (begun.artifact_id, begun.pricing_artifact_id) if isinstance(begun, Begin) else ("", "")
        return (
            self._artifact(self._options.artifact, began[0]),
            self._artifact(self._options.pricing_artifact, began[1]),
        )

    def _artifact(self, given: Path | None, began: str) -> Artifact | None:
        """The artifact asked for, kept in the home; without one, the one of this id."""
        kept = self._options.home / "artifacts"
        if given is not None:
            artifact = read_artifact(given)
            keep_artifact(given, kept / artifact.id)
            return artifact
        if not began:
            return None
        try:
            return read_artifact(kept / began)
        except ArtifactMissing as error:
            raise StartRefused(
                f"this home's log began from artifact {began}, which is not under {kept}; "
                f"name its folder with --artifact"
            ) from error

    def _environment(self) -> dict[str, str]:
        metrics, workers = self._run / "metrics", self._run / "workers"
        for folder in (metrics, workers):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(metrics), "PYTHONUNBUFFERED": "1"}
        # One thread each: processes are how this service scales, and idle pools only disturb each other.
        for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS"):
            environment.setdefault(name, "1")
        return environment

    def _learner_command(self, log_url: str, artifact: Artifact | None, pricing: Artifact | None) -> list[str]:
        command = ["-m", "online.learner", "--home", str(self._options.home), "--log-url", log_url]
        command += ["--snapshot-every-s", str(self._options.snapshot_every_s)]
        command += ["--log-kept", str(self._options.log_kept)]
        if artifact is not None:
            command += ["--artifact", str(self._options.home / "artifacts" / artifact.id)]
        if pricing is not None:
            command += ["--pricing-artifact", str(self._options.home / "artifacts" / pricing.id)]
        if self._options.settings is not None:
            command += ["--settings", str(self._options.settings)]
        return command

    def _worker_command(self, log_url: str) -> list[str]:
        assert self._listening is not None
        descriptor = str(self._listening.fileno())
        return [
            "-m",
            "api.worker",
            "--home",
            str(self._options.home),
            "--log-url",
            log_url,
            "--fd",
            descriptor,
            *([] if is_loopback(self._options.host) else ["--keys-required"]),
            *(["--access-log"] if self._options.access_log else []),
        ]

    def _spawn(self, command: list[str], environment: dict[str, str]) -> "subprocess.Popen[bytes]":
        assert self._listening is not None
        launcher = [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), sys.executable, *command]
        return subprocess.Popen(
            launcher,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),
            pass_fds=(self._listening.fileno(),),
            start_new_session=True,  # Ctrl-C is the supervisor's to act on, in its own order
        )

    def _wait_ready(self) -> None:
        assert self._listening is not None
        host, port = self._listening.getsockname()[:2]
        deadline = time.monotonic() + self._options.ready_timeout_s
        told = time.monotonic()
        while True:
            red = _unready(host, port) or self._unready_workers()
            if not red:
                return
            for child in self._children:
                code = child.died()
                if code is not None:
                    raise StartRefused(f"the {child.name} ended with code {code}; its message stands above")
            if time.monotonic() > deadline:
                raise StartRefused(f"not ready after {self._options.ready_timeout_s:g} s: {red}")
            if time.monotonic() - told > 10.0:
                told = time.monotonic()
                self._say(f"waiting (a first start compiles its kernels): {red}")
            time.sleep(0.2)

    def _unready_workers(self) -> str:
        running = [child for child in self._children if child.name != "learner" and child.process is not None]
        missing = [
            child.name
            for child in running
            if child.process is not None and not worker_ready_file(self._options.home, child.process.pid).exists()
        ]
        return f"not ready yet: {', '.join(missing)}" if missing else ""

    # Watching

    def watch(self) -> int:
        """Keep everything running until SIGTERM or SIGINT; the signal's number."""
        with signals() as (wakeup, received):
            while not received:
                now = time.monotonic()
                due = [child.due for child in self._children if child.process is None]
                timeout = min([1.0, *(max(0.0, at - now) for at in due)])
                select.select([wakeup], [], [], timeout)
                with contextlib.suppress(BlockingIOError):
                    wakeup.recv(4096)
                self._revive()
            return received[0]

    def _revive(self) -> None:
        if self._server is not None and not self._server.alive() and time.monotonic() >= self._server_due:
            self._revive_server(self._server)
        for child in self._children:
            code = child.died()
            if code is not None:
                self._say(f"the {child.name} ended with code {code}; starting it again")
            if child.process is None and time.monotonic() >= child.due:
                child.restarts += 1
                child.start()

    def _revive_server(self, dead: LogServer) -> None:
        """Start the log's server again; where it will not, later: decisions go on without it."""
        self._say("the log's server died; starting it again")
        dead.stop()
        try:
            self._server = LogServer.start(self._options.home / "log")
        except (LogError, OSError, subprocess.SubprocessError) as error:
            self._say(f"the log's server does not start, next try in {_SERVER_AGAIN_S:g} s: {error}")
            self._server_due = time.monotonic() + _SERVER_AGAIN_S

    # Stopping

    def stop(self) -> None:
        """Workers finish what is under way, the learner takes its snapshot, the server stops."""
        if self._listening is not None:
            self._listening.close()
        workers = [child for child in self._children if child.name != "learner"]
        for child in workers:
            if child.process is not None:
                child.process.terminate()
        for child in workers:
            child.stop(timeout_s=15.0)
        for child in self._children:
            child.stop(timeout_s=120.0)
        if self._server is not None:
            self._server.stop()
            self._server = None
        if self._children:
            # Nobody has it mapped any more. Imported here: it brings numba, which a supervisor has no other use for.
            from online.publication import shared_folder

            shutil.rmtree(shared_folder(self._options.home), ignore_errors=True)
            self._children = []
        if self.address is not None:
            (self._run / "address.json").unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()

    def run(self, on_ready: Callable[[Address], None]) -> int:
        """Start, tell, watch, stop. 0 after SIGTERM or SIGINT."""
        try:
            with interruptible():
                on_ready(self.start())
            self.watch()
            return 0
        finally:
            self.stop()


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def refuse_open_host(host: str, home: Path) -> None:
    """Raises StartRefused for an address that another machine could reach, where no key protects it."""
    if is_loopback(host):
        return
    try:
        valid = [key for key in read_keys(home) if key.revoked_at_ms is None]
    except KeysUnreadable as error:
        raise StartRefused(str(error)) from error
    if not valid:
        raise StartRefused(
            f"refusing to listen on {host}: no keys are configured, so everyone who reaches it could read "
            f"and write. Make one with `perennial keys create NAME --scope operate`, or listen on 127.0.0.1."
        )


def read_address(home: Path) -> Address | None:
    """Where this home's service runs, None where it does not."""
    try:
        return msgspec.json.decode((home / "run" / "address.json").read_bytes(), type=Address)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise StartRefused(
            f"cannot listen on {host}:{port} ({error.strerror}): choose another with --port, or 0 for a free one"
        ) from error
    listening.listen(_BACKLOG)
    return listening


def _take_lock(home: Path) -> IO[str]:
    run = home / "run"
    run.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = (run / "lock").open("a+", encoding="utf-8")
    deadline = time.monotonic() + _LOCK_S
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() < deadline:
                time.sleep(0.02)
                continue
            lock.seek(0)
            holder = lock.read().strip() or "another process"
            lock.close()
            raise StartRefused(f"{home} is served already, by {holder}; stop it, or use another --home") from None
    lock.truncate(0)
    lock.write(f"process {os.getpid()}")
    lock.flush()
    return lock


def keep_artifact(source: Path, kept: Path) -> None:
    """Copy an artifact into a home, whole or not at all."""
    if kept.exists() or source.resolve() == kept.resolve():
        return
    kept.parent.mkdir(parents=True, exist_ok=True)
    temporary = kept.with_name(f".{kept.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    shutil.copytree(source, temporary)
    temporary.rename(kept)


def _unready(host: str, port: int) -> str:
    """What /readyz says is missing; empty once nothing is."""
    connection = http.client.HTTPConnection(host, port, timeout=2.0)
    try:
        connection.request("GET", "/readyz")
        reply: dict[str, Any] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, json.JSONDecodeError):
        return "no worker answers yet"
    finally:
        connection.close()
    return "; ".join(f"{check['name']}: {check['found']}" for check in reply.get("checks", ()) if not check["ok"])


def _write_json(path: Path, content: Any) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    temporary.rename(path)
