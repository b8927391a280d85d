"""Frames of HTTP/2 (RFC 9113): their names, their layout, and what it means to break it."""

from __future__ import annotations

from collections.abc import Iterator
from struct import Struct
from typing import Final

FRAME: Final = Struct(">HBBBI")
"""Length (16 and 8 bits), type, flags, stream."""
DATA, HEADERS, PRIORITY_FRAME, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY = 0, 1, 2, 3, 4, 5, 6, 7
WINDOW_UPDATE, CONTINUATION = 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR, STREAM_CLOSED, FRAME_SIZE_ERROR = 0, 1, 2, 3, 5, 6
REFUSED_STREAM, CANCEL, COMPRESSION_ERROR, ENHANCE_YOUR_CALM = 7, 8, 9, 11
"""Error codes."""

ENABLE_PUSH, MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE, MAX_FRAME_SIZE, MAX_HEADER_LIST_SIZE = 2, 3, 4, 5, 6
"""Settings."""

CLIENT_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
MAX_WINDOW: Final = 2**31 - 1
LAST_STREAM: Final = 2**31 - 1
DEFAULT_FRAME: Final = 16384

DEFAULT_WINDOW: Final = 65535

_LARGEST_FRAME: Final = 2**24 - 1


class Violation(Exception):
    """The peer broke the protocol, or asks too much of it. `code` is HTTP/2's error code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    """One frame on the wire."""
    size = len(payload)
    return FRAME.pack(size >> 8, size & 255, kind, flags, stream) + payload


def opening(settings: dict[int, int], *, stream_window: int = MAX_WINDOW, window: int = MAX_WINDOW) -> bytes:
    """The frames that each end sends first: settings, and how many bytes may be sent to it ahead of its reading."""
    values = {**settings, INITIAL_WINDOW_SIZE: stream_window}
    payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in values.items())
    more = (window - DEFAULT_WINDOW).to_bytes(4, "big")
    return frame(SETTINGS, 0, 0, payload) + frame(WINDOW_UPDATE, 0, 0, more)


def settings_of(payload: bytes) -> Iterator[tuple[int, int]]:
    """What a SETTINGS frame sets, in its order. Errors: Violation at a value that may not be."""
    for at in range(0, len(payload), 6):
        key, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
        if key == INITIAL_WINDOW_SIZE and value > MAX_WINDOW:
            raise Violation(FLOW_CONTROL_ERROR, f"an initial window of {value} bytes")
        if key == MAX_FRAME_SIZE and not DEFAULT_FRAME <= value <= _LARGEST_FRAME:
            raise Violation(PROTOCOL_ERROR, f"frames of at most {value} bytes")
        if key == ENABLE_PUSH and value > 1:
            raise Violation(PROTOCOL_ERROR, f"ENABLE_PUSH is {value}")
        yield key, value


def without_padding(payload: bytes, flags: int) -> bytes:
    """The payload of a DATA or HEADERS frame. Errors: Violation for more padding than payload."""
    if not flags & PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise Violation(PROTOCOL_ERROR, "more padding than payload")
    return payload[1 : len(payload) - payload[0]]
