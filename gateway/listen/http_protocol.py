"""uvicorn's HTTP protocol with one system call per answer and no timer of the loop per connection, and with an answer
for clients that close their half of the connection as soon as they have asked (such as `nc -N`).

uvicorn writes the head and the body of an answer apart, and uvloop makes a system call of each. For each answer it also
sets a timer that closes an idle connection, and cancels it when the next request comes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from gateway.timers import Timer, Timers

IDLE_SLACK: Final = 1.0
"""Seconds by which an idle connection may outlast `timeout_keep_alive`."""


class JoinedWrites(asyncio.Transport):
    """A transport that keeps the head of an answer until the first piece of its body comes."""

    def __init__(self, transport: asyncio.Transport) -> None:
        super().__init__()
        self._transport = transport
        self._head = b""

    def write(self, data: bytes | bytearray | memoryview[Any]) -> None:
        if self._head:
            self._flush(data)
        elif bytes(data[:9]) == b"HTTP/1.1 " and data[9:10] != b"1":  # a head of status 1xx has no body
            self._head = bytes(data)
        else:
            self._transport.write(data)

    def close(self) -> None:
        self._flush()
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

    def _flush(self, data: bytes | bytearray | memoryview[Any] = b"") -> None:
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

    def __init__(self, *, timers: Timers, **given: Any) -> None:
        super().__init__(**given)
        self.loop: Any = _Loop(asyncio.get_running_loop(), timers)

    def connection_made(self, transport: asyncio.Transport) -> None:
        super().connection_made(JoinedWrites(transport))

    def eof_received(self) -> bool:
        """Whether the connection stays open: a client that has said all it wanted still gets its answer."""
        owed = self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body
        if owed:
            self.cycle.keep_alive = False
        return owed
