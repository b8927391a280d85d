"""The HTTP server: one thread reads and writes all connections and answers what is quick; some threads do the rest.

As in TensorFlow Serving one of the configured threads runs the event loop, so a server with a single thread accepts
connections and answers none.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable
from dataclasses import replace
from queue import SimpleQueue

from tfserving.server.memory import Budget, Hold
from tfserving.server.rest.message import (
    Expectation,
    Refusal,
    Request,
    RequestParser,
    Response,
    write_refusal,
    write_response,
)
from tfserving.server.sockets import listen, new_loop

Handler = Callable[[Request], Response | Refusal]
QuickHandler = Callable[[Request], Response | Refusal | None]
_log = logging.getLogger(__name__)

_LINGER = 1.0
"""Seconds during which a refused client may go on sending before its connection is cut. Closing at once would reset the
connection while the client still writes, and the response would be lost."""

_AHEAD = 64 * 1024
"""Bytes of a request that are not worth counting, and how far a client may send ahead of its responses."""

_ACCEPTING_TURNS = 10
"""More turns of the event loop than asyncio takes from accepting a client to calling its protocol."""


class HttpServer:
    """Serves `handler` on every address of this machine, IPv6 and IPv4.

    `threads` counts the event loop; the handler runs on the others and may block. Before it `quick` is asked on the
    event loop; it never waits, and says None for what the handler is to answer. `port` 0 takes a free port, which the
    attribute `port` shows after `start`. `budget` bounds the bytes of all clients.
    """

    def __init__(self, handler: Handler, quick: QuickHandler, *, port: int, threads: int, budget: Budget) -> None:
        self.port = port
        self.budget = budget
        self._handler, self._quick = handler, quick
        self._workers = max(threads - 1, 0)
        self._jobs: SimpleQueue[tuple[_Connection, Request] | None] = SimpleQueue()
        self._connections: set[_Connection] = set()
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)
        self._server: asyncio.Server | None = None
        self._stopping = False

    def start(self) -> None:
        """Bind and serve. Errors: OSError when the port cannot be bound."""
        try:
            listener = listen(self.port)
        except OSError:
            self._loop.close()
            raise
        self.port = listener.getsockname()[1]
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(
            self._loop.create_server(lambda: _Connection(self), sock=listener), self._loop
        )
        self._server = starting.result()
        for number in range(self._workers):
            threading.Thread(target=self._work, name=f"http-worker-{number}", daemon=True).start()

    def stop(self, grace: float) -> None:
        """Accept nothing more, let requests in progress finish for at most `grace` seconds, then close everything."""
        if self._server is None:
            return
        asyncio.run_coroutine_threadsafe(self._drain(grace), self._loop).result()
        for _ in range(self._workers):
            self._jobs.put(None)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._server = None

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            connection, request = job
            try:
                answer = self._handler(request)
            except Exception:
                answer = _failed(request)
            if self._loop.is_closed():
                return
            self._loop.call_soon_threadsafe(connection.answer, *_written(request, answer))

    async def _drain(self, grace: float) -> None:
        assert self._server is not None
        self._stopping = True
        # asyncio trips over a client that it is accepting while the server closes, so accepting ends first.
        for listener in self._server.sockets:
            self._loop.remove_reader(listener)
        for _ in range(_ACCEPTING_TURNS):
            await asyncio.sleep(0)
        self._server.close()
        deadline = self._loop.time() + grace
        while any(c.busy for c in self._connections) and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.close()
        deadline = max(deadline, self._loop.time() + _LINGER)
        while self._connections and self._loop.time() < deadline:
            await asyncio.sleep(0.01)
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)

    # What a connection needs of the server.

    @property
    def stopping(self) -> bool:
        """Whether connections close after the response in progress."""
        return self._stopping

    def opened(self, connection: _Connection) -> None:
        """A client connected."""
        self._connections.add(connection)

    def closed(self, connection: _Connection) -> None:
        """A connection is gone."""
        self._connections.discard(connection)

    def submit(self, connection: _Connection, request: Request) -> tuple[bytes, bool] | None:
        """Answer a request, and say whether the connection goes on.

        None: it was queued for the worker threads, which call `connection.answer` on the loop.
        """
        try:
            answer = self._quick(request) if self._workers else None
        except Exception:
            answer = _failed(request)
        if answer is not None:
            return _written(request, answer)
        self._jobs.put((connection, request))
        return None


def _failed(request: Request) -> Response:
    _log.exception("%s %s failed", request.method, request.path_and_query)
    return Response(status=500, body=b'{\n    "error": "internal error; see the server\'s log"\n}')


def _written(request: Request, answer: Response | Refusal) -> tuple[bytes, bool]:
    if isinstance(answer, Refusal):
        return write_refusal(answer), False
    return write_response(request, answer), request.keep_alive


class _Connection(asyncio.Protocol):
    """One client. Requests are handled one at a time and in order; pipelined ones wait in the parser's buffer.

    What it keeps in memory is counted: a large request that is unfinished or in progress, and a response that the
    client does not read. A client that does not read, or sends far ahead, is not read from.
    """

    def __init__(self, server: HttpServer) -> None:
        self._server = server
        self._parser = RequestParser(server.budget.one_client)
        self._hold = Hold(server.budget)
        self._in_progress = 0
        self._unread = 0
        self._transport: asyncio.Transport | None = None
        self._client_done = False
        self._refused = False
        self.busy = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._server.opened(self)
        if self._server.stopping:
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._parser, self._unread = RequestParser(), 0
        self._fits()
        self._server.closed(self)

    def data_received(self, data: bytes) -> None:
        if self._refused:
            return
        self._parser.feed(data)
        if not self.busy and not self._unread:
            self._advance()
        elif self._parser.buffered > _AHEAD and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        self._client_done = True
        return self.busy or self._unread > 0

    def pause_writing(self) -> None:
        assert self._transport is not None
        self._unread = self._transport.get_write_buffer_size()
        if not self._hold.set(self._unread, most=self._server.budget.limit):  # one response may be larger than the part
            self.abort()

    def resume_writing(self) -> None:
        self._unread = 0
        self._fits()
        if not self.busy:
            self._go_on()

    def answer(self, data: bytes, keep: bool) -> None:
        """Send a response; called on the loop."""
        self.busy = False
        if self._send(data, keep):
            self._go_on()

    def close(self) -> None:
        """Close once everything written has been sent."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once and drop what has not been sent."""
        if self._transport is not None:
            self._transport.abort()

    def _go_on(self) -> None:
        """Take up the next request, which may have arrived."""
        if self._transport is None or self._transport.is_closing():
            return
        self._transport.resume_reading()
        self._advance()
        if self._client_done and not self.busy:
            self.close()

    def _fits(self) -> bool:
        """Count what this client keeps in memory; False when it is too much."""
        ahead = self._parser.buffered
        return self._hold.set(self._in_progress + self._unread + (ahead if ahead > _AHEAD else 0))

    def _send(self, data: bytes, keep: bool) -> bool:
        """Send a response; whether the next request may be taken up."""
        if self._in_progress:
            self._in_progress = 0
            self._fits()
        if self._transport is None:
            return False
        self._transport.write(data)
        if not keep or self._server.stopping:
            self.close()
            return False
        return not self._unread

    def _advance(self) -> None:
        """Take up requests until one is not complete, or not answered at once."""
        while self._transport is not None:
            message = self._parser.next()
            if isinstance(message, Request):
                if not self._begin(message):
                    return
                continue
            if isinstance(message, Refusal):
                self._refuse(message)
            elif isinstance(message, Expectation):
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            elif not self._fits():
                self._refuse(Refusal(413))
            return

    def _begin(self, request: Request) -> bool:
        """Have a request answered; whether the next one may be taken up."""
        self._in_progress = len(request.body) if len(request.body) > _AHEAD else 0
        if self._in_progress and not self._fits():
            self._refuse(Refusal(413, request.version, request.method))
            return False
        if self._in_progress:
            request = replace(request, gone=self._is_gone)
        answer = self._server.submit(self, request)
        self.busy = answer is None
        return answer is not None and self._send(*answer)

    def _is_gone(self) -> bool:
        return self._transport is None

    def _refuse(self, refusal: Refusal) -> None:
        assert self._transport is not None
        self._refused = True
        self._parser, self._in_progress = RequestParser(), 0
        self._fits()
        self._transport.write(write_refusal(refusal))
        if self._client_done:
            self.close()
            return
        if refusal.stays_open:
            return
        self._transport.write_eof()
        asyncio.get_running_loop().call_later(_LINGER, self.close)
