"""uvicorn's HTTP protocol with one system call per answer, no timer of the loop per connection, and what clients may do
that uvicorn does not expect.

uvicorn writes the head and the body of an answer apart, and uvloop makes a system call of each. For each answer it also
sets a timer that closes an idle connection, and cancels it when the next request comes.

Answered as well: HEAD (uvicorn writes no body, so the head must not wait for one); clients that close their half of the
connection as soon as they have asked (such as `nc -N`); a request that offers an upgrade, such as h2c by Java's
HttpClient and `curl --http2`, which is answered as if it offered none (RFC 9110, 7.8); a target in absolute form (RFC
9112, 3.2.2). Trailer fields are read and dropped: none of them may pass for a header.
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
_INVALID: Final = "Invalid HTTP request received."
_OF_UPGRADES: Final = frozenset({b"upgrade", b"http2-settings"})
_ORIGIN_AT: Final = re.compile(rb"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")


class JoinedWrites(asyncio.Transport):
    """A transport that keeps the head of an answer until the first piece of its body comes."""

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
        """Send what waits for the body of its answer, followed by `data`."""
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

    def __init__(self, *, timers: Timers, **given: Any) -> None:
        super().__init__(**given)
        self.loop: Any = _Loop(asyncio.get_running_loop(), timers)

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(JoinedWrites(transport))

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        rest = memoryview(data)
        try:
            while rest:
                try:
                    self.parser.feed_data(rest)
                except httptools.HttpParserUpgrade as offered:
                    rest = rest[offered.args[0] :]
                    self._read_without_upgrade()
                else:
                    return
        except httptools.HttpParserError:
            self.logger.warning(_INVALID)
            self.send_400_response(_INVALID)

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():
            return
        if self.url[:1] not in b"/*":
            self.url = _origin_form(self.url)
        super().on_headers_complete()
        self.headers = []  # the request keeps its own; what comes now are trailers

    def on_message_complete(self) -> None:
        if not self.parser.should_upgrade():
            super().on_message_complete()

    def on_response_complete(self) -> None:
        self.transport.flush()  # the head of an answer to HEAD
        super().on_response_complete()

    def eof_received(self) -> bool:
        """Whether the connection stays open: a client that has said all it wanted still gets its answer."""
        owed = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if owed:
            self.cycle.keep_alive = False
        return owed

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
