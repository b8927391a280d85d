"""What both ends of an HTTP/2 connection (RFC 9113) do, as far as unary gRPC needs it.

Why our own: one call through grpcio costs 270 to 590 µs of CPU at either end, more than the whole budget of a request
in the gateway and in the embedded model server. What gRPC does not use is not here (push, priorities, CONNECT); what a
peer may legally send is handled or ends the connection. Header blocks are sent without HPACK state, so they can be
prepared once; received ones need a decoder.
"""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections import deque
from struct import Struct
from typing import Final, Generic, TypeVar

import hpack

FRAME: Final = Struct(">HBBBI")
"""Length (16 and 8 bits), type, flags, stream."""
DATA, HEADERS, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 5, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
NO_ERROR, REFUSED_STREAM, CANCEL, ENHANCE_YOUR_CALM = 0, 7, 8, 11
"""Error codes."""

ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE = 2, 3, 4, 5
"""Settings."""

CLIENT_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_WINDOW: Final = 2**31 - 1
LAST_STREAM: Final = 2**31 - 1
DEFAULT_FRAME: Final = 16384

_DEFAULT_WINDOW: Final = 65535
_MAX_HEADER_BLOCK: Final = 256 * 1024
_KNOWN_BLOCKS: Final = 64
_REFILL: Final = 2**29
"""Received bytes after which the connection's window is topped up."""


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame on the wire."""
    size = len(payload)
    return FRAME.pack(size >> 8, size & 255, kind, flags, stream) + payload


def opening(settings: dict[int, int]) -> bytes:
    """The frames that each end sends first. Flow control of what is received is left to the limits on messages."""
    values = {**settings, INITIAL_WINDOW_SIZE: MAX_WINDOW}
    payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in values.items())
    window = (MAX_WINDOW - _DEFAULT_WINDOW).to_bytes(4, "big")
    return frame(SETTINGS, 0, 0, payload) + frame(WINDOW_UPDATE, 0, 0, window)


class Stream:
    """One exchange: what was received, and what is left to send.

    `fields` are headers and trailers by lower-case name. `unsent` is the part of the body that the peer's windows did
    not allow yet, `after` the frames that follow it (empty: the body ends the stream).
    """

    __slots__ = ("after", "chunks", "fields", "id", "received", "unsent", "window")

    def __init__(self) -> None:
        self.id = 0
        self.fields: dict[str, str] = {}
        self.chunks: list[bytes] = []
        self.received = 0
        self.unsent: memoryview | None = None
        self.after = b""
        self.window = 0


S = TypeVar("S", bound=Stream)


class Connection(asyncio.Protocol, Generic[S]):
    """One end of a connection, from its first byte to its close. The subclass decides what streams mean."""

    def __init__(self, *, max_frame: int = DEFAULT_FRAME) -> None:
        self._max_frame = max_frame
        self._transport: asyncio.Transport
        self._partial = b""
        self._decoder = hpack.Decoder()
        self._known_blocks: dict[bytes, dict[str, str]] = {}
        self._headers_of: tuple[int, int, bytearray] | None = None
        self._open: dict[int, S] = {}
        self._blocked: deque[S] = deque()
        self._peer_window = _DEFAULT_WINDOW
        self._peer_initial_window = _DEFAULT_WINDOW
        self._peer_max_frame = DEFAULT_FRAME
        self._peer_max_streams = LAST_STREAM
        self._unacknowledged = 0
        self._failure = ""

    # ---- what a subclass says ------------------------------------------------------------------------------

    @abstractmethod
    def _on_fields(self, number: int, fields: dict[str, str], *, ended: bool) -> None:
        """A header block of a stream is complete. `fields` belongs to the connection: not to be changed."""

    @abstractmethod
    def _on_body(self, stream: S, *, ended: bool) -> None:
        """`stream.chunks` has grown."""

    @abstractmethod
    def _on_reset(self, number: int, code: int) -> None:
        """The peer has given a stream up."""

    @abstractmethod
    def _on_goaway(self, last: int) -> None:
        """The peer takes no streams above `last`."""

    def _on_settings(self) -> None:
        """The peer's settings have been applied."""

    def _write(self, data: bytes) -> None:
        self._transport.write(data)

    # ---- asyncio.Protocol ----------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._partial:
            data = self._partial + data
        at, end = 0, len(data)
        while end - at >= 9:
            high, low, kind, flags, number = FRAME.unpack_from(data, at)
            size = high << 8 | low
            stop = at + 9 + size
            if size > self._max_frame:
                return self._violation(f"a frame of {size} bytes")
            if stop > end:
                break
            if self._headers_of is not None and kind != CONTINUATION:
                return self._violation("a header block was interrupted")
            self._frame(kind, flags, number & LAST_STREAM, data[at + 9 : stop])
            if self._failure:
                return None
            at = stop
        self._partial = data[at:]
        return None

    # ---- frames --------------------------------------------------------------------------------------------

    def _frame(self, kind: int, flags: int, number: int, payload: bytes) -> None:
        if kind == DATA:
            self._data(flags, number, payload)
        elif kind == HEADERS:
            block = without_padding(payload, flags)
            if flags & PRIORITY:
                block = block[5:]
            self._block(flags, number, block)
        elif kind == WINDOW_UPDATE:
            self._window_update(number, int.from_bytes(payload, "big") & LAST_STREAM)
        elif kind == PING:
            if not flags & ACK:
                self._write(frame(PING, ACK, 0, payload[:8]))
        elif kind == SETTINGS:
            if not flags & ACK:
                self._settings(payload)
        elif kind == RST_STREAM:
            self._on_reset(number, int.from_bytes(payload, "big"))
        elif kind == GOAWAY:
            self._on_goaway(int.from_bytes(payload[:4], "big") & LAST_STREAM)
        elif kind == CONTINUATION:
            self._continuation(flags, number, payload)
        elif kind == PUSH_PROMISE:
            self._violation("a pushed stream")

    def _data(self, flags: int, number: int, payload: bytes) -> None:
        self._unacknowledged += len(payload)
        if self._unacknowledged >= _REFILL:
            self._write(frame(WINDOW_UPDATE, 0, 0, self._unacknowledged.to_bytes(4, "big")))
            self._unacknowledged = 0
        stream = self._open.get(number)
        if stream is not None:
            stream.chunks.append(without_padding(payload, flags))
            stream.received += len(payload)
            self._on_body(stream, ended=bool(flags & END_STREAM))

    def _block(self, flags: int, number: int, block: bytes) -> None:
        if not flags & END_HEADERS:
            self._headers_of = (flags, number, bytearray(block))
            return
        try:
            fields = self._decode(block)
        except (hpack.HPACKError, UnicodeDecodeError) as error:
            self._violation(f"an undecodable header block ({error})")
            return
        self._on_fields(number, fields, ended=bool(flags & END_STREAM))

    def _continuation(self, flags: int, number: int, payload: bytes) -> None:
        if self._headers_of is None or self._headers_of[1] != number:
            return self._violation("a continuation of nothing")
        first_flags, _, block = self._headers_of
        block += payload
        if len(block) > _MAX_HEADER_BLOCK:
            return self._violation("an endless header block")
        if flags & END_HEADERS:
            self._headers_of = None
            self._block(first_flags | END_HEADERS, number, bytes(block))
        return None

    def _decode(self, block: bytes) -> dict[str, str]:
        """Decode, remembering blocks that left the table alone: they mean the same until the table changes."""
        fields = self._known_blocks.get(block)
        if fields is None:
            entries = self._decoder.header_table.dynamic_entries
            before = (entries[0] if entries else None, len(entries))
            fields = {str(name): str(value) for name, value in self._decoder.decode(block)}
            if before[0] is (entries[0] if entries else None) and before[1] == len(entries):
                if len(self._known_blocks) < _KNOWN_BLOCKS:
                    self._known_blocks[block] = fields
            else:
                self._known_blocks.clear()
        return fields

    def _settings(self, payload: bytes) -> None:
        for at in range(0, len(payload) - 5, 6):
            key, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            if key == MAX_CONCURRENT_STREAMS:
                self._peer_max_streams = value
            elif key == INITIAL_WINDOW_SIZE:
                for stream in self._blocked:
                    stream.window += value - self._peer_initial_window
                self._peer_initial_window = value
            elif key == MAX_FRAME_SIZE:
                if value < DEFAULT_FRAME:  # illegal; a large body in tiny frames would hold up all other connections
                    return self._violation(f"frames of at most {value} bytes")
                self._peer_max_frame = value
        self._write(frame(SETTINGS, ACK, 0))
        self._on_settings()
        self._flush()
        return None

    def _window_update(self, number: int, increment: int) -> None:
        if number == 0:
            self._peer_window += increment
        elif (stream := self._open.get(number)) is not None:
            stream.window += increment
        if self._blocked:
            self._flush()

    # ---- sending -------------------------------------------------------------------------------------------

    def _send(self, stream: S, head: bytes, body: bytes, after: bytes = b"") -> None:
        """Frames `head`, the body, frames `after`: in one piece when the peer's windows allow it.

        Without `after` the last frame of the body ends the stream.
        """
        size = len(body)
        if size <= self._peer_window and size <= self._peer_initial_window and size <= self._peer_max_frame:
            self._peer_window -= size
            data = FRAME.pack(size >> 8, size & 255, DATA, 0 if after else END_STREAM, stream.id)
            self._write(b"".join((head, data, body, after)))
            return
        self._write(head)
        stream.unsent = memoryview(body)
        stream.after = after
        stream.window += self._peer_initial_window
        self._blocked.append(stream)
        self._flush()

    def _flush(self) -> None:
        """Send what the peer's windows allow of the bodies that did not fit at once."""
        for _ in range(len(self._blocked)):
            stream = self._blocked.popleft()
            if self._open.get(stream.id) is not stream:
                continue
            if self._send_body(stream):
                self._on_sent(stream)
            else:
                self._blocked.append(stream)

    def _on_sent(self, stream: S) -> None:
        """A body that had to wait has been sent."""

    def _send_body(self, stream: S) -> bool:
        while stream.unsent is not None:
            size = min(len(stream.unsent), stream.window, self._peer_window, self._peer_max_frame)
            if size <= 0:
                return False
            piece, rest = stream.unsent[:size], stream.unsent[size:]
            stream.window -= size
            self._peer_window -= size
            flags = 0 if rest or stream.after else END_STREAM
            self._write(FRAME.pack(size >> 8, size & 255, DATA, flags, stream.id) + bytes(piece))
            stream.unsent = rest or None
        if stream.after:
            self._write(stream.after)
        return True

    def _violation(self, what: str) -> None:
        self._failure = f"the peer broke HTTP/2: {what}"
        self._transport.abort()


def without_padding(payload: bytes, flags: int) -> bytes:
    """The payload of a DATA or HEADERS frame."""
    return payload[1 : len(payload) - payload[0]] if flags & PADDED and payload else payload
