"""gRPC over HTTP/2: the headers of a call and of its response, and messages in their frames.

Source: the gRPC project's "gRPC over HTTP2" protocol description.
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Final
from urllib.parse import quote

from tfserving.server.inflate import DEFLATE, GZIP, Damaged, NoRoom, TooLarge, inflate
from tfserving.wire.status import Code, StatusError

MAX_ERROR_BYTES = 1024
"""Longer error texts are cut to this and marked, as a gRPC trailer is limited."""

_PLAIN = "".join(chr(c) for c in range(0x20, 0x7F) if chr(c) != "%")
"""Characters that grpc-message carries as they are."""

_MOST_DIGITS = 9
"""Of a timeout; gRPC takes longer ones for none."""
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_WINDOW_BITS = {"gzip": GZIP, "deflate": DEFLATE, "identity": 0}
PREFIX: Final = 5
"""Bytes before a message: whether it is compressed, and its length."""

_NOT_ONE_MESSAGE: Final = "the request is not one complete gRPC message"
_NO_MEMORY: Final = "the requests in progress leave no memory for this one"
_UNREAD: Final = "the client leaves too many answers unread"


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
"""Header block of every response."""
OK: Final = _literal("grpc-status", b"0")
"""Trailer block of a success."""
NOT_GRPC: Final = _literal(":status", b"415")
"""Header block for a request that is no gRPC."""


def framed(message: bytes) -> bytes:
    """A message that is not compressed, as it travels."""
    return b"\x00" + len(message).to_bytes(4, "big") + message


def failure(error: StatusError) -> bytes:
    """Header block of a response that is only an error."""
    text = quote(cut(error.message).encode("utf-8", "surrogateescape"), safe=_PLAIN)
    return (
        HEAD + _literal("grpc-status", b"%d" % error.code) + (_literal("grpc-message", text.encode()) if text else b"")
    )


def declared(body: bytes) -> int:
    """The length of the message that begins with these bytes."""
    return int.from_bytes(body[1:PREFIX], "big")


def too_large(size: int, limit: int) -> StatusError:
    """The error of a message that is longer than the server takes, in gRPC's words."""
    return StatusError(Code.RESOURCE_EXHAUSTED, f"SERVER: Received message larger than max ({size} vs. {limit})")


def not_one_message() -> StatusError:
    """The error of a request with no message, a part of one, or more than one."""
    return StatusError(Code.INTERNAL, _NOT_ONE_MESSAGE)


def no_memory() -> StatusError:
    """The error of a request that does not fit beside those in progress."""
    return StatusError(Code.RESOURCE_EXHAUSTED, _NO_MEMORY)


def unread() -> StatusError:
    """The error of a response to a client that does not read."""
    return StatusError(Code.RESOURCE_EXHAUSTED, _UNREAD)


def compressed(body: bytes) -> bool:
    """Whether the message has to be unpacked, which may take long."""
    return body[:1] == b"\x01"


def message(body: bytes, limit: int) -> bytes:
    """The one message of a request, as it was sent.

    Errors: StatusError RESOURCE_EXHAUSTED above `limit` bytes, INTERNAL for what is not exactly one message.
    """
    if len(body) < PREFIX or body[0] > 1:
        raise not_one_message()
    size = declared(body)
    if size > limit:
        raise too_large(size, limit)
    if size != len(body) - PREFIX:
        raise not_one_message()
    return body[PREFIX:]


def unpacked(packed: bytes, encoding: str, limit: int, hold: Callable[[int], bool]) -> bytes:
    """A compressed message in full. `hold` is told of every piece before the next, and may refuse it.

    Errors: StatusError RESOURCE_EXHAUSTED above `limit` bytes or when `hold` refuses, INTERNAL, all in gRPC's words.
    """
    bits = _WINDOW_BITS.get(encoding)
    if bits is None:
        raise StatusError(Code.INTERNAL, "Error parsing 'grpc-encoding' metadata")
    if not bits:
        raise StatusError(Code.INTERNAL, "Compression bit set but no encoding configured")
    try:
        return inflate(packed, bits, limit, hold)
    except TooLarge as error:
        raise StatusError(Code.RESOURCE_EXHAUSTED, "Decompressed message larger than max") from error
    except NoRoom as error:
        raise no_memory() from error
    except Damaged as error:
        raise StatusError(Code.INTERNAL, "Decompression failed due to zlib error") from error


def timeout(fields: dict[str, str]) -> float | None:
    """Seconds that a call may take; None without a limit that can be read."""
    text = fields.get("grpc-timeout")
    if text is None or not text[:-1].isdecimal() or text[-1] not in _UNITS:
        return None
    digits = text[:-1].lstrip("0")
    return int(digits or 0) * _UNITS[text[-1]] if len(digits) <= _MOST_DIGITS else None


def cut(message: str) -> str:
    """An error text as gRPC clients see it: at most `MAX_ERROR_BYTES`, then "...TRUNCATED".

    The real server may cut a character in two, which makes clients misread the whole text.
    """
    encoded = message.encode("utf-8", "surrogateescape")
    if len(encoded) <= MAX_ERROR_BYTES:
        return message
    # An incremental decoder leaves out a character that is not complete.
    return codecs.getincrementaldecoder("utf-8")("surrogateescape").decode(encoded[:MAX_ERROR_BYTES]) + "...TRUNCATED"
