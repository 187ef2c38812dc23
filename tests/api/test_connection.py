"""The limits of a request's head, where the head is late for no fault of the peer's."""

import asyncio

from uvicorn import Config
from uvicorn.server import ServerState

from api.connection import Connection


class Hasty(Connection):
    """Cuts a head that takes three tenths of a second."""

    head_timeout_s = 0.3


async def _slow_app(scope, receive, send) -> None:
    await asyncio.sleep(0.3)
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


async def _answers(pieces: list[tuple[bytes, float]]) -> list[bytes]:
    """Each answer's first line, to pieces that are sent with pauses in between."""
    loop = asyncio.get_running_loop()
    config = Config(_slow_app, lifespan="off", log_config=None)
    config.load()
    state = ServerState()
    server = await loop.create_server(
        lambda: Hasty(config=config, server_state=state, app_state={}, _loop=loop), "127.0.0.1", 0
    )
    reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
    for piece, pause_s in pieces:
        writer.write(piece)
        await asyncio.sleep(pause_s)
    everything = await reader.read(65_536)
    writer.close()
    await writer.wait_closed()
    server.close()
    await asyncio.sleep(0.1)
    return [line for line in everything.split(b"\r\n") if line.startswith(b"HTTP/1.1 ")]


REQUEST = b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n"


def test_a_head_that_waits_behind_requests_under_way_is_not_a_slow_one() -> None:
    cut = len(REQUEST) - 5
    answers = asyncio.run(_answers([(REQUEST * 3 + REQUEST[:cut], 1.0), (REQUEST[cut:], 0.5)]))
    assert answers == [b"HTTP/1.1 204 No Content"] * 4


def test_a_head_that_nothing_holds_up_is_cut_in_time() -> None:
    answers = asyncio.run(_answers([(REQUEST + REQUEST[:10], 1.0)]))
    assert answers == [b"HTTP/1.1 204 No Content", b"HTTP/1.1 408 The request did not arrive in time"]
