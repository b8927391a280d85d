"""Unary gRPC over one HTTP/2 connection that is restored when it breaks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import socket
import ssl
from collections.abc import Callable
from functools import partial
from typing import Final
from urllib.parse import unquote

from gateway.backends.http2 import Connection, ConnectionEnded, StreamError
from gateway.backends.rpc import RpcError
from gateway.backends.tls import ClientTls
from gateway.observe.context import OUT
from gateway.timers import Timers
from tfserving.wire.status import Code

log = logging.getLogger("gateway.transport")

CONNECT_TIMEOUT: Final = 3.0
"""Seconds for TCP connect and the peer's SETTINGS together."""
BACKOFF_FIRST, BACKOFF_MOST = 0.05, 2.0
"""Seconds between attempts to connect: doubled each time, with jitter."""
AGE_JITTER: Final = 0.2
"""Share of its greatest age by which a connection may be made anew earlier, so that not all are at once."""
AGE_LOOK: Final = 5.0
"""Seconds after which it is looked again how old a connection may become."""
DEADLINE_SLACK: Final = 0.002
"""Seconds by which a call may outlast its deadline."""
MAX_RESPONSE_BYTES: Final = 256 * 1024 * 1024
UNANSWERED_MS: Final = 10_000
"""Unacknowledged bytes for this long mean that the peer's machine is gone (TCP_USER_TIMEOUT)."""

_HTTP_TO_CODE = {
    "400": Code.INTERNAL,
    "401": Code.UNAUTHENTICATED,
    "403": Code.PERMISSION_DENIED,
    "404": Code.UNIMPLEMENTED,
    "429": Code.UNAVAILABLE,
    "502": Code.UNAVAILABLE,
    "503": Code.UNAVAILABLE,
    "504": Code.UNAVAILABLE,
}
"""What a response without grpc-status means (gRPC over HTTP/2, "HTTP to gRPC status code mapping")."""

_RESET_TO_CODE = {7: Code.UNAVAILABLE, 8: Code.CANCELLED, 11: Code.RESOURCE_EXHAUSTED, 12: Code.PERMISSION_DENIED}


class GrpcTransport:
    """`rpc.Transport` over TCP. `address` is HOST:PORT.

    `max_age` says after how many seconds a connection is made anew, if at all: the new one is open before the old one
    gets no more calls, and those of the old one are finished. `tls` says how the next connection is secured, if it is.
    """

    def __init__(
        self,
        address: str,
        *,
        max_age: Callable[[], float | None] = lambda: None,
        tls: Callable[[], ClientTls | None] = lambda: None,
    ) -> None:
        self.address = address
        self._max_age = max_age
        self._tls = tls
        self._retired: list[Connection] = []
        self._connection: Connection | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._timers: Timers
        self._attempted = asyncio.Event()
        self._failure = "not connected yet"
        self._blocks: dict[str, bytes] = {}

    @property
    def connected(self) -> bool:
        return self._connection is not None and not self._connection.going_away.is_set()

    @property
    def last_received(self) -> float:
        return self._connection.last_received if self._connection is not None else 0.0

    async def start(self) -> None:
        self._timers = Timers(asyncio.get_running_loop(), slack=DEADLINE_SLACK)
        self._keeper = asyncio.create_task(self._keep_connected(), name=f"connection to {self.address}")
        await self._attempted.wait()

    async def call(self, path: str, message: bytes, timeout: float) -> bytes:
        connection = self._connection
        if connection is None:
            raise RpcError(Code.UNAVAILABLE, f"{self.address}: {self._failure}", local=True)
        if timeout <= 0:
            raise RpcError(Code.DEADLINE_EXCEEDED, "the deadline passed before the call was sent", local=True)
        body = b"\x00" + len(message).to_bytes(4, "big") + message
        try:
            exchange = connection.request(self._header_block(path, timeout), body)
        except ConnectionEnded as error:
            raise RpcError(Code.UNAVAILABLE, f"{self.address}: {error}", local=True) from error
        timer = self._timers.call_later(timeout, partial(_expire, exchange.done))
        try:
            await exchange.done
        except ConnectionEnded as error:
            raise RpcError(Code.UNAVAILABLE, f"{self.address}: {error}", local=True) from error
        except StreamError as error:
            raise RpcError(_RESET_TO_CODE.get(error.code, Code.INTERNAL), f"{self.address}: {error}") from error
        except TimeoutError as error:
            connection.cancel(exchange)
            raise RpcError(Code.DEADLINE_EXCEEDED, f"no response within {timeout:.3f} s", local=True) from error
        except asyncio.CancelledError:
            connection.cancel(exchange)
            raise
        finally:
            timer.cancel()
        return _message(exchange.fields, exchange.chunks)

    async def close(self) -> None:
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
        for connection in (*self._retired, *([self._connection] if self._connection is not None else [])):
            connection.close()
            await connection.ended.wait()

    def _header_block(self, path: str, timeout: float) -> bytes:
        """Static-table and literal fields only: the peer's decoder keeps no state, so the prefix is made once."""
        prefix = self._blocks.get(path)
        if prefix is None:
            prefix = (
                b"\x83"  # :method POST
                + (b"\x86" if self._tls() is None else b"\x87")  # :scheme http or https
                + b"\x04"
                + _text(path)
                + b"\x01"
                + _text(self.address)
                + b"\x0f\x10"
                + _text("application/grpc")  # content-type
                + b"\x00"
                + _text("te")
                + _text("trailers")
                + b"\x00"
                + _text("grpc-timeout")
            )
            self._blocks[path] = prefix
        milliseconds = b"%dm" % min(max(1, int(timeout * 1000)), 99_999_999)
        block = prefix + bytes((len(milliseconds),)) + milliseconds
        trace = OUT.get()
        return block if not trace else block + b"\x00" + _text("traceparent") + _text(trace)

    async def _keep_connected(self) -> None:
        backoff = BACKOFF_FIRST
        while True:
            try:
                connection = await self._connect()
            except (OSError, ConnectionEnded, TimeoutError) as error:
                failure = f"cannot connect: {error or type(error).__name__}"
                if isinstance(error, ssl.SSLError) and failure != self._failure:
                    log.warning("%s: %s", self.address, failure)  # it does not pass by itself
                self._failure = failure
                self._attempted.set()
                await asyncio.sleep(backoff * random.uniform(0.5, 1.0))
                backoff = min(backoff * 2, BACKOFF_MOST)
                continue
            backoff = BACKOFF_FIRST
            self._use(connection)
            self._attempted.set()
            log.info("connected to %s", self.address)
            await self._until_over(connection)
            if connection.going_away.is_set():
                log.warning("connection to %s ended", self.address)
                await asyncio.sleep(BACKOFF_FIRST * random.uniform(0.5, 1.0))

    def _use(self, connection: Connection) -> None:
        """Send calls over this connection from now on; those of the one before are finished there."""
        before, self._connection = self._connection, connection
        self._retired = [one for one in self._retired if not one.ended.is_set()]
        if before is not None and not before.ended.is_set():
            before.retire()
            self._retired.append(before)

    async def _until_over(self, connection: Connection) -> None:
        """Returns when a connection takes no more calls, or is as old as it may become."""
        time = asyncio.get_running_loop().time
        born, share = time(), random.uniform(1 - AGE_JITTER, 1.0)
        while not connection.going_away.is_set():
            most = self._max_age()
            left = AGE_LOOK if most is None else min(AGE_LOOK, born + most * share - time())
            if left <= 0:
                return
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(connection.going_away.wait(), left)

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        host, _, port = self.address.rpartition(":")
        tls, host = self._tls(), host.strip("[]")
        context = await asyncio.to_thread(tls.context) if tls is not None else None
        name = (tls.server_name or host) if tls is not None else None
        async with asyncio.timeout(CONNECT_TIMEOUT):
            transport, connection = await loop.create_connection(
                lambda: Connection(loop, max_response_bytes=MAX_RESPONSE_BYTES),
                host,
                int(port),
                ssl=context,
                server_hostname=name,
            )
            if hasattr(socket, "TCP_USER_TIMEOUT"):
                sock = transport.get_extra_info("socket")
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNANSWERED_MS)
            try:
                await connection.ready
            except asyncio.CancelledError:
                transport.abort()
                raise
        return connection


def _expire(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_exception(TimeoutError())


def _message(fields: dict[str, str], chunks: list[bytes]) -> bytes:
    """The response's message. Errors: RpcError for any status but OK and for a body that is not one message."""
    status = fields.get("grpc-status")
    if status is None:
        http = fields.get(":status", "none")
        raise RpcError(_HTTP_TO_CODE.get(http, Code.UNKNOWN), f"not a gRPC response (HTTP status {http})")
    if status != "0":
        known = status.isdecimal() and int(status) <= Code.UNAUTHENTICATED
        raise RpcError(Code(int(status)) if known else Code.UNKNOWN, unquote(fields.get("grpc-message", "")))
    body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if len(body) < 5 or body[0] != 0 or int.from_bytes(body[1:5], "big") != len(body) - 5:
        raise RpcError(Code.INTERNAL, "the response is not exactly one uncompressed message")
    return body[5:]


def _text(value: str) -> bytes:
    """An HPACK string literal, not Huffman coded."""
    raw = value.encode()
    return _integer(len(raw)) + raw


def _integer(value: int) -> bytes:
    """An HPACK integer with a prefix of seven bits."""
    if value < 127:
        return bytes((value,))
    out, value = bytearray((127,)), value - 127
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes((*out, value))
