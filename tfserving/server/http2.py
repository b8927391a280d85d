"""The server half of HTTP/2: calls arrive whole, each gets one answer, and the connection can be drained."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from tfserving.wire import http2
from tfserving.wire.http2 import END_HEADERS, END_STREAM, FRAME, GOAWAY, HEADERS, RST_STREAM, frame

_MAX_FRAME: Final = 256 * 1024
_OPENING: Final = http2.opening({http2.MAX_FRAME_SIZE: _MAX_FRAME})
_PROTOCOL_ERROR: Final = 1
_MOST_CORKED: Final = 8
"""Answers that are kept back while further calls of the same packet are answered."""


class Call(http2.Stream):
    """One request. `connection` takes the answer."""

    __slots__ = ("connection", "taken")

    def __init__(self, connection: ServerConnection, number: int, fields: dict[str, str]) -> None:
        super().__init__()
        self.connection = connection
        self.id = number
        self.fields = fields
        self.taken = False

    @property
    def body(self) -> bytes:
        """All that was received; whole when the call is handed over."""
        return self.chunks[0] if len(self.chunks) == 1 else b"".join(self.chunks)


class ServerConnection(http2.Connection[Call]):
    """One client. `take` is called with every call that has arrived whole, and answers now or later.

    `made` is called with the connection itself when it can be used, after the handshake of TLS, and then `lost` once.
    A client that does not read its answers is not read from.
    """

    def __init__(
        self,
        take: Callable[[Call], None],
        made: Callable[[ServerConnection], None],
        lost: Callable[[ServerConnection], None],
        *,
        max_request_bytes: int,
    ) -> None:
        super().__init__(max_frame=_MAX_FRAME)
        self._take = take
        self._made = made
        self._lost = lost
        self._max_request = max_request_bytes
        self._last = 0
        self._last_served = http2.LAST_STREAM
        self._greeted = False
        self._corked: list[bytes] | None = None

    # ---- for the server ------------------------------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether a call has begun and not been answered."""
        return bool(self._open)

    def answer(self, call: Call, head: bytes, body: bytes, trailers: bytes) -> None:
        """Send header block, body and trailer block; nothing when the client has given the call up."""
        if self._open.get(call.id) is not call:
            return
        size, end = len(head), len(trailers)
        first = FRAME.pack(size >> 8, size & 255, HEADERS, END_HEADERS, call.id) + head
        last = FRAME.pack(end >> 8, end & 255, HEADERS, END_HEADERS | END_STREAM, call.id) + trailers
        self._send(call, first, body, last)
        if call.unsent is None:
            self._answered(call)

    def refuse(self, call: Call, head: bytes) -> None:
        """Send a header block that is the whole answer."""
        if self._open.get(call.id) is call:
            self._write(frame(HEADERS, END_HEADERS | END_STREAM, call.id, head))
            self._answered(call)

    def drain(self) -> None:
        """Take no further calls, and close after the last answer."""
        self._last_served = self._last
        self._write(frame(GOAWAY, 0, 0, self._last.to_bytes(4, "big") + http2.NO_ERROR.to_bytes(4, "big")))
        if not self._open:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # ---- asyncio.Protocol ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._write(_OPENING)
        self._made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._failure = self._failure or "connection closed"
        self._open.clear()
        self._blocked.clear()
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        if not self._greeted:
            data = self._greeting(self._partial + data)
            if not self._greeted:
                return
        self._corked = []
        try:
            super().data_received(data)
        finally:
            self._uncork()
            self._corked = None

    def pause_writing(self) -> None:
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        self._transport.resume_reading()

    def _greeting(self, data: bytes) -> bytes:
        """What follows the preface. A client that speaks something else is cut off."""
        preface = http2.CLIENT_PREFACE
        self._partial = b""
        if data.startswith(preface):
            self._greeted = True
            return data[len(preface) :]
        if preface.startswith(data):
            self._partial = data
        else:
            self._violation("it speaks another protocol")
        return b""

    def _write(self, data: bytes) -> None:
        if self._corked is None:
            self._transport.write(data)
            return
        self._corked.append(data)
        if len(self._corked) >= _MOST_CORKED:
            self._uncork()

    def _uncork(self) -> None:
        if self._corked:
            self._transport.write(b"".join(self._corked))
            self._corked.clear()

    # ---- what arrives --------------------------------------------------------------------------------------

    def _on_fields(self, number: int, fields: dict[str, str], *, ended: bool) -> None:
        call = self._open.get(number)
        if call is None:
            if number % 2 == 0 or number <= self._last:
                if number % 2 == 0:
                    self._violation(f"a request on stream {number}")
                return  # trailers of a call that was answered or given up
            self._last = number
            if number > self._last_served:
                self._reset(number, http2.REFUSED_STREAM)
                return
            call = self._open[number] = Call(self, number, fields)
        if ended:
            self._complete(call)

    def _on_body(self, stream: Call, *, ended: bool) -> None:
        if stream.taken:
            self._reset(stream.id, _PROTOCOL_ERROR)
            self._answered(stream)
        elif stream.received > self._max_request:
            self._reset(stream.id, http2.ENHANCE_YOUR_CALM)  # which clients of gRPC report as RESOURCE_EXHAUSTED
            self._answered(stream)
        elif ended:
            self._complete(stream)

    def _complete(self, call: Call) -> None:
        if not call.taken:
            call.taken = True
            self._take(call)

    def _on_reset(self, number: int, code: int) -> None:
        del code
        call = self._open.get(number)
        if call is not None:
            self._answered(call)

    def _on_goaway(self, last: int) -> None:
        """The client will send no more calls; what it has sent is answered."""

    def _on_sent(self, stream: Call) -> None:
        self._answered(stream)

    def _answered(self, call: Call) -> None:
        self._open.pop(call.id, None)
        if self._last_served != http2.LAST_STREAM and not self._open:
            self._uncork()
            self._transport.close()

    def _reset(self, number: int, code: int) -> None:
        self._write(frame(RST_STREAM, 0, number, code.to_bytes(4, "big")))
