"""Takes records out of a log for good: another record stands in their place, and the server's files are written anew.

A record is never changed where it stands. The log is copied beside itself in pieces, and the copy takes its place in
one step once it has caught up with the appends; whoever reads or appends meanwhile sees the one or the other. An entry
that is only deleted from a stream stays in the server's memory and files, which is why this is not done.
"""

import time
from collections.abc import Callable, Mapping
from importlib import resources

import redis

from online.log.errors import LogBroken, LogUnavailable
from online.log.keys import LogKeys

_PIECE = 500  # entries copied in one step of the server
_FILES_S = 600.0


def replace_records(
    client: redis.Redis,
    replaced: Mapping[int, bytes],
    *,
    keys: LogKeys | None = None,
    progress: Callable[[int], None] | None = None,
) -> None:
    """Put other records in the place of some, and write the server's files anew. Raises LogUnavailable, LogBroken.

    To be called again where it was broken off: nothing has changed until the copy takes the log's place.
    """
    keys = keys or LogKeys()
    copy = f"{keys.tag}:copy"
    script = client.register_script(resources.files("online.log").joinpath("rewrite.lua").read_text("ascii"))
    try:
        client.unlink(copy)
        reached, waiting = 0, sorted(replaced)
        while client.exists(copy) or reached == 0:
            due = [position for position in waiting if position <= reached + _PIECE]
            waiting = waiting[len(due) :]
            pairs = [part for position in due for part in (position, replaced[position])]
            now = int(script(keys=[keys.log, copy, keys.sequence], args=[reached, _PIECE, 1, *pairs]))
            if now == reached and client.exists(copy):
                raise LogBroken(f"the log ends at {reached}, and its sequence says otherwise")
            reached = now
            if progress:
                progress(reached)
        write_files_anew(client)
    except redis.exceptions.ResponseError as error:
        raise LogBroken(str(error)) from error
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError) as error:
        raise LogUnavailable(f"the log's server is away: {error}") from error


def write_files_anew(client: redis.Redis) -> None:
    """Have the server write its append-only file from memory, and wait until the old one is gone."""
    deadline = time.monotonic() + _FILES_S
    while _rewriting(client):
        time.sleep(0.02)  # one that began before the records were replaced
    client.bgrewriteaof()
    while _rewriting(client):
        if time.monotonic() > deadline:
            raise LogUnavailable(f"the server's files were not written anew in {_FILES_S:g} s")
        time.sleep(0.02)
    if client.info("persistence").get("aof_last_bgrewrite_status") != "ok":
        raise LogBroken("the server could not write its append-only file anew; its own log says why")


def _rewriting(client: redis.Redis) -> bool:
    facts = client.info("persistence")
    return bool(facts.get("aof_rewrite_in_progress") or facts.get("aof_rewrite_scheduled"))
