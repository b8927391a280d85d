"""The gRPC port: one thread reads and writes all connections and answers what is quick; a pool does the rest."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final, Protocol

from tfserving.server.execution.servable import NotQuick
from tfserving.server.grpc import message as gm
from tfserving.server.grpc.call import Call
from tfserving.server.grpc.connection import ServerConnection
from tfserving.server.grpc.limits import limits
from tfserving.server.memory import Budget, Hold
from tfserving.server.sockets import listen, new_loop
from tfserving.wire.status import Code, StatusError, invalid

_log = logging.getLogger("tfserving.server")

Method = Callable[[bytes, float | None], bytes]
"""From a request and the seconds that are left for it (None: no limit) to the response. Errors: StatusError."""

_QUICK_BYTES: Final = 64 * 1024
"""Requests above this size are decoded in the pool."""
_POLL_SECONDS = 0.01


class Methods(Protocol):
    """What is served, by path. `table` may take its time; `quick` never waits, and may raise NotQuick instead."""

    @property
    def table(self) -> Mapping[str, Method]: ...

    @property
    def quick(self) -> Mapping[str, Method]: ...


@dataclass(frozen=True, kw_only=True)
class _Work:
    """A call on its way through the pool. `deadline` is a moment of the monotonic clock, `body` what was received."""

    call: Call
    method: Method
    body: bytes
    deadline: float | None


class GrpcServer:
    """Serves `Methods` on TCP ports and unix sockets.

    `max_threads` bounds the calls in the pool; those beyond it are refused, as the real server does. `budget` bounds
    the bytes of all clients. The channel arguments that have an effect are in `limits`.
    """

    def __init__(
        self, methods: Methods, *, max_threads: int, budget: Budget, arguments: Sequence[tuple[str, int | str]] = ()
    ) -> None:
        self._methods = methods
        self._max_threads = max_threads
        self._budget = budget
        self._reuse_port = bool(dict(arguments).get("grpc.so_reuseport", 0))
        self._limits = limits(dict(arguments), max_threads=max_threads)
        self._pool = ThreadPoolExecutor(max_threads, thread_name_prefix="grpc")
        self._in_flight = 0
        self._loop = new_loop()
        self._thread = threading.Thread(target=self._run, name="grpc", daemon=True)
        self._listeners: list[tuple[socket.socket, ssl.SSLContext | None]] = []
        self._paths: list[tuple[str, ssl.SSLContext | None]] = []
        self._servers: list[asyncio.AbstractServer] = []
        self._connections: set[ServerConnection] = set()
        self._stopping = False

    def listen(self, port: int, tls: ssl.SSLContext | None) -> None:
        """Bind a TCP port of every address. Errors: StatusError when it is taken."""
        try:
            self._listeners.append((listen(port, reuse_port=self._reuse_port), tls))
        except OSError as error:
            _log.error("Cannot listen on 0.0.0.0:%d; is another server using it?", port)
            raise _not_started() from error

    def listen_unix(self, path: str, tls: ssl.SSLContext | None) -> None:
        """Serve a unix socket from `start` on."""
        self._paths.append((path, tls))

    def start(self) -> None:
        """Accept calls. Errors: StatusError for a unix socket that cannot be made."""
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        except OSError as error:
            paths = ", ".join(path for path, _ in self._paths)
            _log.error("Cannot listen on unix:%s: %s", paths, error)
            raise _not_started() from error

    def stop(self, grace_seconds: float) -> threading.Event:
        """Refuse new calls and let those in flight finish within the grace period; the event is set when they have."""
        stopped = threading.Event()
        draining = asyncio.run_coroutine_threadsafe(self._drain(grace_seconds), self._loop)

        def end() -> None:
            draining.result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._pool.shutdown(wait=False, cancel_futures=True)
            stopped.set()

        threading.Thread(target=end, name="grpc-stop", daemon=True).start()
        return stopped

    # ---- the loop ------------------------------------------------------------------------------------------

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    async def _start(self) -> None:
        for listener, tls in self._listeners:
            self._servers.append(await self._loop.create_server(self._connection, sock=listener, ssl=tls, backlog=1024))
        for path, tls in self._paths:
            self._servers.append(await self._loop.create_unix_server(self._connection, path, ssl=tls, backlog=1024))

    def _connection(self) -> ServerConnection:
        return ServerConnection(
            self._take, self._made, self._connections.discard, limits=self._limits, budget=self._budget
        )

    def _made(self, connection: ServerConnection) -> None:
        self._connections.add(connection)
        if self._stopping:
            connection.drain()

    async def _drain(self, grace: float) -> None:
        self._stopping = True
        for server in self._servers:
            server.close()
        for connection in list(self._connections):
            connection.drain()
        deadline = self._loop.time() + grace
        while self._connections and self._loop.time() < deadline:
            await asyncio.sleep(_POLL_SECONDS)
        for connection in list(self._connections):
            connection.abort()
        await asyncio.sleep(0)

    # ---- calls ---------------------------------------------------------------------------------------------

    def _take(self, call: Call) -> None:
        fields = call.fields
        if not fields.get("content-type", "").startswith("application/grpc"):
            call.connection.refuse(call, gm.NOT_GRPC)
            return
        path = fields.get(":path", "")
        try:
            method = self._methods.table.get(path)
            if method is None:
                raise StatusError(Code.UNIMPLEMENTED, "")
            body = call.body
            call.chunks.clear()
            timeout = gm.timeout(fields)
            if len(body) <= _QUICK_BYTES and not body.startswith(b"\x01"):  # compressed
                quick = self._methods.quick.get(path)
                if quick is not None:
                    try:
                        answer = quick(gm.message(body, self._limits.max_request), timeout)
                        call.connection.answer(call, gm.HEAD, gm.framed(answer), gm.OK)
                        return
                    except NotQuick:
                        pass
            self._hand_over(call, method, body, timeout)
        except StatusError as error:
            call.connection.refuse(call, gm.failure(error))
        except Exception:
            _log.exception("%s failed", path)
            call.connection.refuse(call, gm.failure(StatusError(Code.INTERNAL, "internal error; see the server's log")))

    def _hand_over(self, call: Call, method: Method, body: bytes, timeout: float | None) -> None:
        if self._in_flight >= self._max_threads:
            raise StatusError(Code.RESOURCE_EXHAUSTED, "Server Threadpool Exhausted")
        self._in_flight += 1
        # Below a millisecond a deadline limits nothing in the real server either.
        deadline = time.monotonic() + timeout if timeout is not None and timeout >= 0.001 else None
        call.at_work = True
        self._pool.submit(self._work, _Work(call=call, method=method, body=body, deadline=deadline))

    def _work(self, work: _Work) -> None:
        answer: bytes | StatusError
        try:
            answer = self._result(work)
        except StatusError as error:
            answer = error
        except Exception:
            _log.exception("%s failed", work.call.fields.get(":path"))
            answer = StatusError(Code.INTERNAL, "internal error; see the server's log")
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._done, work.call, answer)

    def _result(self, work: _Work) -> bytes:
        if not work.call.connection.wants(work.call):
            raise StatusError(Code.CANCELLED, "the client has given the call up")
        request = gm.message(work.body, self._limits.max_request)
        with Hold(self._budget) as held:
            if gm.compressed(work.body):
                encoding = work.call.fields.get("grpc-encoding", "identity")
                request = gm.unpacked(request, encoding, self._limits.max_request, held.take)
            left = None if work.deadline is None else work.deadline - time.monotonic()
            if left is not None and left <= 0:
                raise StatusError(Code.DEADLINE_EXCEEDED, "Deadline Exceeded")
            return work.method(request, left)

    def _done(self, call: Call, answer: bytes | StatusError) -> None:
        self._in_flight -= 1
        call.connection.worked(call)
        if isinstance(answer, StatusError):
            call.connection.refuse(call, gm.failure(answer))
        else:
            call.connection.answer(call, gm.HEAD, gm.framed(answer), gm.OK)


def _not_started() -> StatusError:
    """In the words of the real server, which leave the reason to the log."""
    return invalid("Failed to BuildAndStart gRPC server")
