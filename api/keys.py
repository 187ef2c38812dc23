"""API keys of a home folder: made once, shown once, kept as digests, revoked within a second.

A key is `perennial_ID_SECRET`: the id finds it, 256 random bits prove it. What is kept is the SHA-256 of the whole
(enough for random bits; slow hashes are for what people think up). Two keys may have one name, so that a client
changes over from one to the other while both are valid.
"""

import contextlib
import fcntl
import hashlib
import hmac
import os
import re
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec

from api.scopes import Scope

_FORM = re.compile(r"perennial_([0-9a-f]{8})_([A-Za-z0-9_-]{43})")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
PASS, PASS_S = "perennial-owner_", 60
_PASS_FORM = re.compile(r"perennial-owner_([0-9]{1,12})_([0-9a-f]{64})")
_NOBODY = hashlib.sha256(b"nobody").hexdigest()
USED_EVERY_S = 60.0  # how exact "last used" is


class KeyRefused(ValueError):
    """A key cannot be made or revoked as asked; the message says why."""


class KeysUnreadable(Exception):
    """The file of keys is not what `perennial keys` writes."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """One key as it is kept; its digest tells nobody what it is."""

    id: str
    name: str
    scopes: tuple[Scope, ...]
    digest: str
    created_at_ms: int
    revoked_at_ms: int | None = None
    limits: tuple[str, ...] = ()  # such as 200/second; see api.quotas

    def allows(self, scope: Scope) -> bool:
        """`admin` has every scope."""
        return scope in self.scopes or "admin" in self.scopes


class _File(msgspec.Struct, frozen=True, kw_only=True):
    schema: int = 1
    keys: tuple[Key, ...] = ()


def keys_file(home: Path) -> Path:
    return home / "keys.json"


def read_keys(home: Path) -> tuple[Key, ...]:
    """All keys, revoked ones too, in the order in which they were made. Raises KeysUnreadable."""
    path = keys_file(home)
    try:
        return msgspec.json.decode(path.read_bytes(), type=_File).keys
    except FileNotFoundError:
        return ()
    except (msgspec.MsgspecError, OSError) as error:
        raise KeysUnreadable(f"{path} cannot be read ({error}): restore it, or remove it and make keys anew") from error


def create_key(home: Path, name: str, scopes: tuple[Scope, ...], limits: tuple[str, ...] = ()) -> tuple[Key, str]:
    """A new key and its text, which is kept nowhere. Raises KeyRefused, KeysUnreadable."""
    if not _NAME.fullmatch(name):
        raise KeyRefused(f"a name has 1 to 64 letters, digits, dots, dashes and underscores, not {name!r}")
    if not scopes:
        raise KeyRefused("a key without a scope opens nothing: name one with --scope")
    key_id = secrets.token_hex(4)
    text = f"perennial_{key_id}_{secrets.token_urlsafe(32)}"
    key = Key(
        id=key_id,
        name=name,
        scopes=tuple(dict.fromkeys(scopes)),
        digest=hashlib.sha256(text.encode()).hexdigest(),
        created_at_ms=time.time_ns() // 1_000_000,
        limits=_checked(limits),
    )
    with _changing(home):
        _write(home, (*read_keys(home), key))
    return key, text


def _checked(limits: tuple[str, ...]) -> tuple[str, ...]:
    if limits:
        # Imported here: the library behind it takes a tenth of a second, and few keys have limits.
        from api.quotas import QuotaInvalid, read_quota

        for text in limits:
            try:
                read_quota(text)
            except QuotaInvalid as error:
                raise KeyRefused(str(error)) from error
    return tuple(dict.fromkeys(limits))


def revoke_key(home: Path, which: str) -> tuple[Key, ...]:
    """Revoke the key with that id, or all keys with that name; those that were. Raises KeyRefused, KeysUnreadable."""
    now_ms = time.time_ns() // 1_000_000
    with _changing(home):
        keys = read_keys(home)
        named = [key for key in keys if which in (key.id, key.name)]
        if not named:
            raise KeyRefused(f"no key has the id or the name {which!r}; `perennial keys list` shows them")
        revoked = {key.id for key in named if key.revoked_at_ms is None}
        changed = tuple(
            msgspec.structs.replace(key, revoked_at_ms=now_ms) if key.id in revoked else key for key in keys
        )
        _write(home, changed)
    return tuple(key for key in changed if key.id in revoked)


def find_key(keys: dict[str, Key], text: str) -> Key | None:
    """The key that `text` is, None where it is none or was revoked. Takes as long whether or not the id is known."""
    form = _FORM.fullmatch(text)
    key = keys.get(form[1]) if form else None
    known = hmac.compare_digest(
        hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest(), key.digest if key else _NOBODY
    )
    return key if key is not None and known and key.revoked_at_ms is None else None


def note_use(home: Path, key_id: str) -> None:
    """Leave the moment of a key's use where `last_used_ms` looks."""
    folder = home / "run" / "keys"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / key_id).touch()


def last_used_ms(home: Path, key_id: str) -> int | None:
    """When a key was last used, to the minute; None where it never was."""
    try:
        return (home / "run" / "keys" / key_id).stat().st_mtime_ns // 1_000_000
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def _changing(home: Path) -> Iterator[None]:
    """One change at a time."""
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (home / ".keys.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _write(home: Path, keys: tuple[Key, ...]) -> None:
    path = keys_file(home)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(_File(keys=keys)), indent=1) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)


def owners_pass(home: Path, *, now_s: float | None = None) -> str | None:
    """A bearer's text for the owner of a home folder, good for a minute: only they can read its secret."""
    try:
        secret = (home / "secret").read_bytes()
    except OSError:
        return None
    expires = int(time.time() if now_s is None else now_s) + PASS_S
    return f"{PASS}{expires}_{_sealed(secret, expires)}"


def is_owners_pass(text: str, secret: bytes, *, now_s: float) -> bool:
    """Whether `text` was made with this secret and still counts."""
    form = _PASS_FORM.fullmatch(text)
    if form is None:
        return False
    expires = int(form[1])
    return hmac.compare_digest(_sealed(secret, expires), form[2]) and now_s <= expires <= now_s + 2 * PASS_S


def _sealed(secret: bytes, expires: int) -> str:
    return hmac.new(secret, f"owner\n{expires}".encode(), hashlib.sha256).hexdigest()
