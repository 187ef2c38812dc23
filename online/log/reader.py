"""Reads the log in order, from any position on.

One reader keeps its place inside its own state, so that place and state cannot come apart. The server answers
a read only after the records in it are on its disk (`appendfsync always` writes before it replies), so what
is read here is never lost later.
"""

from typing import Any

import redis

from online.log.connection import connect
from online.log.errors import LogBroken, LogGap, LogUnavailable
from online.log.keys import LogKeys


class LogReader:
    """A blocking reader. It connects at its first call, and again at the call after a failed one."""

    def __init__(self, url: str, *, keys: LogKeys | None = None, reply_timeout_s: float = 5.0) -> None:
        self._client = connect(url, reply_timeout_s=reply_timeout_s)
        self._connection = self._client.connection_pool.make_connection()
        self._log = (keys or LogKeys()).log
        self._reply_timeout_s = reply_timeout_s

    def close(self) -> None:
        self._disconnect()
        self._client.close()

    def read(self, after: int, count: int, block_ms: int) -> list[tuple[int, bytes]]:
        """Up to `count` records after position `after`, in order and without a gap: (position, record).

        Waits up to `block_ms` for the first one; 0 does not wait. Empty when there is none. Raises LogGap
        where the next record is not there although later ones are, LogUnavailable where the server is away.
        """
        wait = ("BLOCK", block_ms) if block_ms > 0 else ()
        reply = self._call("XREAD", "COUNT", count, *wait, "STREAMS", self._log, f"{after}-0", wait_ms=block_ms)
        if not reply:
            return []
        records = [(int(name[:-2]), fields[1]) for name, fields in reply[0][1]]
        if records[0][0] != after + 1 or records[-1][0] != after + len(records):
            hole = next((at, place) for at, (place, _) in enumerate(records, after + 1) if place != at)
            raise LogGap(expected=hole[0], found=hole[1])
        return records

    def entry(self, position: int) -> bytes | None:
        """The record at `position`, or None where the log has none (not yet, or trimmed)."""
        entries = self._call("XRANGE", self._log, f"{position}-0", f"{position}-0")
        return entries[0][1][1] if entries else None

    def first(self) -> int:
        """The lowest position that is still there; 0 for an empty log."""
        entries = self._call("XRANGE", self._log, "-", "+", "COUNT", 1)
        return int(entries[0][0][:-2]) if entries else 0

    def head(self) -> int:
        """The last position given out, trimmed or not; 0 for a new log."""
        if not self._call("EXISTS", self._log):
            return 0
        facts = self._call("XINFO", "STREAM", self._log)
        return int(facts[facts.index(b"last-generated-id") + 1].split(b"-")[0])

    def _call(self, *command: str | int, wait_ms: int = 0) -> Any:
        try:
            self._connection.send_command(*command)
            return self._connection.read_response(timeout=self._reply_timeout_s + wait_ms / 1000)
        except redis.exceptions.BusyLoadingError as error:
            self._disconnect()
            raise LogUnavailable(str(error), retry_after_s=0.2) from error
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError) as error:
            self._disconnect()
            raise LogUnavailable(f"the log's server is away: {error}", retry_after_s=0.2) from error
        except redis.exceptions.ResponseError as error:
            raise LogBroken(str(error)) from error

    def _disconnect(self) -> None:
        self._connection.disconnect()
