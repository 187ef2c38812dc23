"""The simulations' HTTP client against a real socket: kept connections, closed ones, refusals, time limits."""

import asyncio

import pytest

from simulations.client import CallFailed, Client

ANSWER = b'HTTP/1.1 201 Created\r\nContent-Length: 7\r\nX-Thing: 4\r\n\r\n{"a":1}'


async def served(handler):
    server = await asyncio.start_server(handler, "127.0.0.1", 0)
    return server, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def answering(times: int, answer: bytes = ANSWER):
    """A server that answers each connection so many times and then closes it; notes what it was asked."""
    asked: list[bytes] = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(times):
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except asyncio.IncompleteReadError:
                break
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            asked.append(head + await reader.readexactly(length))
            writer.write(answer)
            await writer.drain()
        writer.close()

    return handler, asked


def test_an_answer_comes_with_status_headers_and_body():
    async def run():
        handler, asked = answering(1)
        server, url = await served(handler)
        client = Client(url)
        reply = await client.call("POST", "/v1/x", {"b": 2}, {"x-min-position": "9"})
        await client.close()
        server.close()
        return reply, asked

    reply, asked = asyncio.run(run())
    assert (reply.status, reply.headers["x-thing"], reply.json()) == (201, "4", {"a": 1})
    assert asked[0].startswith(b"POST /v1/x HTTP/1.1\r\n")
    assert b"x-min-position: 9\r\n" in asked[0]
    assert asked[0].endswith(b'{"b":2}')
    assert reply.seconds > 0.0


def test_a_connection_is_kept_and_a_closed_one_is_replaced():
    async def run():
        handler, asked = answering(2)
        server, url = await served(handler)
        client = Client(url, connections=1)
        replies = [await client.call("GET", "/") for _ in range(5)]
        await client.close()
        server.close()
        return [reply.status for reply in replies], len(asked)

    assert asyncio.run(run()) == ([201] * 5, 5)


@pytest.mark.parametrize("answer", [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"])
def test_what_is_not_an_answer_with_a_length_is_named(answer):
    async def run():
        handler, _ = answering(1, answer)
        server, url = await served(handler)
        client = Client(url)
        try:
            await client.call("GET", "/")
        finally:
            await client.close()
            server.close()

    with pytest.raises(CallFailed):
        asyncio.run(run())


def test_nobody_there_and_nobody_answering_are_both_a_failed_call():
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def run():
        server, url = await served(silent)
        client = Client(url, timeout_s=0.1)
        with pytest.raises(CallFailed):
            await client.call("GET", "/")
        await client.close()
        server.close()
        await server.wait_closed()
        with pytest.raises(CallFailed):
            await Client(url).call("GET", "/")

    asyncio.run(run())


def test_other_machines_are_refused():
    with pytest.raises(ValueError, match="this machine only"):
        Client("http://192.0.2.1:8080")
