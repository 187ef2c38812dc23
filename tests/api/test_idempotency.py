"""The same request again gives the same answer again."""

import asyncio

import pytest

from api.idempotency import Answer, Replays
from api.identifiers import id_from_key, made_at_ms, make_id
from api.problems import Problem


def test_the_same_key_and_body_get_the_first_answer_and_say_so() -> None:
    async def scenario() -> None:
        replays, runs = Replays(), []

        async def run() -> Answer:
            runs.append(1)
            return Answer(201, b"%d" % len(runs))

        first = await replays.once("a", "k", b"body", run)
        second = await replays.once("a", "k", b"body", run)
        other_address = await replays.once("b", "k", b"body", run)
        assert (first.body, second.body, other_address.body) == (b"1", b"1", b"2")
        assert (b"idempotent-replayed", b"true") in second.headers
        assert (b"idempotent-replayed", b"true") not in first.headers
        with pytest.raises(Problem) as raised:
            await replays.once("a", "k", b"another", run)
        assert raised.value.kind.code == "idempotency_key_reused"

    asyncio.run(scenario())


def test_the_same_key_twice_at_once_runs_once() -> None:
    async def scenario() -> None:
        replays, runs = Replays(), []

        async def run() -> Answer:
            runs.append(1)
            await asyncio.sleep(0.01)
            return Answer(202, b"done")

        answers = await asyncio.gather(*(replays.once("a", "k", b"body", run) for _ in range(5)))
        assert len(runs) == 1
        assert {answer.body for answer in answers} == {b"done"}

    asyncio.run(scenario())


def test_a_refusal_is_not_kept() -> None:
    async def scenario() -> None:
        replays, outcomes = Replays(), [Problem("log_unavailable"), Answer(202, b"ok")]

        async def run() -> Answer:
            outcome = outcomes.pop(0)
            if isinstance(outcome, Problem):
                raise outcome
            return outcome

        with pytest.raises(Problem):
            await replays.once("a", "k", b"body", run)
        assert (await replays.once("a", "k", b"body", run)).body == b"ok"

    asyncio.run(scenario())


def test_the_memory_is_bounded_by_entries_and_by_bytes() -> None:
    async def scenario() -> None:
        replays, runs = Replays(entries_max=3, bytes_max=25), []

        async def run() -> Answer:
            runs.append(1)
            return Answer(201, b"0123456789")

        for key in ("a", "b", "c"):
            await replays.once("x", key, b"", run)
        await replays.once("x", "c", b"", run)
        assert len(runs) == 3
        await replays.once("x", "a", b"", run)
        assert len(runs) == 4

    asyncio.run(scenario())


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_is_empty_or_too_long_is_refused(key: str) -> None:
    async def run() -> Answer:
        return Answer(201, b"")

    with pytest.raises(Problem) as raised:
        asyncio.run(Replays().once("a", key, b"", run))
    assert raised.value.kind.code == "header_invalid"


def test_ids_hold_their_time_and_nothing_else_can_be_told_from_them() -> None:
    ids = [make_id(1_700_000_000_000) for _ in range(1_000)]
    assert len(set(ids)) == 1_000
    assert {made_at_ms(one) for one in ids} == {1_700_000_000_000}
    assert all(one[14] == "7" and one[19] in "89ab" for one in ids)


def test_an_id_from_a_key_depends_on_key_purpose_and_secret_alone() -> None:
    assert id_from_key(b"s", "k", purpose="p") == id_from_key(b"s", "k", purpose="p")
    others = {
        id_from_key(b"s", "k2", purpose="p"),
        id_from_key(b"s", "k", purpose="q"),
        id_from_key(b"t", "k", purpose="p"),
    }
    assert id_from_key(b"s", "k", purpose="p") not in others and len(others) == 3
    assert all(one[14] == "8" for one in others)
