"""The server half of HTTP/2: calls arrive whole, each gets one response, and the connection can be drained."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from typing import Final

from tfserving.http2 import connection as http2
from tfserving.http2 import frames
from tfserving.http2.frames import (
    END_HEADERS,
    END_STREAM,
    FRAME,
    GOAWAY,
    HEADERS,
    PING,
    RST_STREAM,
    Violation,
    frame,
)
from tfserving.http2.headers import MALFORMED, REQUEST
from tfserving.server.grpc import message as gm
from tfserving.server.grpc.call import Account, Call
from tfserving.server.grpc.limits import Limits
from tfserving.server.memory import Budget
from tfserving.wire.status import StatusError

_log = logging.getLogger("tfserving.server")

_MAX_FRAME: Final = 256 * 1024
_STREAM_WINDOW: Final = 4 << 20
"""Bytes that a client may send of one call before the server wants more of it."""
_WINDOW: Final = 64 << 20
_MAX_HEADER_LIST: Final = 16 * 1024
"""What clients are told; what ends the connection is larger."""
_WRITE_AHEAD: Final = 1 << 20
"""Bytes that wait for the client to read beyond which it is not read from."""
_MOST_CORKED: Final = 8
"""Responses that are held back while further calls of the same packet are handled."""
_PIECE: Final = 100
"""Bytes that Python adds to each received piece of a request."""
_COUNTED_BLOCK: Final = 1024
"""Header blocks above this size are counted as part of the request."""
_MOST_RESET: Final = 1024
"""Streams that are remembered as reset by the server."""
_LAST_PING: Final = b"draining"
_LAST_PING_SECONDS: Final = 1.0
_LINGER: Final = 1.0
"""Seconds during which a client that broke the protocol may still read why."""


class ServerConnection(http2.Connection[Call]):
    """One client. `take` is called with every call that has arrived whole, and answers now or later.

    `made` is called with the connection itself when it can be used, after the handshake of TLS, and then `lost` once.
    A client that does not read its responses is not read from.
    """

    def __init__(
        self,
        take: Callable[[Call], None],
        made: Callable[[ServerConnection], None],
        lost: Callable[[ServerConnection], None],
        *,
        limits: Limits,
        budget: Budget,
    ) -> None:
        super().__init__(REQUEST, max_frame=_MAX_FRAME, stream_window=_STREAM_WINDOW, window=_WINDOW)
        self._take = take
        self._made = made
        self._lost = lost
        self._limits = limits
        self._account = Account(budget)
        self._reset_by_us: dict[int, None] = {}
        self._forgotten = 0
        """Highest stream that is no longer in `_reset_by_us`."""
        self._last_served = frames.LAST_STREAM
        self._draining = False
        self._greeted = False
        self._corked: list[bytes] | None = None
        self._timers: list[asyncio.TimerHandle] = []
        self._strikes = 0
        self._pinged: float | None = None

    # ---- for the server ------------------------------------------------------------------------------------

    def answer(self, call: Call, head: bytes, body: bytes, trailers: bytes) -> None:
        """Send header block, body and trailer block; nothing when the client has given the call up.

        A client that leaves too much unread gets an error instead.
        """
        if self._open.get(call.id) is not call:
            return
        self._strikes, self._pinged = 0, None
        size, end = len(head), len(trailers)
        first = FRAME.pack(size >> 8, size & 255, HEADERS, END_HEADERS, call.id) + head
        last = FRAME.pack(end >> 8, end & 255, HEADERS, END_HEADERS | END_STREAM, call.id) + trailers
        if not self._send(call, first, body, last):
            self.refuse(call, gm.failure(gm.unread()))
        elif call.unsent is None:
            self._answered(call)

    def refuse(self, call: Call, head: bytes) -> None:
        """Send a header block that is the whole answer; a client that is still sending is told to stop."""
        if self._open.get(call.id) is call:
            self._strikes, self._pinged = 0, None
            self._write(frame(HEADERS, END_HEADERS | END_STREAM, call.id, head))
            if not call.taken:
                self._reset(call.id, frames.NO_ERROR)
            self._answered(call)

    def wants(self, call: Call) -> bool:
        """Whether the client still waits for the response. May be asked on any thread."""
        return self._open.get(call.id) is call

    def worked(self, call: Call) -> None:
        """The thread that had the call's bytes has let them go."""
        call.at_work = False
        self._account.release(call)

    def drain(self) -> None:
        """Have the client send further calls elsewhere, and close after the last response.

        Calls that it sent before it knew are served: the last one is named once the client has echoed a ping.
        """
        if self._draining:
            return
        self._draining = True
        if not self._settled:
            self._transport.close()
            return
        self._write(frame(GOAWAY, 0, 0, frames.LAST_STREAM.to_bytes(4, "big") + bytes(4)))
        self._write(frame(PING, 0, 0, _LAST_PING))
        self._later(_LAST_PING_SECONDS, self._name_last)

    def abort(self) -> None:
        """Close at once."""
        self._transport.abort()

    # ---- asyncio.Protocol ----------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._transport.set_write_buffer_limits(_WRITE_AHEAD)
        settings = {
            frames.MAX_CONCURRENT_STREAMS: self._limits.max_streams,
            frames.MAX_FRAME_SIZE: _MAX_FRAME,
            frames.MAX_HEADER_LIST_SIZE: _MAX_HEADER_LIST,
        }
        self._write(frames.opening(settings, stream_window=_STREAM_WINDOW, window=_WINDOW))
        self._later(self._limits.handshake, self._greet_or_go)
        if self._limits.age is not None:
            self._later(self._limits.age * random.uniform(0.9, 1.1), self._retire)
        self._made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._failure = self._failure or "connection closed"
        self._forget_calls()
        for timer in self._timers:
            timer.cancel()
        self._lost(self)

    def data_received(self, data: bytes) -> None:
        if not self._greeted:
            data = self._greeting(bytes(self._partial) + data)
            if not self._greeted:
                return
        self._corked = []
        try:
            super().data_received(data)
        except Exception:
            _log.exception("a gRPC connection failed")
            self._transport.abort()
        finally:
            self._uncork()
            self._corked = None

    def pause_writing(self) -> None:
        super().pause_writing()
        self._transport.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._paused and not self._transport.is_closing():
            self._transport.resume_reading()

    def _greeting(self, data: bytes) -> bytes:
        """What follows the preface. A client that speaks something else is cut off."""
        preface = frames.CLIENT_PREFACE
        self._partial.clear()
        if data.startswith(preface):
            self._greeted = True
            return data[len(preface) :]
        if preface.startswith(data):
            self._partial += data
        else:
            self._violation("it speaks another protocol")
        return b""

    def _greet_or_go(self) -> None:
        if not self._settled:
            self._transport.abort()

    def _retire(self) -> None:
        self.drain()
        if self._limits.age_grace is not None:
            self._later(self._limits.age_grace, self._transport.abort)

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self._timers.append(asyncio.get_running_loop().call_later(seconds, act))

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

    def _known(self, number: int) -> bool:
        return 0 < number <= self._last

    def _on_fields(self, number: int, fields: dict[str, str], *, ended: bool) -> None:
        call = self._open.get(number)
        if call is None:
            if number % 2 == 0:
                raise Violation(frames.PROTOCOL_ERROR, f"a request on stream {number}")
            if number <= self._last:
                self._on_stray(number)
                return
            self._last = number
            if ":method" not in fields:
                self._reset(number, frames.PROTOCOL_ERROR)
                return
            if number > self._last_served or len(self._open) >= self._limits.max_streams:
                self._reset(number, frames.REFUSED_STREAM)
                return
            call = self._open[number] = Call(self, number, fields)
            if ended:
                self._complete(call)
            elif self._block_size > _COUNTED_BLOCK and not self._account.hold(call, self._block_size):
                self.refuse(call, gm.failure(gm.no_memory()))
        elif call.taken:
            self._on_broken(call, frames.STREAM_CLOSED, "headers after its end")
        elif not ended or fields is MALFORMED or ":method" in fields:
            self._on_broken(call, frames.PROTOCOL_ERROR, "malformed trailers")
        else:
            self._complete(call)

    def _on_body(self, stream: Call, *, ended: bool) -> None:
        if stream.taken:
            self._on_broken(stream, frames.STREAM_CLOSED, "a body after its end")
        elif ended:
            self._complete(stream)
        else:
            try:
                self._keep(stream)
            except StatusError as error:
                self.refuse(stream, gm.failure(error))

    def _keep(self, call: Call) -> None:
        """A part of a request has arrived. Errors: StatusError for one that will not be served."""
        if call.declared < 0 and call.received >= gm.PREFIX:
            call.chunks = [call.body]
            call.declared = gm.declared(call.chunks[0])
            if call.declared > self._limits.max_request:
                raise gm.too_large(call.declared, self._limits.max_request)
        if call.received > max(call.declared, 0) + gm.PREFIX:
            raise gm.not_one_message()
        if not self._account.hold(call, len(call.chunks[-1]) + _PIECE):
            raise gm.no_memory()

    def _complete(self, call: Call) -> None:
        length = call.fields.get("content-length")
        if length is not None and (length.lstrip("0") or "0") != str(call.received):
            self._on_broken(call, frames.PROTOCOL_ERROR, "another length than announced")
            return
        call.taken = True
        self._take(call)

    def _on_reset(self, number: int, code: int) -> None:
        del code
        call = self._open.get(number)
        if call is not None:
            self._answered(call)

    def _on_broken(self, stream: Call, code: int, what: str) -> None:
        del what
        self._reset(stream.id, code)
        self._answered(stream)

    def _on_stray(self, number: int) -> None:
        # What the client sent before it knew of a reset is let pass; after its own end it may send nothing.
        if number > self._forgotten and number not in self._reset_by_us:
            raise Violation(frames.STREAM_CLOSED, f"more of stream {number}, which the client has ended")

    def _on_goaway(self, last: int) -> None:
        """The client will send no more calls; what it has sent gets a response."""

    def _on_ping(self, payload: bytes, *, ack: bool) -> None:
        if ack:
            if payload == _LAST_PING and self._draining:
                self._name_last()
            return
        super()._on_ping(payload, ack=False)
        now, limits = asyncio.get_running_loop().time(), self._limits
        interval = limits.ping_interval if self._open else limits.idle_ping_interval
        self._strikes += self._pinged is not None and now < self._pinged + interval
        self._pinged = now
        if 0 < limits.ping_strikes < self._strikes:
            raise Violation(frames.ENHANCE_YOUR_CALM, "too_many_pings")

    def _on_sent(self, stream: Call) -> None:
        self._answered(stream)

    # ---- the end of calls and of the connection ------------------------------------------------------------

    def _may_wait(self, stream: Call, size: int) -> bool:
        return self._account.hold(stream, size, alone=True)

    def _answered(self, call: Call) -> None:
        self._open.pop(call.id, None)
        if call.held and not call.at_work:
            self._account.release(call)
        if not self._open and self._last_served != frames.LAST_STREAM:
            self._uncork()
            self._transport.close()

    def _forget_calls(self) -> None:
        for call in self._open.values():
            if not call.at_work:
                self._account.release(call)
        self._open.clear()
        self._blocked.clear()

    def _name_last(self) -> None:
        """The client knows of the end: calls above the last one it has sent are refused."""
        if self._last_served != frames.LAST_STREAM:
            return
        self._last_served = self._last
        self._write(frame(GOAWAY, 0, 0, self._last.to_bytes(4, "big") + bytes(4)))
        if not self._open:
            self._uncork()
            self._transport.close()

    def _reset(self, number: int, code: int) -> None:
        self._reset_by_us[number] = None
        if len(self._reset_by_us) > _MOST_RESET:
            oldest = next(iter(self._reset_by_us))
            del self._reset_by_us[oldest]
            self._forgotten = max(self._forgotten, oldest)
        self._write(frame(RST_STREAM, 0, number, code.to_bytes(4, "big")))

    def _violation(self, what: str) -> None:
        """Say no more than what has been written, and close; a client that does not read is cut off."""
        self._failure = what
        self._forget_calls()
        self._uncork()
        if self._transport.can_write_eof():
            self._transport.write_eof()
        else:
            self._transport.close()
        self._later(_LINGER, self._transport.abort)
