"""Records that are appended only where a stock grants them: judged and written in one step, answered once."""

import asyncio
from importlib import resources

from online.log import Claim, LogKeys, LogReader, LogWriter, Verdict, connect


def hold(claim: str, until: int, at: int = 0) -> Claim:
    return Claim("f", "hold", claim, at, until)


def take(claim: str, at: int = 0, until: int = 100) -> Claim:
    return Claim("f", "take", claim, at, until)


async def judged(url: str, *claims: Claim | None) -> list[Verdict | int]:
    """The verdicts on claims that travel in one batch; None is a record without one."""
    writer = LogWriter(url)
    await writer.start()
    try:
        found = [
            writer.submit([b"plain"]) if claim is None else writer.claim(f"{claim.verb} {claim.id}".encode(), claim)
            for claim in claims
        ]
        return list(await asyncio.gather(*found))
    finally:
        await writer.close()


def records(url: str) -> list[bytes]:
    reader = LogReader(url)
    try:
        return [record for _, record in reader.read(0, 1000, 0)]
    finally:
        reader.close()


def test_a_batch_appends_what_is_granted_at_dense_positions_and_tells_everyone_the_rest(log_server):
    url = log_server.url
    found = asyncio.run(
        judged(
            url,
            take("a"),
            Claim("f", "limit", "", 0, 2),
            None,
            take("a"),
            hold("b", until=50, at=10),
            take("c", at=20),
            None,
            take("a"),
            take("b", at=20),
            Claim("f", "limit", "", 0, 1),
            Claim("g", "limit", "", 0, 1),
        )
    )
    assert found == [
        Verdict("unknown", 0, 0),
        Verdict("granted", 1, 2),
        2,
        Verdict("granted", 3, 1),
        Verdict("granted", 4, 0),
        Verdict("none_left", 0, 0),
        5,
        Verdict("again", 3, 1),
        Verdict("granted", 6, 0),
        Verdict("in_use", 0, 0),
        Verdict("granted", 7, 1),
    ]
    assert records(url) == [b"limit ", b"plain", b"take a", b"hold b", b"plain", b"take b", b"limit "]


def test_a_hold_ends_by_the_time_of_a_claim_that_is_granted_and_by_no_other(log_server):
    url = log_server.url
    asyncio.run(judged(url, Claim("f", "limit", "", 0, 1), hold("a", until=10)))
    assert asyncio.run(judged(url, take("b", at=10))) == [Verdict("none_left", 0, 0)]
    assert asyncio.run(judged(url, take("b", at=200))) == [Verdict("expired", 0, 1)]
    assert asyncio.run(judged(url, take("b", at=10))) == [Verdict("none_left", 0, 0)]  # a refusal ended nothing
    assert asyncio.run(judged(url, take("b", at=11))) == [Verdict("granted", 3, 0)]
    assert asyncio.run(judged(url, take("a", at=5))) == [Verdict("none_left", 0, 0)]


def test_what_was_taken_can_be_given_back_once_and_is_then_free_for_another(log_server):
    url = log_server.url
    give = Claim("f", "give", "a", 5)
    asyncio.run(judged(url, Claim("f", "limit", "", 0, 1), take("a")))
    assert asyncio.run(judged(url, give, give)) == [Verdict("granted", 3, 1), Verdict("again", 3, 1)]
    assert asyncio.run(judged(url, take("a"))) == [Verdict("given_back", 3, 1)]
    assert asyncio.run(judged(url, Claim("f", "give", "z", 5))) == [Verdict("unknown", 0, 1)]
    assert asyncio.run(judged(url, take("b"), Claim("f", "pass", "b", 6))) == [
        Verdict("granted", 4, 0),
        Verdict("taken", 4, 0),
    ]


def test_letting_go_frees_a_hold_and_is_recorded_where_nothing_was_held(log_server):
    url = log_server.url
    asyncio.run(judged(url, Claim("f", "limit", "", 0, 1), hold("a", until=50)))
    assert asyncio.run(judged(url, Claim("f", "pass", "a", 5), Claim("f", "pass", "q", 5))) == [
        Verdict("granted", 3, 1),
        Verdict("granted", 4, 1),
    ]


def test_a_batch_with_claims_that_is_sent_again_is_answered_as_the_first_time(log_server):
    text = resources.files("online.log").joinpath("append.lua").read_text("ascii")
    keys = LogKeys()
    with connect(log_server.url) as client:
        names = (4, keys.log, keys.sequence, keys.writers, keys.stock("f"))
        limit = ("1", "4", "limit", "", 0, 1)
        taken = ("2", "4", "take", "a", 0, 9)
        late = ("3", "4", "take", "b", 0, 9)
        for _ in range(3):
            reply = client.eval(text, *names, "w", 1, 0, 3, *limit, *taken, *late, b"x", b"y", b"z")
            assert reply == [1, b"granted", 1, 1, b"granted", 2, 0, b"none_left", 0, 0]
        assert client.xlen(keys.log) == 2
        assert client.get(keys.sequence) == b"2"


def test_where_the_stream_cannot_be_written_no_stock_moves(log_server):
    keys = LogKeys()
    with connect(log_server.url) as client:
        client.xadd(keys.log, {"r": b"foreign"}, id="5-0")
        found = asyncio.run(asyncio.wait_for(refused(log_server.url), 5))
        assert "ahead" in found
        assert not client.exists(keys.stock("f"))


async def refused(url: str) -> str:
    try:
        await judged(url, Claim("f", "limit", "", 0, 1))
    except Exception as error:
        return str(error)
    return ""
