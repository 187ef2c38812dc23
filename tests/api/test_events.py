"""A batch of events: each is judged on its own, and nothing a client sends is a 500."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.events import Batch, RecentEvents, read_batch
from api.problems import CATALOGUE, Problem
from online.records import decode, encode

NOW_MS = 1_700_000_000_000
GOOD = '{"event_type":"play","user_id":"u","item_id":"i"}'


def read(body: bytes | str, **changes: Any) -> Batch:
    arguments: dict[str, Any] = {
        "received_ms": NOW_MS,
        "event_types": {"play", "like"},
        "known": lambda _: False,
        "id_for": None,
    }
    return read_batch(body if isinstance(body, bytes) else body.encode(), **{**arguments, **changes})


def event(**fields: str) -> str:
    """An event with raw JSON in place of some fields."""
    parts = {"event_type": '"play"', "user_id": '"u"', "item_id": '"i"', **fields}
    return "{" + ",".join(f'"{name}":{text}' for name, text in parts.items()) + "}"


BAD_EVENTS = {
    "NaN as a value": (event(value="NaN"), "not_finite"),
    "infinity as a value": (event(value="-Infinity"), "not_finite"),
    "1e999 as a value": (event(value="1e999"), "value_out_of_range"),
    "1e308 as a value": (event(value="1e308"), "value_out_of_range"),
    "NaN as an id": (event(user_id="NaN"), "not_finite"),
    "a lone surrogate": (event(user_id='"\\ud800"'), "id_not_printable"),
    "a NUL": (event(item_id='"a\\u0000b"'), "id_not_printable"),
    "line breaks": (event(item_id='"a\\r\\nb"'), "id_not_printable"),
    "an empty id": (event(user_id='""'), "empty_id"),
    "a blank id": (event(user_id='"  "'), "empty_id"),
    "an empty event id": (event(event_id='""'), "empty_id"),
    "a 10 kB id": (event(item_id=f'"{"x" * 10_000}"'), "id_too_long"),
    "257 characters": (event(item_id=f'"{"x" * 257}"'), "id_too_long"),
    "a 5,000-digit id": (event(user_id="9" * 5_000), "value_out_of_range"),
    "a 300-digit id": (event(user_id="9" * 300), "id_too_long"),
    "the year 2999": (event(occurred_at='"2999-01-01T00:00:00Z"'), "time_in_future"),
    "two hours ahead": (event(occurred_at=str(NOW_MS + 7_200_000)), "time_in_future"),
    "no time": (event(occurred_at='"yesterday"'), "time_malformed"),
    "no offset": (event(occurred_at='"2020-01-01T00:00:00"'), "time_malformed"),
    "before 1970": (event(occurred_at='"1969-01-01T00:00:00Z"'), "time_malformed"),
    "an unknown type": (event(event_type='"explode"'), "unknown_event_type"),
    "a number as a type": (event(event_type="1"), "wrong_type"),
    "an object as an id": (event(user_id="{}"), "wrong_type"),
    "a boolean as an id": (event(user_id="true"), "wrong_type"),
    "a boolean as a value": (event(value="true"), "wrong_type"),
    "a string as a value": (event(value='"0.5"'), "wrong_type"),
    "null as an id": (event(user_id="null"), "wrong_type"),
    "an unknown field": (event(rating="5"), "unknown_field"),
    "a missing field": ('{"event_type":"play","user_id":"u"}', "missing_field"),
    "a key twice": ('{"event_type":"play","user_id":"u","user_id":"v","item_id":"i"}', "duplicate_key"),
    "an escaped key twice": (
        '{"event_type":"play","user_id":"u","user\\u005fid":"v","item_id":"i"}',
        "duplicate_key",
    ),
    "a context's key twice": (event(context='{"a":1,"a":2}'), "duplicate_key"),
    "too much context": (event(context=json.dumps({f"k{n}": n for n in range(99)})), "value_out_of_range"),
    "a number": ("17", "wrong_type"),
    "null": ("null", "wrong_type"),
    "a list": ("[]", "wrong_type"),
}


@pytest.mark.parametrize("name", BAD_EVENTS)
def test_a_bad_event_is_rejected_by_name_and_the_rest_of_the_batch_is_accepted(name: str) -> None:
    bad, code = BAD_EVENTS[name]
    batch = read(f'{{"events":[{GOOD},{bad},{GOOD}]}}')
    assert [(r.index, r.code) for r in batch.rejected] == [(1, code)]
    assert len(batch.events) == 2
    assert code in CATALOGUE
    assert batch.rejected[0].detail.isascii() or "±" in batch.rejected[0].detail


def test_all_the_bad_events_of_the_corpus_in_one_batch_are_each_rejected() -> None:
    batch = read('{"events":[' + ",".join(bad for bad, _ in BAD_EVENTS.values()) + "]}")
    assert not batch.events
    assert [r.index for r in batch.rejected] == list(range(len(BAD_EVENTS)))


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("", "malformed_json"),
        ("{", "malformed_json"),
        ("nonsense", "malformed_json"),
        ("[]", "invalid_request"),
        ("17", "invalid_request"),
        ('{"event":[]}', "invalid_request"),
        ('{"events":{}}', "invalid_request"),
        ('{"events":[]}', "invalid_request"),
        ('{"events":[' + ",".join([GOOD] * 1_001) + "]}", "invalid_request"),
        ('{"events":[NaN' + ",1" * 1_001 + "]}", "invalid_request"),
        (f'{{"events":[{GOOD}],"events":[{GOOD}]}}', "duplicate_key"),
        ('{"events":' + "[" * 60_000 + "]" * 60_000 + "}", "too_deep"),
        ("[" * 60_000, "invalid_request"),
        (b"\xff\xfe", "malformed_json"),
        (b'\xef\xbb\xbf{"events":[]}', "malformed_json"),
    ],
)
def test_a_body_that_is_no_batch_is_one_problem(body: bytes | str, code: str) -> None:
    with pytest.raises(Problem) as raised:
        read(body)
    assert raised.value.kind.code == code
    assert 400 <= raised.value.status < 500
    json.loads(raised.value.body("id"))


def test_one_event_that_is_not_utf8_rejects_itself() -> None:
    batch = read(b'{"events":[' + GOOD.encode() + b',{"event_type":"play","user_id":"u\xff","item_id":"i"}]}')
    assert [(r.index, r.code) for r in batch.rejected] == [(1, "id_not_printable")]
    assert len(batch.events) == 1


def test_an_event_id_counts_once_within_a_batch_and_once_where_it_is_known() -> None:
    events = [event(event_id=json.dumps(event_id)) for event_id in ("a", "a", "b")]
    body = '{"events":[' + ",".join(events) + "]}"
    batch = read(body, known=lambda event_id: event_id == "b")
    assert [e.event_id for e in batch.events] == ["a"]
    assert (batch.received, batch.duplicate, len(batch.rejected)) == (3, 2, 0)


def test_events_without_an_id_get_different_ones() -> None:
    batch = read('{"events":[' + ",".join([GOOD] * 1_000) + "]}")
    assert len({e.event_id for e in batch.events}) == 1_000


def test_integers_and_strings_are_the_same_id() -> None:
    batch = read('{"events":[' + event(user_id="17") + "," + event(user_id='"17"') + "]}")
    assert [e.user_id for e in batch.events] == ["17", "17"]


def test_times_are_milliseconds_whatever_their_spelling() -> None:
    spellings = ['"2023-11-14T12:00:00Z"', '"2023-11-14T13:00:00+01:00"', "1699963200", "1699963200000"]
    batch = read('{"events":[' + ",".join(event(occurred_at=text) for text in spellings) + "]}")
    assert {e.at_ms for e in batch.events} == {1_699_963_200_000}


def test_an_event_without_a_time_happened_when_it_arrived() -> None:
    assert read(f'{{"events":[{GOOD}]}}').events[0].at_ms == NOW_MS


def test_a_failed_append_leaves_no_trace_in_the_memory_of_events() -> None:
    recent = RecentEvents(entries_max=2)
    assert "a" not in recent
    recent.add(["a", "b", "c"])
    assert "a" not in recent and "c" in recent


_json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
_events = st.fixed_dictionaries(
    {"event_type": st.sampled_from(["play", "like", "x"]), "user_id": _json_values, "item_id": _json_values},
    optional={
        "event_id": _json_values,
        "occurred_at": _json_values,
        "value": _json_values,
        "decision_id": _json_values,
        "context": _json_values,
        "other": _json_values,
    },
)


@given(st.lists(_events, min_size=1, max_size=5), st.booleans())
def test_whatever_comes_is_accounted_for_and_what_is_accepted_can_be_recorded(
    events: list[Any], ascii_only: bool
) -> None:
    body = json.dumps({"events": events}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        batch = read(body)
    except Problem as problem:
        assert problem.status in (400, 422)
        return
    assert batch.received == len(batch.events) + batch.duplicate + len(batch.rejected)
    for accepted in batch.events:
        assert decode(encode(accepted)) == accepted


@given(st.binary(max_size=200))
def test_any_bytes_at_all_are_a_batch_or_a_problem(body: bytes) -> None:
    try:
        read(body)
    except Problem as problem:
        assert 400 <= problem.status < 500
