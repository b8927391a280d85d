"""Heads of requests: how long they may be, how long they may take, and what framing is refused."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import uvicorn
from gateway_process import GatewayProcess

from gateway.listen.http_protocol import HEAD_MAX, Protocol
from gateway.timers import Timers

HEALTH = "GET /v2/health/live HTTP/1.1\r\nHost: x\r\n"


def exchange(gateway: GatewayProcess, *pieces: bytes) -> bytes:
    """All that the gateway says to pieces of bytes until it closes the connection, which it must do by itself."""
    host, port = gateway.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        said = b""
        try:
            for piece in pieces:
                connection.sendall(piece)
            while piece := connection.recv(1 << 16):
                said += piece
        except ConnectionError:  # closed with bytes of ours unread
            pass
        return said


def status(said: bytes) -> int:
    return int(said.split()[1])


@pytest.mark.parametrize(
    "head",
    [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3, 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\nabc\n0\n\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "GET / HTTP/1.1\nHost: x\n\n",
        "GET / HTTP/1.1\r\nHost: x\n\r\n",
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX: a\r\n folded\r\n\r\n",
    ],
)
def test_framing_that_may_be_read_in_two_ways_is_refused(gateway: GatewayProcess, head: str) -> None:
    said = exchange(gateway, head.encode() + HEALTH.encode() + b"Connection: close\r\n\r\n")
    assert status(said) in {400, 404}  # 404 where the head is well-formed and its chunks are not
    assert b'"live"' not in said  # nothing after it passes for a request


ENDLESS = [
    pytest.param(HEALTH + "X: ", id="one header"),
    pytest.param("GET /", id="the target"),
    pytest.param("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;", id="the extension of a chunk"),
    pytest.param(
        "POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: ",
        id="a trailer",
    ),
]


@pytest.mark.parametrize("start", ENDLESS)
def test_what_has_no_end_is_cut_off(gateway: GatewayProcess, start: str) -> None:
    said = exchange(gateway, start.encode(), *[b"a" * 16_384] * 200)
    assert said == b"" or status(said) in {400, 404, 431}


def test_many_headers_together_are_too_long(gateway: GatewayProcess) -> None:
    lines = "".join(f"X-{n}: {'a' * 1000}\r\n" for n in range(HEAD_MAX // 1000 + 1))
    assert status(exchange(gateway, f"{HEALTH}{lines}\r\n".encode())) == 431


def test_a_head_and_a_body_that_come_together_are_no_long_head(gateway: GatewayProcess) -> None:
    body = b'{"records": [{"a": 1, "b": 2}]}' + b" " * (3 * HEAD_MAX)
    head = f"POST /v1/models/m:predict HTTP/1.1\r\nHost: x\r\nX: {'a' * 60_000}\r\nConnection: close\r\n"
    said = exchange(gateway, head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert status(said) == 200


def test_many_pipelined_requests_are_no_long_head(gateway: GatewayProcess) -> None:
    one = f"{HEALTH}X: {'a' * 1000}\r\n\r\n"
    last = f"{HEALTH}Connection: close\r\n\r\n"
    said = exchange(gateway, (one * 300 + last).encode())
    assert said.count(b'"live":true') == 301


async def _served(client: Callable[[int], Awaitable[None]], *, idle: int = 75, head_seconds: float = 20) -> None:
    """A client's conversation with the protocol in front of an application that responds when the client lets it."""

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        if scope["path"] == "/slow":
            await asyncio.sleep(1)
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})

    timers = Timers(asyncio.get_running_loop(), slack=0.02)
    http: Any = partial(Protocol, timers=timers, head_seconds=head_seconds)
    server = uvicorn.Server(uvicorn.Config(answer, http=http, ws="none", lifespan="off", timeout_keep_alive=idle))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        try:
            await asyncio.wait_for(client(listener.getsockname()[1]), 20)
        finally:
            server.should_exit = True
            await serving


def test_a_head_that_takes_too_long_is_refused() -> None:
    async def client(port: int) -> None:
        for before in ("", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(f"{before}GET / HTTP/1.1\r\nHo".encode())
            said = await reader.read()
            assert said.count(b"HTTP/1.1 200 OK") == bool(before)
            assert said.count(b"HTTP/1.1 408 Request Timeout") == 1
            writer.close()
            await writer.wait_closed()

    asyncio.run(_served(client, head_seconds=0.1))


def test_a_late_head_does_not_take_the_response_before_it() -> None:
    async def client(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHo")
        said = await reader.read()
        assert said.startswith(b"HTTP/1.1 200 OK")
        assert said.endswith(b"ok")
        writer.close()
        await writer.wait_closed()

    asyncio.run(_served(client, head_seconds=0.1))


def test_a_client_that_says_nothing_is_disconnected() -> None:
    async def client(port: int) -> None:
        for nothing in (b"", b"\r\n"):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(nothing)
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

    asyncio.run(_served(client, idle=1))
