"""Ids, times, contexts and features from the wire, checked once; every refusal is a Fault with its place."""

import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

import msgspec

from api.problems import Fault
from online.records import ID_LENGTH_MAX
from online.settings import CONTEXT_FEATURES_MAX

# An event may be at most this far ahead of its arrival: senders' clocks differ, but not by more.
AHEAD_MAX_MS = 3_600_000
# 1e11 ms is March 1973 and 1e11 s is the year 5138: size tells the unit, as in files of interactions.
_FIRST_MILLISECOND_STAMP = 100_000_000_000
_LAST_MS = 253_402_300_799_999  # the year 9999
_INTEGER_MAX = 2**53
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_CONTEXT_TEXT_MAX = 256
_FEATURE_TEXT_MAX = 1_000


def identifier(value: str | int, pointer: str) -> str:
    """An id as a string of 1 to 256 characters.

    >>> identifier(17, "/user_id")
    '17'
    """
    text = value if type(value) is str else str(value)
    if not text or text.isspace():
        raise Fault("empty_id", "The id is empty.", pointer=pointer)
    if len(text) > ID_LENGTH_MAX:
        raise Fault("id_too_long", f"The id has {len(text)} characters, {ID_LENGTH_MAX} at most.", pointer=pointer)
    if not text.isprintable():
        check_printable(text, pointer)
    return text


def check_printable(text: str, pointer: str) -> None:
    """Raises Fault for control characters. Zero-width and right-to-left marks are text like any other."""
    if _CONTROL.search(text):
        raise Fault("id_not_printable", "A text holds control characters.", pointer=pointer)


def identifiers(values: Sequence[str | int], pointer: str) -> list[str]:
    """A list of ids, each checked; pointers name the one that is wrong."""
    found: list[str] = []
    for index, value in enumerate(values):
        try:
            found.append(identifier(value, ""))
        except Fault as fault:
            raise Fault(fault.code, fault.detail, pointer=f"{pointer}/{index}") from None
    return found


def time_ms(value: str | int, pointer: str) -> int:
    """Unix milliseconds of an RFC 3339 text with an offset, or of an integer in seconds or milliseconds.

    >>> time_ms("1970-01-01T01:00:00.500+01:00", "/occurred_at"), time_ms(1_700_000_000, "/occurred_at")
    (500, 1700000000000)
    """
    if type(value) is int:
        found = value if value >= _FIRST_MILLISECOND_STAMP else value * 1_000
    else:
        try:
            moment = msgspec.convert(value, datetime)
        except msgspec.ValidationError as error:
            raise Fault("time_malformed", "Expected RFC 3339 with an offset, or Unix time.", pointer=pointer) from error
        if moment.tzinfo is None:
            raise Fault("time_malformed", "The time has no offset; end it with Z for UTC.", pointer=pointer)
        since = moment - _EPOCH
        found = since.days * 86_400_000 + since.seconds * 1_000 + since.microseconds // 1_000
    if not 0 <= found <= _LAST_MS:
        raise Fault("time_malformed", "The time is before 1970 or after 9999.", pointer=pointer)
    return found


def event_time_ms(value: str | int, received_ms: int, pointer: str) -> int:
    """As `time_ms`, and no more than an hour ahead of the arrival."""
    found = time_ms(value, pointer)
    if found > received_ms + AHEAD_MAX_MS:
        ahead_s = (found - received_ms) // 1_000
        raise Fault(
            "time_in_future",
            f"The time is {ahead_s} s ahead of its arrival, 3600 s at most.",
            pointer=pointer,
        )
    return found


def rfc3339(at_ms: int) -> str:
    """UTC with milliseconds.

    >>> rfc3339(0)
    '1970-01-01T00:00:00.000Z'
    """
    moment = datetime.fromtimestamp(at_ms // 1_000, tz=UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{at_ms % 1_000:03d}Z"


def context_of(values: Mapping[str, str | int], pointer: str) -> dict[str, str]:
    """What was known about the moment: names and values as text, sorted, so that their order says nothing."""
    if len(values) > CONTEXT_FEATURES_MAX:
        detail = f"A context has {CONTEXT_FEATURES_MAX} entries at most, this one {len(values)}."
        raise Fault("value_out_of_range", detail, pointer=pointer)
    found: dict[str, str] = {}
    for name in sorted(values):
        value = values[name]
        text = value if type(value) is str else str(value)
        for part in (name, text):
            if not part.isprintable():
                check_printable(part, pointer)
            if len(part) > _CONTEXT_TEXT_MAX:
                detail = f"A context's names and values have {_CONTEXT_TEXT_MAX} characters at most."
                raise Fault("id_too_long", detail, pointer=pointer)
        if not name:
            raise Fault("empty_id", "A name in the context is empty.", pointer=pointer)
        # Files of interactions call these columns context_*; the live names are the ones behind it.
        found[name.removeprefix("context_")] = text
    if len(found) != len(values):
        raise Fault("duplicate_key", "A name stands in the context with and without `context_`.", pointer=pointer)
    return found


def features_of(
    values: Mapping[str, str | int | float | bool | list[str]], pointer: str
) -> dict[str, str | int | float | bool | list[str]]:
    """An item's features. Integers beyond 2^53 are refused: half of all JSON readers would change them."""
    for name, value in values.items():
        _check_feature(name, pointer)
        match value:
            case bool() | float():
                continue
            case int():
                if not -_INTEGER_MAX <= value <= _INTEGER_MAX:
                    raise Fault("value_out_of_range", "Integers lie within ±2^53.", pointer=f"{pointer}/{name}")
            case str():
                _check_feature(value, f"{pointer}/{name}")
            case list():
                for part in value:
                    _check_feature(part, f"{pointer}/{name}")
    return dict(values)


def _check_feature(text: str, pointer: str) -> None:
    if len(text) > _FEATURE_TEXT_MAX:
        raise Fault("id_too_long", f"A feature has {_FEATURE_TEXT_MAX} characters at most.", pointer=pointer)
    if not text.isprintable():
        check_printable(text, pointer)
