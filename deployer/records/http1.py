"""A small HTTP/1.1 client: keep-alive connections on raw asyncio protocols.

The load generator shares a machine with the servers that it measures, so its own CPU use distorts the result. This
client only does what a load generator needs: POST prepared bytes, one request per connection at a time, no redirects,
no cookies.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from deployer.tools.client_tls import ClientTls

_RESPONSE_HEAD_MAX = 65536


class HttpError(Exception):
    """The connection failed or the peer does not speak HTTP/1.1; `code` is a short id for counting."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Response:
    """Status code and body of a response. `retry_after` is in seconds, None without such a header."""

    status: int
    body: bytes
    retry_after: float | None = None


@dataclass(frozen=True, slots=True)
class Head:
    """Status and body framing of a response. `length` is None when the body ends with the connection."""

    status: int
    length: int | None
    chunked: bool
    close: bool
    retry_after: float | None = None


def parse_head(head: bytes) -> Head:
    """Parse a status line and headers, without the empty line. Errors: HttpError "protocol"."""
    lines = head.split(b"\r\n")
    status_line = lines[0]
    if not status_line.startswith(b"HTTP/1.") or not status_line[9:12].isdigit():
        raise HttpError("protocol", f"not an HTTP/1.x response: {status_line[:60]!r}")
    status = int(status_line[9:12])
    length: int | None = 0 if status in (204, 304) else None
    chunked = False
    retry_after: float | None = None
    close = status_line.startswith(b"HTTP/1.0")
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        name = name.lower()
        if name == b"content-length":
            length = int(value)
        elif name == b"transfer-encoding":
            chunked = value.strip().lower() == b"chunked"
        elif name == b"connection":
            close = value.strip().lower() == b"close"
        elif name == b"retry-after" and value.strip().isdigit():  # else a date, which nothing here sends
            retry_after = float(value)
    return Head(status, length, chunked, close, retry_after)


def parse_chunks(data: bytes) -> tuple[bytes, int] | None:
    """Join a chunked body: returns the body and its encoded size; None until the last chunk has arrived."""
    body, at = bytearray(), 0
    while True:
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        size = int(data[at:line_end].partition(b";")[0], 16)
        if size == 0:
            end = data.find(b"\r\n\r\n", line_end)  # trailers, if any, end with an empty line
            return (bytes(body), end + 4) if end >= 0 else None
        start = line_end + 2
        if len(data) < start + size + 2:
            return None
        body += data[start : start + size]
        at = start + size + 2


class _Connection(asyncio.Protocol):
    """One connection; at most one request in flight."""

    def __init__(self) -> None:
        self.open = True
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._waiter: asyncio.Future[Response] | None = None
        self._head: Head | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are not subclasses

    def start(self, data: bytes, waiter: asyncio.Future[Response]) -> None:
        assert self._transport is not None
        self._waiter = waiter
        self._transport.write(data)

    def close(self) -> None:
        self.open = False
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        try:
            self._advance()
        except (HttpError, ValueError) as error:
            self._fail(error if isinstance(error, HttpError) else HttpError("protocol", str(error)))

    def _advance(self) -> None:
        if self._head is None:
            end = self._buffer.find(b"\r\n\r\n")
            if end < 0:
                if len(self._buffer) > _RESPONSE_HEAD_MAX:
                    raise HttpError("protocol", f"the head of the response is longer than {_RESPONSE_HEAD_MAX} bytes")
                return
            self._head = parse_head(bytes(self._buffer[:end]))
            del self._buffer[: end + 4]
        head = self._head
        if head.chunked:
            joined = parse_chunks(bytes(self._buffer))
            if joined is not None:
                self._finish(head, *joined)
        elif head.length is not None and len(self._buffer) >= head.length:
            self._finish(head, bytes(self._buffer[: head.length]), head.length)

    def _finish(self, head: Head, body: bytes, used: int) -> None:
        del self._buffer[:used]
        self._head = None
        waiter, self._waiter = self._waiter, None
        if head.close:
            self.close()
        if waiter is not None and not waiter.done():
            waiter.set_result(Response(head.status, body, head.retry_after))

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._head is not None and self._head.length is None and not self._head.chunked and exc is None:
            self._finish(self._head, bytes(self._buffer), len(self._buffer))
            return
        self._fail(HttpError("connection", f"the connection was lost: {exc or 'closed by the peer'}"))

    def _fail(self, error: HttpError) -> None:
        self.close()
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_exception(error)


class Pool:
    """Keep-alive connections to one "http://host:port", or with `tls` "https://host:port". The last used one is used
    next, so few are in use.

    Errors: HttpError "address"; SpecError for `tls` that cannot be used.
    """

    def __init__(self, base_url: str, *, timeout: float, tls: ClientTls | None = None) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or parts.hostname is None:
            raise HttpError("address", f"{base_url!r} is not http://host:port")
        self.authority = parts.netloc
        secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, parts.port or (443 if secure else 80)
        own = tls or ClientTls()
        self._tls = own.context() if secure else None
        self._server_name = (own.server_name or parts.hostname) if secure else None
        self._timeout = timeout
        self._idle: list[_Connection] = []
        self._loop = asyncio.get_running_loop()

    async def request(self, data: bytes) -> Response:
        """Send `data`, a whole request, and return the response.

        Errors: HttpError "timeout", "connection" or "protocol".
        """
        deadline = self._loop.time() + self._timeout
        connection = await self._take()
        waiter: asyncio.Future[Response] = self._loop.create_future()
        timer = self._loop.call_at(deadline, self._expire, connection, waiter)
        try:
            connection.start(data, waiter)
            return await waiter
        finally:
            timer.cancel()
            if connection.open:
                self._idle.append(connection)

    async def warm(self, connections: int) -> None:
        """Open `connections` in advance, so that the first requests do not include connection setup."""
        self._idle.extend([await self._connect() for _ in range(connections - len(self._idle))])

    def close(self) -> None:
        """Close idle connections; requests in flight must have ended."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    def _expire(self, connection: _Connection, waiter: asyncio.Future[Response]) -> None:
        connection.close()
        if not waiter.done():
            waiter.set_exception(HttpError("timeout", f"no response within {self._timeout:g} s"))

    async def _take(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return await self._connect()

    async def _connect(self) -> _Connection:
        try:
            async with asyncio.timeout(self._timeout):
                _, connection = await self._loop.create_connection(
                    _Connection, self._host, self._port, ssl=self._tls, server_hostname=self._server_name
                )
        except TimeoutError as error:
            raise HttpError("timeout", f"no connection to {self.authority} within {self._timeout:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise HttpError("certificate", f"the certificate of {self.authority}: {error.verify_message}") from error
        except OSError as error:
            raise HttpError("connection", f"cannot connect to {self.authority}: {error}") from error
        return connection


def post(authority: str, path: str, body: bytes, *, headers: tuple[tuple[str, str], ...] = ()) -> bytes:
    """The bytes of a POST of a JSON body."""
    lines = [f"POST {path} HTTP/1.1", f"Host: {authority}", "Content-Type: application/json"]
    lines += [f"{name}: {value}" for name, value in headers]
    lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
