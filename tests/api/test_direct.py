"""The short way of a plain request: it answers as the common way does, and stays in line on its connection."""

import json
import re
import socket
import time
from collections.abc import Iterator

import pytest

from api.heads import Headers, KnownHeads
from tests.api.conftest import Running

HEAD = (
    b"POST /v1/recommendations HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
)


class Peer:
    """A connection that sends bytes as they are given, and reads one answer at a time."""

    def __init__(self, service: Running) -> None:
        host, port = service.address["url"].removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=20.0)
        self._read = b""

    def send(self, *pieces: bytes, pause_s: float = 0.05) -> None:
        for piece in pieces:
            self.socket.sendall(piece)
            time.sleep(pause_s)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the next answer."""
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, self._read = self._read.split(b"\r\n\r\n", 1)
        first, *lines = head.decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        while len(self._read) < length:
            self._more()
        body, self._read = self._read[:length], self._read[length:]
        return int(first.split()[1]), headers, body

    def _more(self) -> None:
        came = self.socket.recv(65_536)
        assert came, "the service closed the connection"
        self._read += came

    def is_closed(self) -> bool:
        return self.socket.recv(1) == b""


@pytest.fixture
def peer(service: Running) -> Iterator[Peer]:
    found = Peer(service)
    yield found
    found.socket.close()


def request(body: bytes, *more: bytes) -> bytes:
    """A whole request for a slate."""
    return HEAD % len(body) + b"".join(line + b"\r\n" for line in more) + b"\r\n" + body


def _without_numbers(text: bytes) -> bytes:
    """Some say how far off a time is, which grows meanwhile."""
    return re.sub(rb"\d+", b"0", text)


@pytest.mark.parametrize(
    "body",
    [
        b'{"user_id":"u1","n":0}',
        b'{"user_id":"u1","user_id":"u2"}',
        b'{"user_id":"u1","m":3}',
        b'{"user_id":"u1"',
        b'{"user_id":"u1","n":NaN}',
        b'{"user_id":""}',
        b'{"user_id":"u1","asked_at":"2400-01-01T00:00:00Z"}',
        b'{"user_id":"u1","context":{"a":[5]}}',
        b"",
        b"\xff",
    ],
)
def test_a_refusal_reads_the_same_on_both_ways(peer: Peer, body: bytes) -> None:
    peer.send(request(body, b"x-request-id: same"))
    short = peer.answer()
    peer.send(HEAD % len(body) + b"x-request-id: same\r\n\r\n", *([body] if body else []))  # in pieces: the common way
    common = peer.answer()
    assert short[0] == common[0] >= 400
    assert _without_numbers(short[2]) == _without_numbers(common[2])
    assert short[1].keys() == common[1].keys()
    assert short[1]["content-type"] == common[1]["content-type"] == "application/problem+json"


def test_a_stranger_s_origin_is_refused_and_shown_out_on_both_ways(service: Running) -> None:
    whole = request(b'{"user_id":"u1"}', b"x-request-id: same", b"origin: https://elsewhere.example")
    found = []
    for cut in (len(whole), len(whole) - 3):
        peer = Peer(service)
        peer.send(whole[:cut], *([whole[cut:]] if cut < len(whole) else []))
        status, headers, body = peer.answer()
        found.append((status, headers["connection"], body))
        assert peer.is_closed()
        peer.socket.close()
    assert found[0] == found[1]
    assert found[0][:2] == (403, "close")


def test_slates_of_both_ways_have_the_same_shape_and_headers(peer: Peer) -> None:
    body = b'{"user_id":"u1","n":3}'
    peer.send(request(body))
    short = peer.answer()
    peer.send(HEAD % len(body) + b"\r\n", body[:5], body[5:])
    common = peer.answer()
    assert short[0] == common[0] == 201
    assert list(short[1]) == list(common[1])
    one, other = json.loads(short[2]), json.loads(common[2])
    assert one.keys() == other.keys() and one["model"].keys() == other["model"].keys()
    assert [sorted(item) for item in one["items"]] == [sorted(item) for item in other["items"]]
    assert len(one["items"]) == 3 and one["model"]["recorded"]


def test_answers_come_in_the_order_of_the_requests(peer: Peer) -> None:
    """Pipelined, short and common way in turns, the last one cut in two."""
    slate = request(b'{"user_id":"u2","n":2}', b"x-request-id: %d")
    figures = b"GET /v1/state HTTP/1.1\r\nhost: localhost\r\nx-request-id: %d\r\n\r\n"
    whole = b"".join((figures if number % 3 == 2 else slate) % number for number in range(12))
    peer.send(whole[:-9], whole[-9:])
    answers = [peer.answer() for _ in range(12)]
    assert [int(headers["x-request-id"]) for _, headers, _ in answers] == list(range(12))
    assert [status for status, _, _ in answers] == [200 if number % 3 == 2 else 201 for number in range(12)]


def test_who_wants_no_more_is_let_go(service: Running) -> None:
    for first in (HEAD + b"connection: close\r\n\r\n", HEAD.replace(b"1.1", b"1.0") + b"\r\n"):
        peer, body = Peer(service), b'{"user_id":"u3"}'
        peer.send(first % len(body) + body)
        assert peer.answer()[0] == 201
        assert peer.is_closed()
        peer.socket.close()


def test_who_goes_away_before_the_answer_harms_nobody(service: Running) -> None:
    for _ in range(20):
        peer = Peer(service)
        peer.send(request(b'{"user_id":"u4"}'), pause_s=0.0)
        peer.socket.close()
    peer = Peer(service)
    peer.send(request(b'{"user_id":"u4"}'))
    assert peer.answer()[0] == 201
    assert "defect" not in service.said()
    peer.socket.close()


def test_a_decision_of_the_short_way_is_found_and_counted(peer: Peer, service: Running) -> None:
    def counted() -> float:
        wanted = 'perennial_http_requests_total{call="recommendations",status="201"}'
        lines = service.client.get("/metrics").text.splitlines()
        return float(next((line.split()[-1] for line in lines if line.startswith(wanted)), 0))

    before = counted()
    peer.send(request(b'{"user_id":"u5","n":4,"exclude":["i1"],"context":{"device":"tv"}}'))
    slate = json.loads(peer.answer()[2])
    found = service.client.get(f"/v1/decisions/{slate['decision_id']}").json()
    assert found["items"] == slate["items"] and found["user_id"] == "u5"
    assert found["exclude"] == ["i1"] and found["context"] == {"device": "tv"}
    assert counted() == before + 1


def test_a_head_that_came_before_is_answered_like_the_first_time(peer: Peer) -> None:
    for user in (b"aa", b"bb", b"cc"):
        peer.send(request(b'{"user_id":"%s"}' % user))
        status, headers, body = peer.answer()
        assert status == 201 and headers["content-type"] == "application/json"
        assert json.loads(body)["decision_id"]
    seen = set()
    for _ in range(3):
        peer.send(request(b'{"user_id":"%s"}' % b"dd"))
        status, headers, body = peer.answer()
        seen.add((json.loads(body)["decision_id"], headers["x-request-id"]))
    assert len({one for one, _ in seen}) == len({two for _, two in seen}) == 3


def test_a_known_head_says_nothing_about_what_comes_with_it(peer: Peer) -> None:
    whole = request(b'{"user_id":"aa"}')
    peer.send(whole)
    assert peer.answer()[0] == 201
    peer.send(request(b'{"user_id":"a"}}'))  # as long, and no JSON
    assert peer.answer()[0] == 400
    peer.send(whole[:-5], whole[-5:])  # its body in two pieces
    assert peer.answer()[0] == 201
    peer.send(whole + whole + b"GET /livez HTTP/1.1\r\nhost: localhost\r\n\r\n")  # three at once
    assert [peer.answer()[0] for _ in range(3)] == [201, 201, 200]
    peer.send(whole[:40], whole[40:] + whole[:60], whole[60:])
    assert [peer.answer()[0] for _ in range(2)] == [201, 201]
    peer.send(b"\r\n" + whole)  # an empty line before a request is let pass
    assert peer.answer()[0] == 201
    peer.send(whole.replace(b"localhost", b"elsewhere"))  # as long, and another host, which may not ask
    assert peer.answer()[0] == 403


def test_only_a_whole_request_teaches_a_head_and_only_its_own_bytes_find_it() -> None:
    body = b'{"user_id":"aa"}'
    whole = request(body)
    headers = Headers([(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))])
    for data, found, is_taught in (
        (whole, headers, True),
        (b"\r\n" + whole, headers, True),  # other bytes, which mean the same from then on
        (whole + whole, headers, False),
        (whole, Headers([*headers.found.items(), (b"x-request-id", b"r1")]), False),
        (whole, Headers([*headers.found.items(), (b"transfer-encoding", b"chunked")]), False),
        (whole, Headers([(b"content-length", b"3")]), False),
        (request(body, b"a: " + b"b" * 2_048), headers, False),
    ):
        heads = KnownHeads()
        heads.learn(data, found, body)
        assert (heads.find(data) is not None) is is_taught, data[:40]
        assert (heads.find(whole) is not None) is (is_taught and data == whole)
    heads = KnownHeads()
    heads.learn(whole, headers, body)
    assert heads.find(whole) == (headers, body)
    assert heads.find(request(b'{"user_id":"bb"}')) == (headers, b'{"user_id":"bb"}')
    for other in (whole[:-1], whole + b" ", whole[1:], b"\r\n" + whole, body, b"", request(body, b"a: b")):
        assert heads.find(other) is None
    for number in range(600):
        heads.learn(request(body, b"n: %d" % number), headers, body)
    assert heads.find(whole) is None and heads.find(request(body, b"n: 599")) is not None
