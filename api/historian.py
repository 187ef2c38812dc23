"""A worker's way to ask about the past: the process behind it (`api.past`) is started when there is a question."""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Any

import structlog

from api.problems import Problem

_LAUNCH = Path(__file__).resolve().parent.parent / "online" / "log" / "launch.py"
_LINE_MAX = 64 * 1024 * 1024
_PATIENCE_S = 600.0  # a long log is folded for minutes
_IDLE_S = 300.0  # it keeps a state in memory for the next question: not for ever

log = structlog.get_logger("perennial.historian")


class Historian:
    """One question at a time; those who come meanwhile wait."""

    def __init__(self, home: Path, log_url: str) -> None:
        self._command = ["-m", "api.past", "--home", str(home), "--log-url", log_url]
        self._process: asyncio.subprocess.Process | None = None
        self._asking = asyncio.Lock()
        self._idle: asyncio.TimerHandle | None = None

    async def ask(self, question: str, **arguments: Any) -> Any:
        """The answer. Raises Problem: history_refused with the reason, log_unavailable where nothing came back."""
        async with self._asking:
            if self._idle is not None:
                self._idle.cancel()
            try:
                async with asyncio.timeout(_PATIENCE_S):
                    reply = await self._exchange({"ask": question, "arguments": arguments})
            except BaseException:
                await self.close()  # what it would still say would answer the next question
                raise
            self._idle = asyncio.get_running_loop().call_later(_IDLE_S, self._let_go)
        if "answer" in reply:
            return reply["answer"]
        if "refused" in reply:
            kind = "snapshot_unknown" if reply["kind"] == "SnapshotMissing" else "history_refused"
            raise Problem(kind, reply["refused"])
        log.error("past", question=question, error=reply["failed"])
        raise Problem("log_unavailable", "The log's past cannot be read now.", retry_after_s=2)

    async def _exchange(self, question: dict[str, Any]) -> dict[str, Any]:
        process = await self._started()
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(json.dumps(question).encode() + b"\n")
            await process.stdin.drain()
            line = await process.stdout.readline()
        except ConnectionError:
            line = b""
        if not line:
            await self.close()
            return {"failed": "the process that reads the past ended"}
        reply: dict[str, Any] = json.loads(line)
        return reply

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            # Through the launcher: the kernel ends it with this worker.
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-I",
                "-S",
                str(_LAUNCH),
                str(os.getpid()),
                sys.executable,
                *self._command,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=_LINE_MAX,
            )
        return self._process

    def _let_go(self) -> None:
        """Nobody has asked for a while: give its memory back. The next question starts another."""
        if not self._asking.locked() and self._process is not None and self._process.returncode is None:
            self._process.kill()

    async def close(self) -> None:
        """End the process."""
        if self._idle is not None:
            self._idle.cancel()
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
