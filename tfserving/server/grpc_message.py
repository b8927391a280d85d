"""gRPC over HTTP/2: the headers of a call and of its answer, and messages in their frames.

Source: the gRPC project's "gRPC over HTTP2" protocol description.
"""

from __future__ import annotations

import zlib
from typing import Final
from urllib.parse import quote

from tfserving.wire.status import Code, StatusError

MAX_ERROR_BYTES = 1024
"""Longer error texts are cut to this and marked, as a gRPC trailer is limited."""

_PLAIN = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")
"""Characters that grpc-message carries as they are."""

_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_WINDOW_BITS = {"gzip": 31, "deflate": 15}


def _literal(name: str, value: bytes) -> bytes:
    """A header field without compression state (HPACK: literal without indexing, new name)."""
    return b"\x00" + _string(name.encode()) + _string(value)


def _string(text: bytes) -> bytes:
    size = len(text)
    if size < 127:
        return bytes((size,)) + text
    size -= 127
    head = bytearray((127,))
    while size >= 128:
        head.append(size & 127 | 128)
        size >>= 7
    head.append(size)
    return bytes(head) + text


HEAD: Final = (
    b"\x88"  # :status 200, entry 8 of HPACK's static table
    + _literal("content-type", b"application/grpc")
    + _literal("grpc-accept-encoding", b"identity, deflate, gzip")
)
"""Header block of every answer."""
OK: Final = _literal("grpc-status", b"0")
"""Trailer block of a success."""
NOT_GRPC: Final = _literal(":status", b"415")
"""Header block for a request that is no gRPC."""


def framed(message: bytes) -> bytes:
    """A message that is not compressed, as it travels."""
    return b"\x00" + len(message).to_bytes(4, "big") + message


def failure(error: StatusError) -> bytes:
    """Header block of an answer that is only an error."""
    text = quote(cut(error.message).encode("utf-8", "replace"), safe=_PLAIN)
    return (
        HEAD + _literal("grpc-status", b"%d" % error.code) + (_literal("grpc-message", text.encode()) if text else b"")
    )


def message(body: bytes, encoding: str) -> bytes:
    """The one message of a request.

    Errors: StatusError UNIMPLEMENTED for an unknown compression, INTERNAL for what is not exactly one message.
    """
    if len(body) < 5 or int.from_bytes(body[1:5], "big") != len(body) - 5 or body[0] > 1:
        raise StatusError(Code.INTERNAL, "the request is not one complete gRPC message")
    if not body[0]:
        return body[5:]
    bits = _WINDOW_BITS.get(encoding)
    if bits is None:
        raise StatusError(Code.UNIMPLEMENTED, f"Compression algorithm '{encoding or 'identity'}' is not supported.")
    try:
        return zlib.decompress(body[5:], bits)
    except zlib.error as error:
        raise StatusError(Code.INTERNAL, "the compressed request cannot be read") from error


def timeout(fields: dict[str, str]) -> float | None:
    """Seconds that a call may take; None without a limit that can be read."""
    text = fields.get("grpc-timeout")
    if text is None or not text[:-1].isdecimal() or text[-1] not in _UNITS:
        return None
    return int(text[:-1]) * _UNITS[text[-1]]


def cut(message: str) -> str:
    """An error text as gRPC clients see it: at most `MAX_ERROR_BYTES`, then "...TRUNCATED"."""
    encoded = message.encode("utf-8", "replace")
    if len(encoded) <= MAX_ERROR_BYTES:
        return message
    return encoded[:MAX_ERROR_BYTES].decode("utf-8", "ignore") + "...TRUNCATED"
