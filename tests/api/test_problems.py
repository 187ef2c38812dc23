"""Errors: one kind of document, one catalogue, nothing repeated that a client sent."""

import json

import msgspec
import pytest

from api.problems import CATALOGUE, Fault, Pointer, Problem, fault_of, pointer_of


@pytest.mark.parametrize("code", CATALOGUE)
def test_every_code_makes_a_complete_document(code: str) -> None:
    document = json.loads(Problem(code, errors=(Pointer("/a", "wrong_type", "x"),)).body("r-1"))
    assert document["type"] == f"/problems/{code}"
    assert document["code"] == code
    assert document["status"] == CATALOGUE[code].status
    assert document["request_id"] == "r-1"
    assert document["errors"] == [{"pointer": "/a", "code": "wrong_type", "detail": "x"}]
    for field in ("title", "detail", "hint"):
        assert document[field]


def test_a_place_is_named_by_a_json_pointer() -> None:
    class Inner(msgspec.Struct):
        value: float

    class Outer(msgspec.Struct):
        rows: list[Inner]

    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.json.decode(b'{"rows":[{"value":1},{"value":"x"}]}', type=Outer)
    assert fault_of(raised.value).pointer == "/rows/1/value"
    assert pointer_of("$") == ""


def test_an_unknown_field_is_named_only_where_its_name_can_be_written_again() -> None:
    class Strict(msgspec.Struct, forbid_unknown_fields=True):
        a: int = 0

    with pytest.raises(msgspec.ValidationError) as raised:
        msgspec.json.decode('{"\\u0007bell":1}', type=Strict)
    fault = fault_of(raised.value)
    assert fault.code == "unknown_field"
    assert "bell" not in fault.detail


def test_a_fault_as_the_answer_to_a_whole_request_keeps_its_place_and_code() -> None:
    problem = Fault("empty_id", "The id is empty.", pointer="/user_id").problem()
    assert problem.status == 422
    assert problem.errors == (Pointer("/user_id", "empty_id", "The id is empty."),)


def test_a_pause_before_retrying_is_whole_seconds_and_at_least_one() -> None:
    assert Problem("log_unavailable", retry_after_s=0).headers() == [(b"retry-after", b"1")]
