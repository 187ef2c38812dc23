"""From bytes to values: strict JSON, each object's keys once, nothing that cannot be written again.

msgspec decodes (it refuses NaN, 1e999 and lone surrogates). Two things it does not tell: that a key came
twice (the last one wins silently, in every JSON library), and, where a whole batch is refused because of
one token, which of its entries held it. Both are answered by a second, slower reading that is only done
when there is reason to.
"""

import json
import math
from typing import Any, TypeVar

import msgspec

from api.problems import Fault, Problem, fault_of

T = TypeVar("T")

# More digits than any id or number here can have; int() itself refuses more than 4,300.
_DIGITS_MAX = 30


def decode(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """The value in `body`. Raises Problem (malformed_json, too_deep, duplicate_key, invalid_request)."""
    value = decode_once(decoder, body)
    if has_duplicate_key(body):
        raise Problem("duplicate_key")
    return value


def decode_once(decoder: msgspec.json.Decoder[T], body: bytes) -> T:
    """As `decode`, without the search for duplicate keys: the caller has a cheaper proof."""
    try:
        value = decoder.decode(body)
    except msgspec.ValidationError as error:
        raise fault_of(error).problem() from error
    except RecursionError as error:
        raise Problem("too_deep") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Problem("malformed_json", malformed_detail(error)) from error
    return value


def malformed_detail(error: Exception) -> str:
    """Where a body stopped being JSON, in words that hold nothing of the body itself."""
    if isinstance(error, UnicodeDecodeError):
        return "The body is not UTF-8."
    return f"{error}."


def has_duplicate_key(body: bytes) -> bool:
    """True where any object in this JSON text has a key twice. The text has been decoded once already.

    >>> has_duplicate_key(b'{"a": 1, "b": {"a": 2}}')
    False
    >>> has_duplicate_key(b'{"a": 1, "\\\\u0061": 2}')
    True
    """
    try:
        json.loads(body, object_pairs_hook=_unique, parse_int=_bounded_int)
    except _DuplicateKey:
        return True
    return False


def keys_are_single(raw: bytes, *, keys: int, colons_in_strings: int) -> bool:
    """A proof, in one pass of memchr, that an object of `keys` known keys has none twice; False proves nothing.

    Every key, repeated ones included, brings a colon. Where the text has as many colons as the decoded
    value has keys and colons inside strings, no key is left over. An escape could hide a colon, so it voids
    the proof.
    """
    return raw.count(b":") == keys + colons_in_strings and b"\\" not in raw


def lenient(body: bytes) -> Any:
    """Python's own reading of a body that msgspec refused: NaN, infinities and lone surrogates become values.

    Only for finding out which entry of a batch holds them; each is then rejected by name. Raises Problem
    where the body is no JSON even so.
    """
    try:
        return json.loads(body.decode("utf-8"), object_pairs_hook=_unique_or_marked, parse_int=_bounded_int)
    except RecursionError as error:
        raise Problem("too_deep") from error
    except UnicodeDecodeError as error:
        raise Problem("malformed_json", malformed_detail(error)) from error
    except ValueError as error:
        where = f" at byte {error.pos}" if isinstance(error, json.JSONDecodeError) else ""
        raise Problem("malformed_json", f"The body stops being JSON{where}.") from error


class Repeated(dict[str, Any]):
    """An object that had a key twice."""


def check_encodable(value: Any, pointer: str = "") -> None:
    """Raises Fault where a leniently read value holds what JSON cannot: a non-finite number, a lone surrogate."""
    match value:
        case Repeated():
            raise Fault("duplicate_key", "An object has the same key twice.", pointer=pointer)
        case dict():
            for key, inner in value.items():
                _check_text(key, pointer)
                check_encodable(inner, f"{pointer}/{key.replace('~', '~0').replace('/', '~1')}")
        case list():
            for index, inner in enumerate(value):
                check_encodable(inner, f"{pointer}/{index}")
        case float() if not math.isfinite(value):
            raise Fault("not_finite", "Expected a finite number.", pointer=pointer)
        case str():
            _check_text(value, pointer)
        case _:
            return


def _check_text(text: str, pointer: str) -> None:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise Fault("id_not_printable", "A text is not valid Unicode.", pointer=pointer) from None


class _DuplicateKey(ValueError):
    """An object with the same key twice."""


def _unique(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _DuplicateKey


def _unique_or_marked(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    return found if len(found) == len(pairs) else Repeated(found)


def _bounded_int(text: str) -> int | float:
    return int(text) if len(text) <= _DIGITS_MAX else math.inf
