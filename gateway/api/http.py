"""One HTTP request and one response over ASGI, without a framework."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from random import getrandbits
from typing import Any, Final

from gateway.addresses import plain
from gateway.errors import BadRequest, BodyTooLarge
from gateway.guard.access.caller import Caller
from gateway.guard.memory import Share
from gateway.observe.context import TraceContext, continued
from gateway.observe.trace import Trace

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]

JSON: Final[Header] = (b"content-type", b"application/json")
REQUEST_ID_MAX: Final = 128
READING: Final = 2
"""Times that a body is held until its pieces are joined."""
UNPACKED_AT_ONCE: Final = 1 << 18


class ClientGone(Exception):
    """The client closed the connection before its request was complete: nobody is left to answer."""


class Request:
    """The head of a request; the body is read when a handler asks for it."""

    __slots__ = ("_asked", "_headers", "_receive", "caller", "client", "context", "id", "method", "target", "trace")

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self.method: str = scope["method"]
        query: bytes = scope["query_string"]
        raw: bytes = scope["raw_path"]
        self.target = (raw + b"?" + query if query else raw).decode("latin-1")
        """Path and query as they were sent, not percent-decoded."""
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._receive = receive
        self._asked = False
        self.caller: Caller | None = None
        """Who asks; None where anybody may."""
        self.context: TraceContext | None = continued(self.header("traceparent"))
        """The trace that the client has begun."""
        self.trace: Trace | None = None
        """What is known of a prediction once it got a response."""
        address = scope.get("client")
        self.client: str = plain(address[0]) if address else ""
        self.id = self._own_id() or new_request_id()
        """The client's x-request-id, or a new one."""

    def header(self, name: str) -> str | None:
        """The value of a header, by its lower-case name; the last one when it was sent twice."""
        value = self._headers.get(name.encode("latin-1"))
        return None if value is None else value.decode("latin-1")

    @property
    def body_unasked(self) -> bool:
        """Whether the client still waits to be asked for its body (Expect: 100-continue).

        It may send the body or the next request after a response, so nothing on the connection can be read any more.
        """
        return not self._asked and b"expect" in self._headers

    async def body(self, limit: int, share: Share) -> bytes:
        """The whole body, unpacked when it was sent with gzip; `share` has counted its bytes `READING` times.

        Errors: BodyTooLarge before more than `limit` bytes are kept; Unavailable when there is no memory; ClientGone.
        """
        declared = self._headers.get(b"content-length", b"")
        if declared.isdigit() and whole_number(declared.decode(), most=limit + 1) > limit:
            raise _too_large(limit)
        self._asked = True
        message = await self._receive()
        body: bytes = message.get("body", b"")
        share.take(READING * len(body))
        if message.get("more_body"):
            body = await self._rest(body, limit, share)
        elif message["type"] == "http.disconnect":
            raise ClientGone
        if len(body) > limit:
            raise _too_large(limit)
        encoding = self._headers.get(b"content-encoding")
        return body if encoding is None or b"gzip" not in encoding else _unpacked(body, limit, share)

    async def left(self) -> None:
        """Returns when the client has left; to be asked when the body has been read."""
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _rest(self, first: bytes, limit: int, share: Share) -> bytes:
        pieces, size, more = [first], len(first), True
        while more:
            if size > limit:
                raise _too_large(limit)
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGone
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            share.take(READING * len(pieces[-1]))
            more = message.get("more_body", False)
        return b"".join(pieces)

    def _own_id(self) -> str | None:
        value = self._headers.get(b"x-request-id")
        if value is None or not value or len(value) > REQUEST_ID_MAX:
            return None
        text = value.decode("latin-1")
        return text if text.isascii() and text.isprintable() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Response:
    """A complete response."""

    status: int = 200
    body: bytes = b""
    headers: tuple[Header, ...] = field(default=(JSON,))

    async def send(self, send: Send, extra: tuple[Header, ...]) -> None:
        """Write it, with further headers and, unless its status has no body, a length."""
        headers = [*self.headers, *extra]
        if self.status != 204:
            headers.append((b"content-length", b"%d" % len(self.body)))
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


def new_request_id() -> str:
    """An identifier for a request that came without one."""
    return f"{getrandbits(128):032x}"


def whole_number(digits: str, *, most: int) -> int:
    """The value of decimal digits, at most `most`; Python itself refuses to read thousands of digits."""
    digits = digits.lstrip("0") or "0"
    return most if len(digits) > len(str(most)) else min(int(digits), most)


def _too_large(limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"the body is larger than {limit} bytes (limits.max_body_bytes)", stage="read")


def _unpacked(body: bytes, limit: int, share: Share) -> bytes:
    """In steps of both sides: zlib copies what it was given and has not used each time."""
    unpacker, pieces, size, at = zlib.decompressobj(wbits=31), [], 0, 0
    while not unpacker.eof:
        given = unpacker.unconsumed_tail or body[at : at + UNPACKED_AT_ONCE]
        at += 0 if unpacker.unconsumed_tail else len(given)
        try:
            piece = unpacker.decompress(given, UNPACKED_AT_ONCE)
        except zlib.error as error:
            raise BadRequest(f"the body is not valid gzip: {error}", stage="read") from error
        if not piece and not given and not unpacker.eof:
            raise BadRequest("the body is not valid gzip: it ends early", stage="read")
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        share.take(READING * len(piece))
        pieces.append(piece)
    return b"".join(pieces)
