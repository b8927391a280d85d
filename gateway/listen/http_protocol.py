"""uvicorn's HTTP protocol with one system call per answer, no timer of the loop per connection, and what clients may do
that uvicorn does not expect.

uvicorn writes the head and the body of a response apart, and uvloop makes a system call of each. For each response it
also sets a timer that closes an idle connection, and cancels it when the next request comes.

Also served: HEAD (uvicorn writes no body, so the head must not wait for one); clients that close their half of the
connection as soon as they have asked (such as `nc -N`); a request that offers an upgrade, such as h2c by Java's
HttpClient and `curl --http2`, which is ignored (RFC 9110, 7.8); a target in absolute form (RFC 9112, 3.2.2). Trailer
fields are read and dropped: none of them may pass for a header.

Refused: what is framed in a way that another server could read otherwise (llhttp's strict mode: repeated or signed
Content-Length, bare LF, space before a colon, folded headers), and heads that are too long or take too long.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any, Final

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.timers import Timer, Timers

IDLE_SLACK: Final = 1.0
"""Seconds by which an idle connection may outlast `timeout_keep_alive`."""
HEAD_MAX: Final = 1 << 16
"""Bytes of a request line with its headers, of trailers, or of the extensions of a chunk."""
HEAD_SECONDS: Final = 20.0
"""How long a client may take for a head, from its first byte on."""
_TOO_LONG: Final = b"Request line and headers are longer than %d bytes." % HEAD_MAX
_TOO_LATE: Final = b"The head of the request took too long."
_INVALID: Final = "Invalid HTTP request received."
_OF_UPGRADES: Final = frozenset({b"upgrade", b"http2-settings"})
_ORIGIN_AT: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


class JoinedWrites(asyncio.Transport):
    """A transport that keeps the head of a response until the first piece of its body comes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._head = b""

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._head:
            self.flush(data)
        elif bytes(data[:9]) == b"HTTP/1.1 " and data[9:10] != b"1":  # a head of status 1xx has no body
            self._head = bytes(data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        self.flush()
        self._transport.close()

    def abort(self) -> None:
        self._head = b""
        self._transport.abort()

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def pause_reading(self) -> None:
        self._transport.pause_reading()

    def resume_reading(self) -> None:
        self._transport.resume_reading()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def flush(self, data: bytes | bytearray | memoryview[Any] = b"") -> None:
        """Send what waits for the body of its response, followed by `data`."""
        head, self._head = self._head, b""
        if (head or data) and not self._transport.is_closing():  # the client may have gone since
            self._transport.write(head + data)


class _Loop:
    """What uvicorn's protocol asks of the loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, timers: Timers) -> None:
        self.create_task: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]] = loop.create_task
        self.call_later: Callable[[float, Callable[[], object]], Timer] = timers.call_later


class Protocol(HttpToolsProtocol):  # type: ignore[misc]
    """What uvicorn is given as its HTTP implementation, with the `timers` that all connections share."""

    parser: Any
    transport: Any
    url: bytes
    headers: list[tuple[bytes, bytes]]

    def __init__(self, *, timers: Timers, head_seconds: float = HEAD_SECONDS, **given: Any) -> None:
        super().__init__(**given)
        self.loop: Any = _Loop(asyncio.get_running_loop(), timers)
        self._timers = timers
        self._head_seconds = head_seconds
        self._head_timer: Timer | None = None
        self._in_head = False
        self._unfinished = 0
        """Bytes since the parser last finished something: a head, a piece of a body, a request."""
        self._refused = False

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(JoinedWrites(transport))
        self._await_request()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_came()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return  # what came before the connection closed
        self._unset_keepalive_if_required()
        self._unfinished += len(data)
        rest = memoryview(data)
        try:
            while rest:
                try:
                    self.parser.feed_data(rest)
                except httptools.HttpParserUpgrade as offered:
                    rest = rest[offered.args[0] :]
                    self._read_without_upgrade()
                else:
                    break
        except httptools.HttpParserError:
            if not self._refused:
                self._refused = True
                self._head_came()
                self.logger.warning(_INVALID)
                self.send_400_response(_INVALID)
            return
        if self._unfinished > HEAD_MAX:
            self._refuse(431, b"Request Header Fields Too Large", _TOO_LONG)
        elif self._in_head:
            if self._head_timer is None:
                self._head_timer = self._timers.call_later(self._head_seconds, self._head_is_late)
        elif self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete):
            self._await_request()

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        if self._unfinished > HEAD_MAX and self._head_size() > HEAD_MAX:
            self._refuse(431, b"Request Header Fields Too Large", _TOO_LONG)
            raise httptools.HttpParserError(_TOO_LONG.decode())
        self._head_came()
        self._in_head, self._unfinished = False, 0
        if self.url[:1] not in b"/*":
            self.url = _origin_form(self.url)
        super().on_headers_complete()
        self.headers = []  # the request keeps its own; what comes now are trailers

    def on_body(self, body: bytes) -> None:
        self._unfinished = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            self._unfinished = 0
            super().on_message_complete()

    def on_response_complete(self) -> None:
        self.transport.flush()  # the head of a response to HEAD
        super().on_response_complete()

    def eof_received(self) -> bool:
        """Whether the connection stays open: a client that has said all it wanted still gets its response."""
        owed = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if owed:
            self.cycle.keep_alive = False
        return owed

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    def _await_request(self) -> None:
        """uvicorn does this only after a response: who says nothing, or nothing but line ends, would stay for ever."""
        self.timeout_keep_alive_task = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)

    def _head_is_late(self) -> None:
        self._refuse(408, b"Request Timeout", _TOO_LATE)

    def _head_came(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: int, reason: bytes, why: bytes) -> None:
        """Answer what is no request and close, after the responses to requests that came whole before it."""
        self._refused = True
        self._head_came()
        if self.transport.is_closing():
            return
        owed = self.cycle is not None and not self.cycle.response_complete
        if owed and not self.cycle.more_body:
            self.cycle.keep_alive = False
            return
        if not owed:
            self.transport.write(
                b"HTTP/1.1 %d %s\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: %d\r\n"
                b"connection: close\r\n\r\n%s" % (status, reason, len(why), why)
            )
        self.transport.close()

    def _read_without_upgrade(self) -> None:
        """Read the head again that made the parser stop, without the upgrade that it offers."""
        method, version = self.parser.get_method(), self.parser.get_http_version().encode()
        if method == b"CONNECT":
            raise httptools.HttpParserError("CONNECT asks for a tunnel")
        head = b"%s %s HTTP/%s\r\n" % (method, self.url, version)
        for name, value in self.headers:
            if name == b"connection":
                value = b", ".join(token for token in value.split(b",") if token.strip().lower() not in _OF_UPGRADES)
            elif name in _OF_UPGRADES:
                continue
            head += b"%s: %s\r\n" % (name, value)
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.parser.feed_data(head + b"\r\n")


def _origin_form(target: bytes) -> bytes:
    """Path and query of a target in absolute form."""
    rest = _ORIGIN_AT.sub(b"", target, count=1)
    return rest if rest.startswith(b"/") else b"/" + rest
