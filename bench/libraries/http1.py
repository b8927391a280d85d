"""uvicorn, httptools, h11, aiohttp and httpx in place of what this project has of HTTP/1."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from pathlib import Path

import aiohttp
import h11
import httptools
import httpx

from bench import gateway as base
from bench.libraries import compare, compare_calls, processes
from deployer.records import http1
from deployer.tools.ports import free
from tfserving.server.rest.message import Request, RequestParser

BODY = b"x" * 600
HEAD = b"POST /v1/models/m:predict HTTP/1.1\r\nHost: server:8501\r\nContent-Type: application/json\r\n"
HEAD += b"User-Agent: python-requests/2.32\r\nAccept: */*\r\nAccept-Encoding: gzip\r\nContent-Length: 600\r\n\r\n"

ODD = {
    "bare line feeds": b"GET /v1/models/H HTTP/1.1\nHost: a\n\n",
    "a folded header": b"GET /v1/models/H HTTP/1.1\r\nHost: a\r\nX: a\r\n folded\r\n\r\n",
    "a header without a colon": b"GET /v1/models/H HTTP/1.1\r\nHost: a\r\nBad Header\r\n\r\n",
    "no version": b"GET /v1/models/H\r\n\r\n",
    "no Host": b"GET /v1/models/H HTTP/1.1\r\n\r\n",
    "HTTP/1.7": b"GET /v1/models/H HTTP/1.7\r\nHost: a\r\n\r\n",
    "a space in a header's name": b"GET /v1/models/H HTTP/1.1\r\nHost : a\r\n\r\n",
    "a signed length": b"POST /v1/models/H HTTP/1.1\r\nHost: a\r\nContent-Length: +2\r\n\r\n{}",
    "two lengths": b"POST /v1/models/H HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nContent-Length: 1\r\n\r\n{}",
    "a signed chunk": b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n+2\r\n{}\r\n0\r\n\r\n",
}
"""Requests that libevent, and so TensorFlow Serving, treats in its own way; the first column is `rest/message.py`."""


def main() -> None:
    """Print what parsing, a request to a bare application and a request of a client cost, and who takes what."""
    compare("Reading a request of 600 bytes", {"own": _own, "httptools": _httptools, "h11": _h11}, 2000)
    print(f"{'Requests off the rules':<30}{'own':>10}{'httptools':>12}{'h11':>10}")
    for what, message in ODD.items():
        print(f"  {what:<28}" + "".join(f"{_taken(read, message):>11}" for read in (_own, _httptools, _h11)))
    processes.bare_applications("bare-http")
    with tempfile.TemporaryDirectory() as folder:
        processes.gateways(Path(folder), "gateway-http")
    asyncio.run(_clients())


def _own(message: bytes = HEAD + BODY) -> bool:
    parser = RequestParser()
    parser.feed(message)
    return isinstance(parser.next(), Request)


class _Seen:
    """What httptools calls; as much as a server needs."""

    def __init__(self) -> None:
        self.headers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.complete = False

    def on_url(self, url: bytes) -> None:
        self.url = url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.complete = True


def _httptools(message: bytes = HEAD + BODY) -> bool:
    seen = _Seen()
    parser = httptools.HttpRequestParser(seen)
    try:
        parser.feed_data(message)
    except httptools.HttpParserError:
        return False
    return seen.complete


def _h11(message: bytes = HEAD + BODY) -> bool:
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(message)
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event is h11.NEED_DATA:
                return False
    except h11.RemoteProtocolError:
        return False
    return True


def _taken(read: object, message: bytes) -> str:
    return "taken" if read(message) else "refused"  # type: ignore[operator]


async def _clients() -> None:
    """Clients of the load generator's kind, against a bare application in another process."""
    port = free(1)[0]
    server = base.start_process([sys.executable, "-c", base.NOTHING, str(port)])
    base.wait_for_port(port)
    url = f"http://127.0.0.1:{port}"
    pool = http1.Pool(url, timeout=10)
    message = http1.post(pool.authority, "/", BODY)
    json = {"content-type": "application/json"}
    connector = aiohttp.TCPConnector(limit=0)
    try:
        async with aiohttp.ClientSession(connector=connector) as session, httpx.AsyncClient() as client:

            async def by_aiohttp() -> None:
                async with session.post(url, data=BODY, headers=json) as response:
                    await response.read()

            await compare_calls(
                "A request of a client",
                {
                    "own": lambda: pool.request(message),
                    "aiohttp": by_aiohttp,
                    "httpx": lambda: client.post(url, content=BODY, headers=json),
                },
                400,
            )
    finally:
        pool.close()
        server.terminate()
        server.wait(20)
