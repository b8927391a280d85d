"""The HTTP client against real sockets that response in awkward ways."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from deployer.records.http1 import HttpError, Pool, Response, parse_chunks, post

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def exchange(handler: Handler, *, requests: int = 1, timeout: float = 5) -> list[Response]:
    """Answers to requests that were sent one after the other."""

    served: list[asyncio.Task[None]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        served.append(task)
        await handler(reader, writer)
        await writer.wait_closed()

    async def main() -> list[Response]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        pool = Pool(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", timeout=timeout)
        try:
            return [await pool.request(post(pool.authority, "/p", b"{}")) for _ in range(requests)]
        finally:
            pool.close()
            server.close()
            await asyncio.gather(*served, return_exceptions=True)

    return asyncio.run(main())


def answering(*pieces: bytes, close: bool = False) -> Handler:
    """A server that responds to each request with the pieces, a moment apart."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(0.01)
            if close:
                break
        writer.close()

    return handler


def test_a_connection_is_used_again() -> None:
    connections = []

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append(writer)
        await answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")(reader, writer)

    assert [r.body for r in exchange(handler, requests=3)] == [b"ok"] * 3
    assert len(connections) == 1


def test_a_response_in_small_pieces() -> None:
    pieces = (b"HTTP/1.1 40", b"0 Bad Request\r\nContent-Le", b"ngth: 5\r\n", b"\r\nhe", b"llo")
    assert exchange(answering(*pieces)) == [Response(400, b"hello")]


def test_a_chunked_response_in_pieces_leaves_the_connection_usable() -> None:
    pieces = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nwi",
        b"ki\r\n5;x=y\r\npedia\r\n",
        b"0\r\n\r\n",
    )
    assert [r.body for r in exchange(answering(*pieces), requests=2)] == [b"wikipedia"] * 2


def test_chunks_with_trailers() -> None:
    assert parse_chunks(b"2\r\nab\r\n0\r\nX: y\r\n\r\n") == (b"ab", 18)
    assert parse_chunks(b"2\r\nab\r\n0\r\nX: y\r\n") is None


def test_a_body_that_ends_with_the_connection() -> None:
    responses = exchange(answering(b"HTTP/1.0 200 OK\r\n\r\nuntil the end", close=True), requests=2)
    assert [r.body for r in responses] == [b"until the end"] * 2


@pytest.mark.parametrize(
    ("handler", "code"),
    [
        (answering(close=True), "connection"),
        (answering(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", close=True), "connection"),
        (answering(b"SSH-2.0-OpenSSH\r\n\r\n"), "protocol"),
        (answering(b"HTTP/1.1 200 OK\r\ncontent-length: many\r\n\r\n"), "protocol"),
    ],
    ids=["closed", "cut short", "not http", "bad length"],
)
def test_faults_have_a_code(handler: Handler, code: str) -> None:
    with pytest.raises(HttpError) as caught:
        exchange(handler)
    assert caught.value.code == code


def test_a_silent_server_is_a_timeout() -> None:
    with pytest.raises(HttpError) as caught:
        exchange(answering(), timeout=0.2)
    assert caught.value.code == "timeout"


def test_nobody_listens() -> None:
    async def main() -> None:
        server = await asyncio.start_server(answering(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        await Pool(f"http://127.0.0.1:{port}", timeout=2).request(b"")

    with pytest.raises(HttpError, match="cannot connect"):
        asyncio.run(main())
