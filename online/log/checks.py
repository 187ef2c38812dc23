"""Whether a server keeps what it acknowledges: asked at start, by `doctor`, and never assumed.

Each setting here was seen to lose acknowledged records when it was wrong: `everysec` in a power cut or under
a slow disk, an evicting memory policy under pressure (the whole stream, without one error), `no-appendfsync-
on-rewrite yes` while the file is rewritten, a replica by a failover.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis

from online.log.errors import LogNotDurable, LogUnavailable
from online.log.keys import LogKeys

VERSION_MIN = (6, 2)
MEMORY_SHARE_MAX = 0.75


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """One precondition: what was found, and what to do where it does not hold."""

    name: str
    ok: bool
    found: str
    cure: str


def check_server(client: redis.Redis, *, keys: LogKeys | None = None) -> list[Check]:
    """Every precondition of a durable log, in a fixed order. Raises LogUnavailable where nothing answers."""
    try:
        info: dict[str, Any] = client.info()
        return [
            _version(info),
            _append_only(info),
            _setting(client, "appendfsync", "always", "without it, acknowledged records die with a power cut"),
            _setting(
                client,
                "no-appendfsync-on-rewrite",
                "no",
                "`yes` stops the syncing while the file is rewritten",
            ),
            _policy(info),
            _memory(info),
            _role(info),
            _disk(info),
            _sequence(client, keys or LogKeys()),
        ]
    except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, OSError) as error:
        raise LogUnavailable(f"the log's server is away: {error}") from error


def require_durable(client: redis.Redis, *, keys: LogKeys | None = None) -> list[Check]:
    """The checks, all green. Raises LogNotDurable with a cure for each red one."""
    checks = check_server(client, keys=keys)
    if not all(check.ok for check in checks):
        raise LogNotDurable(checks)
    return checks


def _version(info: dict[str, Any]) -> Check:
    name = "Valkey" if "valkey_version" in info else "Redis"
    found = str(info.get("valkey_version", info["redis_version"]))
    numbers = tuple(int(part) for part in found.split(".")[:2])
    return Check(
        name="server version",
        ok=numbers >= VERSION_MIN,
        found=f"{name} {found}",
        cure="use Valkey, or Redis 6.2 or newer",
    )


def _append_only(info: dict[str, Any]) -> Check:
    on = int(info.get("aof_enabled", 0)) == 1
    return Check(
        name="appendonly",
        ok=on,
        found="yes" if on else "no",
        cure="CONFIG SET appendonly yes, then CONFIG REWRITE (or `appendonly yes` in the server's own file)",
    )


def _setting(client: redis.Redis, name: str, wanted: str, why: str) -> Check:
    ask: Callable[[str], dict[str, str]] = client.config_get  # type: ignore[assignment]  # the sync client's answer
    cure = f"CONFIG SET {name} {wanted}, then CONFIG REWRITE: {why}"
    try:
        answer = {_text(key): _text(value) for key, value in ask(name).items()}
    except redis.exceptions.ResponseError as error:  # NOPERM, or the command is renamed or unknown
        forbidden = (
            f"let this user read it (ACL SETUSER … +config|get); it has to be `{wanted}`: {why}. "
            "A service that hides its settings cannot show that it keeps what it acknowledges"
        )
        return Check(name=name, ok=False, found=f"not to be read here ({error})", cure=forbidden)
    found = answer.get(name, "unknown to this server")
    return Check(name=name, ok=found == wanted, found=found, cure=cure)


def _policy(info: dict[str, Any]) -> Check:
    found = str(info.get("maxmemory_policy", "unknown"))
    return Check(
        name="maxmemory-policy",
        ok=found == "noeviction",
        found=found,
        cure="CONFIG SET maxmemory-policy noeviction: any other deletes the log when memory is short",
    )


def _memory(info: dict[str, Any]) -> Check:
    limit, used = int(info.get("maxmemory", 0)), int(info.get("used_memory", 0))
    share = used / limit if limit else 0.0
    return Check(
        name="memory",
        ok=share <= MEMORY_SHARE_MAX,
        found=f"{used >> 20} MiB used of {limit >> 20} MiB" if limit else f"{used >> 20} MiB used, no limit",
        cure="raise maxmemory, or take a snapshot and trim the log: at the limit every append is refused",
    )


def _role(info: dict[str, Any]) -> Check:
    found = str(info.get("role", "unknown"))
    return Check(
        name="role",
        ok=found == "master",
        found=found,
        cure="give the address of the primary: a replica takes no appends",
    )


def _disk(info: dict[str, Any]) -> Check:
    found = str(info.get("aof_last_write_status", "ok"))
    return Check(name="last write", ok=found == "ok", found=found, cure="make room on the disk of the server")


def _sequence(client: redis.Redis, keys: LogKeys) -> Check:
    end = int(client.get(keys.sequence) or 0)
    last = 0
    if client.exists(keys.log):
        facts: dict[str, Any] = client.xinfo_stream(keys.log)
        last = int(_text(facts["last-generated-id"]).split("-")[0])
    return Check(
        name="sequence",
        ok=end == last,
        found=f"{keys.sequence} says {end}, the log ends at {last}",
        cure="someone else changed the log's keys, or restored some of them: bring them back together",
    )


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
