"""One supervised process, and the signals that its supervisor listens to."""

import contextlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

_DELAY_FIRST_S, _DELAY_MAX_S, _STEADY_S = 0.1, 10.0, 30.0


class Child:
    """One supervised process."""

    def __init__(self, name: str, start: Callable[[], "subprocess.Popen[bytes]"]) -> None:
        self.name = name
        self._start = start
        self._delay_s = _DELAY_FIRST_S
        self.process: subprocess.Popen[bytes] | None = None
        self.started = 0.0
        self.due = 0.0  # when it is started again
        self.restarts = 0

    def start(self) -> None:
        self.process = self._start()
        self.started = time.monotonic()

    def died(self) -> int | None:
        """The exit code of a child that has ended since the last look."""
        if self.process is None:
            return None
        code = self.process.poll()
        if code is None:
            return None
        self.process = None
        if time.monotonic() - self.started > _STEADY_S:
            self._delay_s = _DELAY_FIRST_S
        self.due = time.monotonic() + self._delay_s
        self._delay_s = min(_DELAY_MAX_S, self._delay_s * 2)
        return code

    def stop(self, *, timeout_s: float) -> None:
        """SIGTERM, then SIGKILL."""
        if self.process is None:
            return
        self.process.terminate()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None


class Interrupted(Exception):
    """A signal asked for the end before the service was ready."""


@contextlib.contextmanager
def interruptible() -> Iterator[None]:
    """Inside, SIGTERM ends the start as Ctrl-C does."""

    def interrupt(number: int, _: object) -> None:
        raise Interrupted(f"ended by signal {number} while starting")

    before = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def signals() -> Iterator[tuple[socket.socket, list[int]]]:
    """A socket that becomes readable with every signal, and the ends that were asked for."""
    reading, writing = socket.socketpair()
    reading.setblocking(False)
    writing.setblocking(False)
    received: list[int] = []

    def note(number: int, _: object) -> None:
        received.append(number)

    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    before[signal.SIGCHLD] = signal.signal(signal.SIGCHLD, lambda *_: None)
    wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
    try:
        yield reading, received
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        reading.close()
        writing.close()
