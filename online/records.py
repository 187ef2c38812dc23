"""The log's records: everything that may change state, and nothing else (law 1).

A record is a msgpack array whose first element is its tag, a letter and a version ("e1"): compact, decoded in
about a microsecond, and open to growth, since a new field goes to the end and has a default. A record is written
once and never rewritten; a change of meaning takes a new tag.

Two times stand in a record. `at_ms` is event time, the one that learning uses: given by the client, or else the
arrival. `received_ms` is the service's clock at arrival, recorded once; the fold never compares it with a clock.
"""

import struct
from collections.abc import Iterator, Sequence

import msgspec
import numpy as np

from online.pricing.records import Cancellation, FlightUpsert, Quote, QuoteOutcome, Tick

SCHEMA = 1
ID_LENGTH_MAX = 256
BATCH_EVENTS_MAX = 1_000


class Begin(msgspec.Struct, frozen=True, array_like=True, tag="b1"):
    """The first record of every log: what the fold starts from."""

    schema: int
    artifact_id: str  # "" where the service began with no artifact
    seed: int
    settings: str  # canonical JSON of online.settings.Settings
    received_ms: int
    pricing_artifact_id: str = ""


class Decision(msgspec.Struct, frozen=True, array_like=True, tag="d1"):
    """One slate as it was answered, with all that deciding it again takes."""

    decision_id: str
    user_id: str
    at_ms: int
    received_ms: int
    read_position: int  # log position of the state that decided
    arm: int  # 0 live, 1 champion
    n: int  # positions asked for
    item_ids: tuple[str, ...]
    scores: bytes  # float32 little endian, one per position
    propensities: bytes  # float32 little endian, one per position, P(item | the ones above it)
    because: bytes  # per position: BECAUSE_TERMS x (expert: uint8, contribution: float32)
    context: dict[str, str] | None = None
    candidates: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    artifact_id: str = ""
    staleness_ms: int = 0
    client: str = ""


class Event(msgspec.Struct, frozen=True, array_like=True, tag="e1"):
    """What a user did with an item; the outcome of a decision where it names one."""

    event_id: str
    event_type: str
    user_id: str
    item_id: str
    at_ms: int
    received_ms: int
    value: float | None = None
    decision_id: str | None = None
    context: dict[str, str] | None = None
    client: str = ""


class ItemUpsert(msgspec.Struct, frozen=True, array_like=True, tag="i1"):
    """An item of the catalogue, whole: the newest record replaces the ones before it."""

    item_id: str
    received_ms: int
    title: str = ""
    features: dict[str, str | int | float | bool | list[str]] | None = None
    available_from_ms: int | None = None
    available_until_ms: int | None = None
    client: str = ""


class Tally(msgspec.Struct, frozen=True, array_like=True, tag="t1"):
    """Events that were received and not recorded one by one, so that the accounting stays a fold of the log."""

    received_ms: int
    duplicate: int = 0
    rejected: int = 0
    client: str = ""


class Act(msgspec.Struct, frozen=True, array_like=True, tag="a1"):
    """What an operator did: freeze, resume; rollback, promote and erase change the past (`online.lineage`)."""

    act: str
    reason: str
    received_ms: int
    client: str = ""
    arguments: str = "{}"  # canonical JSON
    act_id: str = ""  # an act that is sent again is folded once; "" is never the same as another


class Erased(msgspec.Struct, frozen=True, array_like=True, tag="x1"):
    """What stands where a record was that had to be forgotten: the place, and when it was taken."""

    received_ms: int


Record = (
    Begin
    | Decision
    | Event
    | ItemUpsert
    | Tally
    | Act
    | Erased
    | FlightUpsert
    | Quote
    | QuoteOutcome
    | Cancellation
    | Tick
)

ARMS = ("live", "champion")
BECAUSE_TERMS = 3
TERM = np.dtype([("expert", "u1"), ("part", "<f4")])
NO_BECAUSE = bytes(BECAUSE_TERMS * TERM.itemsize)  # of a position that nothing speaks for

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


class RecordMalformed(ValueError):
    """Bytes in the log that are no record of this version."""


def encode(record: Record) -> bytes:
    """Bytes of one record.

    >>> decode(encode(Tally(received_ms=5, rejected=2))).rejected
    2
    """
    return _encoder.encode(record)


def decode(payload: bytes) -> Record:
    """The record in `payload`. Raises RecordMalformed."""
    try:
        record: Record = _decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise RecordMalformed(f"no record of schema {SCHEMA}: {error}") from error
    return record


def pack_floats(values: Sequence[float]) -> bytes:
    """float32 little endian, exactly as decided."""
    return struct.pack(f"<{len(values)}f", *values)


def unpack_floats(packed: bytes) -> tuple[float, ...]:
    """The inverse of `pack_floats`.

    >>> unpack_floats(pack_floats([0.5, 1.0]))
    (0.5, 1.0)
    """
    return struct.unpack(f"<{len(packed) // 4}f", packed)


def unpack_terms(packed: bytes) -> Iterator[tuple[int, float]]:
    """All terms, position after position: (expert's number, contribution to the score)."""
    numbers = iter(struct.unpack("<" + "Bf" * (len(packed) // TERM.itemsize), packed))
    return zip(numbers, numbers, strict=True)


def unpack_because(packed: bytes) -> list[list[tuple[int, float]]]:
    """Per position its BECAUSE_TERMS largest terms.

    >>> unpack_because(np.array([(1, 0.5), (0, 0.25), (2, 0.0)], TERM).tobytes())
    [[(1, 0.5), (0, 0.25), (2, 0.0)]]
    """
    terms = list(unpack_terms(packed))
    return [terms[at : at + BECAUSE_TERMS] for at in range(0, len(terms), BECAUSE_TERMS)]
