"""The client half of HTTP/2: requests are sent whole, and each has one response."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Final

from tfserving.http2 import connection, frames
from tfserving.http2.frames import END_HEADERS, FRAME, HEADERS, LAST_STREAM, RST_STREAM, frame
from tfserving.http2.headers import MALFORMED, RESPONSE
from tfserving.http2.sending import Stream

_PREFACE: Final = frames.CLIENT_PREFACE + frames.opening({frames.ENABLE_PUSH: 0})


class StreamError(Exception):
    """One exchange ended before its response was complete. `code` is HTTP/2's error code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class ConnectionEnded(Exception):
    """The connection is gone, and with it every exchange on it."""


class Exchange(Stream):
    """One request and its response. `done` resolves when the response is complete; headers and trailers are merged."""

    __slots__ = ("block", "body", "done")

    def __init__(self, block: bytes, body: bytes, done: asyncio.Future[None]) -> None:
        super().__init__()
        self.block = block
        self.body = body
        self.done = done


class Connection(connection.Connection[Exchange]):
    """One connection, from preface to close."""

    def __init__(self, loop: asyncio.AbstractEventLoop, *, max_response_bytes: int) -> None:
        super().__init__(RESPONSE)
        self._loop = loop
        self._max_response = max_response_bytes
        self._waiting: deque[Exchange] = deque()
        self._retired = False
        self._next_id = 1
        self.ready: asyncio.Future[None] = loop.create_future()
        """Resolves when the peer has sent its SETTINGS: it speaks HTTP/2."""
        self.ended = asyncio.Event()
        self.going_away = asyncio.Event()
        """Set when no new exchange may be opened, though open ones go on."""
        self.last_received = 0.0

    # ---- for the caller ------------------------------------------------------------------------------------

    def request(self, block: bytes, body: bytes) -> Exchange:
        """Send a request: a complete header block and the whole body.

        Errors: ConnectionEnded when no exchange can be opened here; the exchange's `done` has StreamError and
        ConnectionEnded.
        """
        if self.going_away.is_set():
            raise ConnectionEnded(self._failure or "the connection is closing")
        exchange = Exchange(block, body, self._loop.create_future())
        if len(self._open) >= self._peer_max_streams:
            self._waiting.append(exchange)
        else:
            self._open_exchange(exchange)
        return exchange

    def cancel(self, exchange: Exchange) -> None:
        """Forget an exchange; tells the peer when it has been sent."""
        if self._open.pop(exchange.id, None) is not None:
            self._write(frame(RST_STREAM, 0, exchange.id, frames.CANCEL.to_bytes(4, "big")))
            self._after_close()
        elif exchange in self._waiting:
            self._waiting.remove(exchange)

    def retire(self) -> None:
        """Close when the exchanges that were requested are complete; nobody requests another one."""
        self._retired = True
        self._after_close()

    def close(self) -> None:
        """Close at once; open exchanges end with ConnectionEnded."""
        self._failure = self._failure or "closed by the gateway"
        self.going_away.set()
        self._transport.abort()

    # ---- asyncio.Protocol ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._write(_PREFACE)

    def connection_lost(self, exc: Exception | None) -> None:
        reason = self._failure or (f"connection lost: {exc}" if exc else "connection closed by the model server")
        self._failure = reason
        self.going_away.set()
        self.ended.set()
        for exchange in (*self._open.values(), *self._waiting):
            if not exchange.done.done():
                exchange.done.set_exception(ConnectionEnded(reason))
        self._open.clear()
        self._waiting.clear()
        self._blocked.clear()
        if not self.ready.done():
            self.ready.set_exception(ConnectionEnded(reason))

    def data_received(self, data: bytes) -> None:
        self.last_received = self._loop.time()
        super().data_received(data)

    # ---- what arrives --------------------------------------------------------------------------------------

    def _on_fields(self, number: int, fields: dict[str, str], *, ended: bool) -> None:
        exchange = self._open.get(number)
        if exchange is None:
            return
        if fields is MALFORMED:
            self._on_broken(exchange, frames.PROTOCOL_ERROR, "malformed headers")
        else:
            exchange.fields.update(fields)
            if ended:
                self._end(number, None)

    def _on_body(self, stream: Exchange, *, ended: bool) -> None:
        if stream.received > self._max_response:
            self.cancel(stream)
            if not stream.done.done():
                error = StreamError(frames.ENHANCE_YOUR_CALM, f"the response exceeds {self._max_response} bytes")
                stream.done.set_exception(error)
        elif ended:
            self._end(stream.id, None)

    def _on_reset(self, number: int, code: int) -> None:
        self._end(number, StreamError(code, "the model server reset the stream"))

    def _on_broken(self, stream: Exchange, code: int, what: str) -> None:
        self._write(frame(RST_STREAM, 0, stream.id, code.to_bytes(4, "big")))
        self._end(stream.id, StreamError(code, f"the model server broke HTTP/2: {what}"))

    def _on_settings(self) -> None:
        if not self.ready.done():
            self.ready.set_result(None)
        self._after_close()

    def _on_goaway(self, last: int) -> None:
        self.going_away.set()
        for number in [number for number in self._open if number > last]:
            self._end(number, StreamError(frames.REFUSED_STREAM, "the model server is going away"))
        while self._waiting:
            exchange = self._waiting.popleft()
            if not exchange.done.done():
                exchange.done.set_exception(StreamError(frames.REFUSED_STREAM, "the model server is going away"))
        self._after_close()

    # ---- opening and ending --------------------------------------------------------------------------------

    def _open_exchange(self, exchange: Exchange) -> None:
        exchange.id = number = self._next_id
        self._next_id = number + 2
        if self._next_id >= LAST_STREAM:
            self.going_away.set()
        self._open[number] = exchange
        size = len(exchange.block)
        head = FRAME.pack(size >> 8, size & 255, HEADERS, END_HEADERS, number) + exchange.block
        self._send(exchange, head, exchange.body)

    def _end(self, number: int, error: StreamError | None) -> None:
        exchange = self._open.pop(number, None)
        if exchange is not None and not exchange.done.done():
            if error is None:
                exchange.done.set_result(None)
            else:
                exchange.done.set_exception(error)
        self._after_close()

    def _after_close(self) -> None:
        while self._waiting and len(self._open) < self._peer_max_streams and not self.going_away.is_set():
            self._open_exchange(self._waiting.popleft())
        if (self.going_away.is_set() or (self._retired and not self._waiting)) and not self._open:
            self._transport.close()

    def _violation(self, what: str) -> None:
        self.going_away.set()
        super()._violation(what)
