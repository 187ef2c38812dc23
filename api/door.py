"""Who may come in: every request passes here, before anything of it is read but its head.

    Authorization: Bearer KEY      programs
    a session's cookie             people, at the dashboard, after /login

Where the home folder has no keys, everybody on this machine may do everything, and the service listens on loopback
only. A page of another site cannot use that: the address must be asked for by a loopback name (no DNS rebinding), and
what changes something must not come from elsewhere (no cross-site request).
"""

import hashlib
import hmac
import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import urlsplit

import structlog

from api.keys import (
    USED_EVERY_S,
    Key,
    KeysUnreadable,
    find_key,
    is_owners_pass,
    keys_file,
    note_use,
    read_keys,
)
from api.problems import Problem
from api.scopes import SCOPES, Scope, scope_of

if TYPE_CHECKING:
    from api.quotas import Quotas

SESSION_S = 12 * 3600
COOKIE = "perennial_session"
_LOOK_EVERY_S = 0.25  # at the file of keys: a revocation counts within this time
_GUESSES_MAX, _GUESSES_S = 10, 60.0
_PEERS_MAX = 10_000
_SAFE = ("GET", "HEAD", "OPTIONS")

log = structlog.get_logger("perennial.door")


class Principal(NamedTuple):
    """Who asks. `name` stands in the records as their client."""

    name: str
    scopes: tuple[Scope, ...]
    key_id: str = ""
    headers: tuple[tuple[bytes, bytes], ...] = ()  # what the answer says of the key's limits

    def may(self, scope: Scope) -> bool:
        return scope in self.scopes or "admin" in self.scopes


ANYBODY = Principal("", ())
EVERYBODY_HERE = Principal("", SCOPES)


class Door:
    """The keys of one home folder, as one worker sees them."""

    def __init__(
        self, home: Path, *, secret: bytes, required: bool = False, clock: Callable[[], float] = time.time
    ) -> None:
        self._home = home
        self._secret = secret
        self._required = required
        self._clock = clock
        self._keys: dict[str, Key] = {}
        self._locked = required
        self._looked = 0.0
        self._seen: tuple[int, int, int] | None = None
        self._used: dict[str, float] = {}
        self._quotas: Quotas | None = None  # while no key has a limit
        self._guesses: OrderedDict[str, list[float]] = OrderedDict()

    @property
    def locked(self) -> bool:
        """Whether a key is needed."""
        self._look()
        return self._locked

    def admit(self, method: str, path: str, headers: Mapping[bytes, bytes], peer: str) -> Principal:
        """Who asks, where they may. Raises Problem: key_missing, key_unknown, scope_missing, …

        headers: names in lower case, the last one of each name.
        """
        self._look()
        needed = scope_of(method, path)
        if not self._locked:
            if needed is not None:
                _refuse_foreign_host(headers)
            if method not in _SAFE:
                refuse_foreign_origin(headers)
            return EVERYBODY_HERE
        authorization = headers.get(b"authorization")
        if authorization is None:
            key = self._session(headers.get(b"cookie"))
            if key is not None and method not in _SAFE:
                refuse_foreign_origin(headers)
        elif is_owners_pass(_bearers(authorization), self._secret, now_s=self._clock()):
            return EVERYBODY_HERE
        else:
            key = self._known(_bearers(authorization), peer)
        if needed is None:
            return ANYBODY if key is None else Principal(key.name, key.scopes, key.id)
        if key is None:
            raise Problem("key_missing")
        if not key.allows(needed):
            raise Problem("scope_missing", f"The key `{key.name}` lacks the scope `{needed}`.")
        self._note_use(key)
        if self._quotas is not None:
            return Principal(key.name, key.scopes, key.id, self._quotas.count(key.id))
        return Principal(key.name, key.scopes, key.id)

    def open_session(self, text: str, peer: str) -> str:
        """The value of a cookie for whoever knows a key with the scope `operate`. Raises Problem."""
        self._look()
        key = self._known(text.strip(), peer)
        if not key.allows("operate"):
            raise Problem("scope_missing", f"The key `{key.name}` lacks the scope `operate`.")
        expires = int(self._clock()) + SESSION_S
        return f"{key.id}.{expires}.{self._seal(key, expires)}"

    def _session(self, cookies: bytes | None) -> Key | None:
        for cookie in (cookies or b"").decode("latin-1").split(";"):
            name, _, value = cookie.strip().partition("=")
            parts = value.split(".")
            if name != COOKIE or len(parts) != 3 or not (parts[1].isascii() and parts[1].isdigit()):
                continue
            key = self._keys.get(parts[0])
            if key is None or key.revoked_at_ms is not None or len(parts[1]) > 12:
                continue
            sealed = hmac.compare_digest(self._seal(key, int(parts[1])).encode(), parts[2].encode())
            if sealed and self._clock() < int(parts[1]):
                return key
        return None

    def _seal(self, key: Key, expires: int) -> str:
        text = f"session\n{key.id}\n{key.digest}\n{expires}"
        return hmac.new(self._secret, text.encode(), hashlib.sha256).hexdigest()

    def _known(self, text: str, peer: str) -> Key:
        key = find_key(self._keys, text)
        if key is not None:
            return key
        now = self._clock()
        guesses = self._guesses.setdefault(peer, [])
        self._guesses.move_to_end(peer)
        guesses[:] = [at for at in guesses if now - at < _GUESSES_S][-_GUESSES_MAX:]
        if len(guesses) >= _GUESSES_MAX:
            raise Problem("too_many_guesses", retry_after_s=max(1, round(guesses[0] + _GUESSES_S - now)))
        guesses.append(now)
        if len(self._guesses) > _PEERS_MAX:
            self._guesses.popitem(last=False)
        raise Problem("key_unknown")

    def _note_use(self, key: Key) -> None:
        now = self._clock()
        if now - self._used.get(key.id, 0.0) >= USED_EVERY_S:
            self._used[key.id] = now
            note_use(self._home, key.id)

    def _look(self) -> None:
        """Take the file's keys where it has changed. What cannot be read lets nobody in."""
        now = time.monotonic()
        if now - self._looked < _LOOK_EVERY_S and self._looked:
            return
        self._looked = now
        try:
            found = keys_file(self._home).stat()
            seen = (found.st_mtime_ns, found.st_size, found.st_ino)
        except FileNotFoundError:
            seen = None
        if seen == self._seen:
            return
        try:
            self._keys = {key.id: key for key in read_keys(self._home)}
            # A door that had keys stays locked without them: removing the file opens nothing while this process runs.
            self._locked = self._locked or bool(self._keys)
        except KeysUnreadable as error:
            log.error("keys unreadable", reason=str(error))
            self._keys, self._locked = {}, True
        self._seen = seen
        self._limit()

    def _limit(self) -> None:
        """Count for those keys that have limits."""
        limited = {key.id: key.limits for key in self._keys.values() if key.limits and key.revoked_at_ms is None}
        if self._quotas is not None:
            self._quotas.close()
            self._quotas = None
        if limited:
            # Imported here: it takes a tenth of a second, and few homes have such keys.
            from api.quotas import QuotaInvalid, Quotas

            try:
                self._quotas = Quotas(self._home / "run" / "quotas", limited, clock=self._clock)
            except QuotaInvalid as error:
                log.error("keys unreadable", reason=str(error))
                self._keys, self._locked = {}, True


def _bearers(authorization: bytes) -> str:
    """What stands behind `Bearer`. Raises Problem where something else stands there."""
    scheme, _, text = authorization.decode("latin-1").partition(" ")
    if scheme.lower() != "bearer":
        raise Problem("key_missing", "Only `Authorization: Bearer KEY` is understood.")
    return text.strip()


def refuse_foreign_origin(headers: Mapping[bytes, bytes]) -> None:
    """A browser says which page sends what changes something: it has to be one of ours. Raises Problem."""
    origin = headers.get(b"origin")
    if origin is not None and urlsplit(origin.decode("latin-1")).netloc != headers.get(b"host", b"").decode("latin-1"):
        raise Problem("origin_foreign")
    if origin is None and headers.get(b"sec-fetch-site", b"none") not in (b"none", b"same-origin"):
        raise Problem("origin_foreign")


def _refuse_foreign_host(headers: Mapping[bytes, bytes]) -> None:
    if not _is_local(headers.get(b"host", b"localhost")):
        raise Problem("host_foreign")


@lru_cache(maxsize=256)
def _is_local(host: bytes) -> bool:
    try:
        name = urlsplit(f"//{host.decode('latin-1')}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
