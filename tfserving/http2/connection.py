"""What both ends of an HTTP/2 connection (RFC 9113) do, as far as unary gRPC needs it.

Why our own: one call through grpcio costs 270 to 590 µs of CPU at either end, more than the whole budget of a request
in the gateway and in the embedded model server. What gRPC does not use is not here (push, priorities, CONNECT); what a
peer may legally send is handled or ends the connection. Header blocks are sent without HPACK state, so they can be
prepared once; received ones need a decoder.
"""

from __future__ import annotations

from abc import abstractmethod

import hpack

from tfserving.http2.frames import (
    ACK,
    COMPRESSION_ERROR,
    CONTINUATION,
    DATA,
    DEFAULT_FRAME,
    END_HEADERS,
    END_STREAM,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME,
    FRAME_SIZE_ERROR,
    GOAWAY,
    HEADERS,
    INITIAL_WINDOW_SIZE,
    LAST_STREAM,
    MAX_CONCURRENT_STREAMS,
    MAX_FRAME_SIZE,
    MAX_WINDOW,
    PING,
    PRIORITY,
    PRIORITY_FRAME,
    PROTOCOL_ERROR,
    PUSH_PROMISE,
    RST_STREAM,
    SETTINGS,
    WINDOW_UPDATE,
    Violation,
    frame,
    settings_of,
    without_padding,
)
from tfserving.http2.headers import MAX_BLOCK, HeaderDecoder, Pseudo
from tfserving.http2.sending import LARGEST_SENT, S, Sender


class Connection(Sender[S]):
    """One end of a connection, from its first byte to its close. The subclass decides what streams mean.

    `stream_window` and `window` are what `opening` announced; `pseudo` are the fields that the peer's heads have.
    """

    def __init__(
        self,
        pseudo: Pseudo,
        *,
        max_frame: int = DEFAULT_FRAME,
        stream_window: int = MAX_WINDOW,
        window: int = MAX_WINDOW,
    ) -> None:
        super().__init__()
        self._max_frame = max_frame
        self._stream_refill = stream_window // 2
        self._refill = window // 4
        self._partial = bytearray()
        self._wanted = 0
        self._settled = False
        self._only: int | None = SETTINGS
        """The one kind of frame that may come next: first SETTINGS, and within a header block CONTINUATION."""
        self._headers = HeaderDecoder(pseudo)
        self._block_size = 0
        self._headers_of: tuple[int, int, bytearray] | None = None
        self._last = 0
        """Highest stream that the peer has opened."""
        self._peer_max_streams = LAST_STREAM
        self._unacknowledged = 0
        self._failure = ""

    # ---- what a subclass says ------------------------------------------------------------------------------

    @abstractmethod
    def _on_fields(self, number: int, fields: dict[str, str], *, ended: bool) -> None:
        """A header block of a stream is complete, or MALFORMED. `fields` is the connection's: not to be changed."""

    @abstractmethod
    def _on_body(self, stream: S, *, ended: bool) -> None:
        """`stream.chunks` has grown."""

    @abstractmethod
    def _on_reset(self, number: int, code: int) -> None:
        """The peer has given a stream up."""

    @abstractmethod
    def _on_broken(self, stream: S, code: int, what: str) -> None:
        """The peer broke the rules of one stream, which is to be reset with this error code."""

    @abstractmethod
    def _on_goaway(self, last: int) -> None:
        """The peer takes no streams above `last`."""

    def _on_settings(self) -> None:
        """The peer's settings have been applied."""

    def _on_stray(self, number: int) -> None:
        """A part of a message has arrived for a stream that is no longer open. Errors: Violation if it may not."""

    def _known(self, number: int) -> bool:
        """Whether a stream is or was open."""
        return number > 0

    # ---- asyncio.Protocol ----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._failure:
            return
        if self._partial:
            self._partial += data
            if len(self._partial) < self._wanted:
                return
            data, self._partial = bytes(self._partial), bytearray()
        try:
            self._read(data)
        except Violation as broken:
            last = self._last.to_bytes(4, "big") + broken.code.to_bytes(4, "big")
            self._write(frame(GOAWAY, 0, 0, last + str(broken).encode()))
            self._violation(str(broken))

    # ---- frames --------------------------------------------------------------------------------------------

    def _read(self, data: bytes) -> None:
        at, end, self._wanted = 0, len(data), 9
        while end - at >= 9:
            high, low, kind, flags, number = FRAME.unpack_from(data, at)
            size = high << 8 | low
            stop = at + 9 + size
            if size > self._max_frame:
                raise Violation(FRAME_SIZE_ERROR, f"a frame of {size} bytes")
            if stop > end:
                self._wanted = 9 + size
                break
            if kind != self._only and self._only is not None:
                raise Violation(PROTOCOL_ERROR, f"a frame of kind {kind} where only {self._only} may come")
            self._frame(kind, flags, number & LAST_STREAM, data[at + 9 : stop])
            if self._failure:
                return
            at = stop
        if at < end:
            self._partial = bytearray(data[at:])

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == DATA:
            self._data(flags, number, payload)
        elif kind == HEADERS:
            block = without_padding(payload, flags)
            if flags & PRIORITY:
                if len(block) < 5:
                    raise Violation(FRAME_SIZE_ERROR, "a HEADERS frame without its priority")
                block = block[5:]
            if not number:
                raise Violation(PROTOCOL_ERROR, "HEADERS on stream 0")
            self._block(flags, number, block)
        elif kind == WINDOW_UPDATE:
            self._window_update(number, payload)
        elif kind == CONTINUATION:
            self._continuation(flags, number, payload)
        elif kind == PUSH_PROMISE:
            raise Violation(PROTOCOL_ERROR, "a pushed stream")
        else:
            self._without_use()
            self._control(kind, flags, number, payload)

    def _control(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        """A frame that carries no part of a call. Unknown ones are ignored, and so is what priorities say."""
        if kind == RST_STREAM:
            if len(payload) != 4:
                raise Violation(FRAME_SIZE_ERROR, f"an RST_STREAM frame of {len(payload)} bytes")
            if not self._known(number):
                raise Violation(PROTOCOL_ERROR, f"a reset of stream {number}, which was never opened")
            self._on_reset(number, int.from_bytes(payload, "big"))
        elif kind in (PING, SETTINGS, GOAWAY) and number:
            raise Violation(PROTOCOL_ERROR, f"a frame of kind {kind} on stream {number}")
        elif kind == PING:
            if len(payload) != 8:
                raise Violation(FRAME_SIZE_ERROR, f"a PING frame of {len(payload)} bytes")
            self._on_ping(payload, ack=bool(flags & ACK))
        elif kind == SETTINGS:
            if len(payload) % 6 or (flags & ACK and payload):
                raise Violation(FRAME_SIZE_ERROR, f"a SETTINGS frame of {len(payload)} bytes")
            if not flags & ACK:
                self._settings(payload)
        elif kind == PRIORITY_FRAME:
            if not number:
                raise Violation(PROTOCOL_ERROR, "a priority of stream 0")
            if len(payload) != 5:
                raise Violation(FRAME_SIZE_ERROR, f"a PRIORITY frame of {len(payload)} bytes")
        elif kind == GOAWAY:
            if len(payload) < 8:
                raise Violation(FRAME_SIZE_ERROR, f"a GOAWAY frame of {len(payload)} bytes")
            self._on_goaway(int.from_bytes(payload[:4], "big") & LAST_STREAM)

    def _without_use(self) -> None:
        """A frame that furthers nothing has arrived. Errors: Violation when there were too many."""
        self._patience -= 1
        if self._patience < 0:
            raise Violation(ENHANCE_YOUR_CALM, "too many frames without a use")

    def _on_ping(self, payload: bytes, *, ack: bool) -> None:
        if not ack:
            self._write(frame(PING, ACK, 0, payload))

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        size, ended = len(payload), bool(flags & END_STREAM)
        self._unacknowledged += size
        if self._unacknowledged >= self._refill:
            self._write(frame(WINDOW_UPDATE, 0, 0, self._unacknowledged.to_bytes(4, "big")))
            self._unacknowledged = 0
        content = without_padding(payload, flags)
        if not content and not ended:
            self._without_use()
        stream = self._open.get(number)
        if stream is None:
            if not self._known(number):
                raise Violation(PROTOCOL_ERROR, f"DATA of stream {number}, which was never opened")
            self._on_stray(number)
            return
        stream.chunks.append(content)
        stream.received += len(content)
        self._on_body(stream, ended=ended)
        if not ended:
            stream.taken_in += size
            if stream.taken_in >= self._stream_refill and self._open.get(number) is stream:
                self._write(frame(WINDOW_UPDATE, 0, number, stream.taken_in.to_bytes(4, "big")))
                stream.taken_in = 0

    def _block(self, flags: int, number: int, block: bytes) -> None:
        if not flags & END_HEADERS:
            self._headers_of, self._only = (flags, number, bytearray(block)), CONTINUATION
            return
        try:
            fields = self._headers.decode(block)
        except hpack.OversizedHeaderListError as error:
            raise Violation(ENHANCE_YOUR_CALM, "too many headers") from error
        except (hpack.HPACKError, UnicodeDecodeError) as error:
            raise Violation(COMPRESSION_ERROR, f"an undecodable header block ({error})") from error
        self._block_size = len(block)
        self._on_fields(number, fields, ended=bool(flags & END_STREAM))

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._headers_of is None or self._headers_of[1] != number:
            raise Violation(PROTOCOL_ERROR, "a continuation of nothing")
        self._without_use()
        first_flags, _, block = self._headers_of
        block += payload
        if len(block) > MAX_BLOCK:
            raise Violation(ENHANCE_YOUR_CALM, "an endless header block")
        if flags & END_HEADERS:
            self._headers_of = self._only = None
            self._block(first_flags | END_HEADERS, number, bytes(block))

    def _settings(self, payload: bytes) -> None:
        self._settled, self._only = True, None
        for key, value in settings_of(payload):
            if key == MAX_CONCURRENT_STREAMS:
                self._peer_max_streams = value
            elif key == INITIAL_WINDOW_SIZE:
                for stream in self._blocked:
                    stream.window += value - self._peer_initial_window
                self._peer_initial_window = value
            elif key == MAX_FRAME_SIZE:
                self._peer_max_frame = min(value, LARGEST_SENT)
        self._write(frame(SETTINGS, ACK, 0))
        self._on_settings()
        self._flush()

    def _window_update(self, number: int, payload: bytes) -> None:
        if len(payload) != 4:
            raise Violation(FRAME_SIZE_ERROR, f"a WINDOW_UPDATE frame of {len(payload)} bytes")
        increment = int.from_bytes(payload, "big") & MAX_WINDOW
        if not increment:
            raise Violation(PROTOCOL_ERROR, "a WINDOW_UPDATE of nothing")
        if not self._blocked:
            self._without_use()
        if number == 0:
            self._peer_window += increment
            if self._peer_window > MAX_WINDOW:
                raise Violation(FLOW_CONTROL_ERROR, "the connection's window is too large")
        elif (stream := self._open.get(number)) is not None:
            stream.window += increment
            if stream.window + (self._peer_initial_window if stream.unsent is None else 0) > MAX_WINDOW:
                self._on_broken(stream, FLOW_CONTROL_ERROR, "its window is too large")
        elif not self._known(number):
            raise Violation(PROTOCOL_ERROR, f"a WINDOW_UPDATE of stream {number}, which was never opened")
        if self._blocked:
            self._flush()

    def _violation(self, what: str) -> None:
        self._failure = f"the peer broke HTTP/2: {what}"
        self._transport.abort()
