"""The processes that a demo starts, and their end: by process id, in order, whatever happens to the demo.

Each gets a session of its own (Ctrl-C is the demo's to act on) and asks the kernel to be ended with its parent.
"""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import IO

_LAUNCH = Path(__file__).resolve().parent.parent / "online" / "log" / "launch.py"


class ChildFailed(Exception):
    """A process of the demo ended with an error. Says which, with the last lines of its talk."""

    def __init__(self, name: str, code: int, talk: Path) -> None:
        lines = talk.read_text(encoding="utf-8", errors="replace").splitlines()[-12:] if talk.exists() else []
        super().__init__("\n".join([f"{name} ended with code {code}; its last lines, from {talk}:", *lines]))
        self.code = code


class Child:
    """One Python process: `python ARGUMENTS`, its talk (stderr) in a file, its results (stdout) for us."""

    def __init__(
        self,
        name: str,
        arguments: list[str],
        *,
        talk: Path,
        orders: bool = False,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.name = name
        self.talk = talk
        with talk.open("ab") as file:
            self.process: subprocess.Popen[bytes] = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_LAUNCH), str(os.getpid()), sys.executable, *arguments],
                stdin=subprocess.PIPE if orders else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=file,
                env={**os.environ, "PYTHONUNBUFFERED": "1", **(environment or {})},
                start_new_session=True,
            )

    @property
    def results(self) -> IO[bytes]:
        assert self.process.stdout is not None
        return self.process.stdout

    def order(self, line: bytes) -> None:
        """One line on its stdin. A process that is gone cannot be ordered about; `check` says so."""
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(line + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            self.check()

    def check(self) -> None:
        """Raises ChildFailed where the process has ended with an error."""
        code = self.process.poll()
        if code:
            raise ChildFailed(self.name, code, self.talk)

    def last_line(self) -> str:
        """What it said last; progress that overwrites its line counts by its newest state."""
        with self.talk.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 2_000))
            lines = file.read().decode("utf-8", errors="replace").replace("\r", "\n").split("\n")
        return next((line.strip() for line in reversed(lines) if line.strip()), "")

    def stop(self, *, timeout_s: float) -> None:
        """SIGTERM, then SIGKILL after the time limit."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(timeout_s)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def lines_of(child: Child) -> queue.Queue[bytes | None]:
    """Its results line by line, None at their end."""
    lines: queue.Queue[bytes | None] = queue.Queue()

    def read() -> None:
        for line in child.results:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines


def next_line(lines: queue.Queue[bytes | None], child: Child) -> bytes | None:
    """The next of them; None at the end. Raises ChildFailed where the process ended with an error."""
    while True:
        try:
            return lines.get(timeout=0.5)
        except queue.Empty:
            child.check()
