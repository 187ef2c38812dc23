"""What the service is configured with, each value with its origin; unknown names are refused with a suggestion.

Two kinds: how the service runs (options of `perennial up`, or the environment), and what learning and deciding depend
on (a file of settings, which counts where the log is still empty; afterwards the log's first record does, so that the
same log is folded under the same settings anywhere).
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from online.settings import Settings, SettingsInvalid, read_settings

# Option of `perennial up`, its variable, its default.
SERVICE: tuple[tuple[str, str, Any], ...] = (
    ("home", "PERENNIAL_HOME", None),
    ("host", "PERENNIAL_HOST", "127.0.0.1"),
    ("port", "PERENNIAL_PORT", 8080),
    ("workers", "PERENNIAL_WORKERS", 1),
    ("redis_url", "PERENNIAL_REDIS_URL", None),
    ("snapshot_every", "PERENNIAL_SNAPSHOT_EVERY", 300.0),
    ("log_kept", "PERENNIAL_LOG_KEPT", 100_000),
    ("access_log", "PERENNIAL_ACCESS_LOG", False),
)
# Of the commands that talk to a running service: who asks, and with which key.
OTHER_VARIABLES = ("PERENNIAL_AUTHOR", "PERENNIAL_KEY")
_UNKNOWN = re.compile(r"unknown field `([^`]*)`(?: - at `\$([^`]*)`)?")


class Value(msgspec.Struct, frozen=True):
    """One value. origin: default, environment VARIABLE, file PATH, or the log's first record."""

    name: str
    value: Any
    origin: str
    by_default: bool  # it is what it would be if nobody had said anything


def settings_of(path: Path) -> Settings:
    """The settings in a file. Raises SettingsInvalid with the file's name and, for an unknown key, a suggestion."""
    try:
        text = path.read_bytes()
    except OSError as error:
        raise SettingsInvalid(f"{path} cannot be read: {error.strerror}") from error
    try:
        return read_settings(text)
    except SettingsInvalid as error:
        raise SettingsInvalid(f"{path}: {explained(str(error))}") from error


def explained(text: str) -> str:
    """An error about a key, with the keys that come closest.

    >>> explained("Object contains unknown field `champion_shar`")
    'unknown key `champion_shar`: did you mean `champion_share`?'
    """
    found = _UNKNOWN.search(text)
    if found is None:
        return text
    name, place = found[1], found[2] or ""
    known = _keys_at(place)
    close = difflib.get_close_matches(name, known, n=1)
    where = f" at {place.lstrip('.')}" if place else ""
    hint = f"did you mean `{close[0]}`?" if close else f"known are {', '.join(sorted(known))}"
    return f"unknown key `{name}`{where}: {hint}"


def _keys_at(place: str) -> list[str]:
    """The keys of the object at msgspec's path `place`: .events[...], .caps[0], .recommendation"""
    type_: Any = Settings
    for part in re.findall(r"\.(\w+)|\[([^\]]*)\]", place):
        info = msgspec.inspect.type_info(type_)
        if part[0] and isinstance(info, msgspec.inspect.StructType):
            type_ = next((_struct_in(f.type) for f in info.fields if f.encode_name == part[0]), Settings)
    info = msgspec.inspect.type_info(type_)
    return [field.encode_name for field in info.fields] if isinstance(info, msgspec.inspect.StructType) else []


def _struct_in(info: Any) -> Any:
    """The struct that a field holds, directly, in a list, or as the values of a dict."""
    for inner in (info, getattr(info, "item_type", None), getattr(info, "value_type", None)):
        if isinstance(inner, msgspec.inspect.StructType):
            return inner.cls
    return Settings


def unknown_variables(environment: Mapping[str, str]) -> Iterator[str]:
    """What is set under PERENNIAL_ and nobody reads, with a suggestion."""
    known = [*(variable for _, variable, _ in SERVICE), *OTHER_VARIABLES]
    for name in sorted(environment):
        if name.startswith("PERENNIAL_") and name not in known:
            close = difflib.get_close_matches(name, known, n=1)
            yield f"{name} is set and means nothing" + (f": did you mean {close[0]}?" if close else "")


def resolved(home: Path, environment: Mapping[str, str], *, chosen: Path | None, begun: Settings | None) -> list[Value]:
    """Every value. `begun`: the settings that this home's log began with, None where it has not begun."""
    values = []
    for name, variable, default in SERVICE:
        given = environment.get(variable)
        value = str(home) if name == "home" else default if given is None else given
        origin = f"environment {variable}" if given is not None else f"default, or --{name.replace('_', '-')}"
        values.append(Value(name, value, origin, given is None))
    settings, origin = Settings(), "default"
    if begun is not None:
        settings, origin = begun, "the log's first record"
    elif chosen is not None:
        settings, origin = settings_of(chosen), f"file {chosen}"
    defaults = dict(_flat(msgspec.to_builtins(Settings())))
    for name, value in _flat(msgspec.to_builtins(settings)):
        by_default = name in defaults and defaults[name] == value
        of = "default" if by_default and begun is None else origin
        values.append(Value(f"settings.{name}", value, of, by_default))
    return values


def _flat(value: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        if isinstance(inner, dict) and inner and prefix.count(".") < 2:
            yield from _flat(inner, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", inner
