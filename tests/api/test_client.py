"""The client for programs: typed, quick to import, and never the cause of anything twice."""

import asyncio
import doctest
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, get_type_hints

import msgspec
import pytest

from api import client as clients
from api import schemas
from api.client import AsyncClient, Client, Event, Refused, Unavailable
from api.keys import create_key
from tests.api.conftest import ROOT, Running, eventually


@pytest.fixture
def client(service: Running) -> Iterator[Client]:
    with Client(service.address["url"]) as made:
        yield made


def test_the_examples_run(client: Client) -> None:
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    names = {**vars(clients), "client": client}
    found = doctest.DocTestParser().get_doctest(clients.__doc__ or "", names, "client", "client.py", 0)
    assert len(found.examples) == 6
    assert runner.run(found).failed == 0


def test_it_starts_without_what_a_service_needs() -> None:
    program = (
        "import sys, api.client\n"
        "print(sorted({'fastapi', 'numba', 'numpy', 'torch', 'msgspec', 'redis', 'pydantic'} & set(sys.modules)))"
    )
    printed = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert printed.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (clients.Slate, schemas.RecommendationReply),
        (clients.Model, schemas.ModelOfDecision),
        (clients.Reported, schemas.EventsReply),
        (clients.Stored, schemas.ItemsReply),
        (clients.Event, schemas.EventRequest),
    ],
)
def test_its_types_have_the_services_fields(ours: type, theirs: type[msgspec.Struct]) -> None:
    assert {field.name for field in fields(ours)} == {field.encode_name for field in msgspec.structs.fields(theirs)}


def test_both_clients_have_the_same_calls() -> None:
    calls = {name for name in vars(Client) if not name.startswith("_")} - {"send"}
    assert calls == {name for name in vars(AsyncClient) if not name.startswith("_")}
    assert get_type_hints(Client.recommend)["return"] == get_type_hints(AsyncClient.recommend)["return"]


def test_many_calls_at_once(service: Running) -> None:
    async def run() -> list[Any]:
        async with AsyncClient(service.address["url"], connections=8) as client:
            await client.report(Event("play", "async", "i3"))
            return await asyncio.gather(*(client.recommend(f"u{n}", n=2) for n in range(40)))

    slates = asyncio.run(run())
    assert len({slate.decision_id for slate in slates}) == 40
    assert all(len(slate.items) == 2 for slate in slates)


def test_a_refusal_says_what_and_where(client: Client) -> None:
    with pytest.raises(Refused) as refused:
        client.decision("never was")
    assert (refused.value.status, refused.value.code) == (404, "decision_unknown")
    assert refused.value.hint and refused.value.request_id
    reported = client.report(Event("nonsense", "u1", "i1"))
    assert [one.code for one in reported.rejected] == ["unknown_event_type"]
    with pytest.raises(ValueError):
        client.report(Event("watch", "u1", "i1", value=float("nan")))


def test_nobody_there_is_said_after_a_few_tries() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    with Client(f"http://127.0.0.1:{port}", tries=2) as client, pytest.raises(Unavailable, match="after 2 tries"):
        client.state()


def test_an_answer_that_was_lost_is_asked_for_again_and_counted_once(service: Running) -> None:
    """A proxy passes the request on, and hangs up before the answer: the client cannot know that it arrived."""
    lost: list[bytes] = []
    listening = socket.create_server(("127.0.0.1", 0))
    host, port = service.address["url"].removeprefix("http://").split(":")

    def whole(sender: socket.socket) -> bytes:
        message = b""
        while b"\r\n\r\n" not in message:
            message += sender.recv(65536)
        head, _, body = message.partition(b"\r\n\r\n")
        length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
        while len(body) < length:
            body += sender.recv(65536)
        return head + b"\r\n\r\n" + body

    def proxy() -> None:
        while True:
            try:
                near, _ = listening.accept()
            except OSError:
                return
            with near, socket.create_connection((host, int(port))) as far:
                far.sendall(whole(near))
                answer = whole(far)
                if not lost:
                    lost.append(answer)
                    continue
                near.sendall(answer)

    threading.Thread(target=proxy, daemon=True).start()
    before = service.client.get("/v1/state").json()
    try:
        with Client(f"http://127.0.0.1:{listening.getsockname()[1]}") as client:
            reported = client.report(Event("play", "lossy", "i1"), Event("play", "lossy", "i2"))
    finally:
        listening.close()
    assert lost and b"202" in lost[0]
    assert reported.accepted + reported.duplicate == 2
    assert eventually(lambda: service.client.get("/v1/state").json()["learned_position"] >= reported.position)
    after = service.client.get("/v1/state").json()
    assert after["applied"] - before["applied"] == 2


def test_a_key_opens_what_its_scopes_say(start_service: Any, tmp_path: Any) -> None:
    _, text = create_key(tmp_path / "home", "app", ("decide", "feedback"))
    running = start_service("home")
    with Client(running.address["url"], key=text) as client:
        slate = client.recommend("ada")
        assert client.report(Event("play", "ada", "i1", decision_id=slate.decision_id)).accepted == 1
        with pytest.raises(Refused, match="403 scope_missing"):
            client.state()
    with Client(running.address["url"]) as client, pytest.raises(Refused, match="401 key_missing"):
        client.recommend("ada")
