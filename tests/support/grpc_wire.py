"""A gRPC server without models, and a client that sends any bytes."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import grpc

from deployer.tools import ports
from tfserving.http2 import frames as h
from tfserving.server.execution.servable import NotQuick
from tfserving.server.grpc.server import GrpcServer, Method
from tfserving.server.memory import Budget
from tfserving.wire.status import Code, StatusError


def literal(name: bytes, value: bytes) -> bytes:
    """An HPACK literal without indexing, for short texts."""
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HELLO = PREFACE + h.frame(h.SETTINGS, 0, 0)
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def block(path: bytes = b"/s/Echo", content_type: bytes = b"application/grpc") -> bytes:
    """The headers of a call."""
    request = literal(b":method", b"POST") + literal(b":scheme", b"http") + literal(b":path", path)
    return request + literal(b"content-type", content_type)


BLOCK = block()


def setting(key: int, value: int) -> bytes:
    return h.frame(h.SETTINGS, 0, 0, key.to_bytes(2, "big") + value.to_bytes(4, "big"))


def headers(stream: int, flags: int = h.END_HEADERS, block: bytes = BLOCK) -> bytes:
    return h.frame(h.HEADERS, flags, stream, block)


def data(stream: int, content: bytes, flags: int = 0) -> bytes:
    return h.frame(h.DATA, flags, stream, content)


def fail(endpoint: bytes, timeout: float | None) -> bytes:
    raise StatusError(Code.NOT_FOUND, f"no “{endpoint.decode()}” 100%\n")


def echo(endpoint: bytes, timeout: float | None) -> bytes:
    return endpoint


def quick(endpoint: bytes, timeout: float | None) -> bytes:
    if endpoint == b"slow":
        raise NotQuick
    return endpoint


@dataclass
class Methods:
    """What a server serves: `table` in the pool, `quick` on the loop."""

    table: Mapping[str, Method]
    quick: Mapping[str, Method]


class Gate:
    """A method that says when it was entered and waits to be let go."""

    def __init__(self) -> None:
        self.entered, self.release, self.left = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)

    def __call__(self, endpoint: bytes, timeout: float | None) -> bytes:
        self.entered.release()
        assert self.release.wait(60)
        self.left.release()
        return endpoint


@contextmanager
def serving(
    table: Mapping[str, Method],
    *,
    quick: Mapping[str, Method] | None = None,
    threads: int = 4,
    arguments: Sequence[tuple[str, int | str]] = (),
    path: Path | None = None,
    tls: ssl.SSLContext | None = None,
    budget: Budget | None = None,
) -> Iterator[tuple[int, Callable[[], threading.Event]]]:
    """A server on a free port, or on a unix socket; the port, and what stops it and tells when it has."""
    budget = budget or Budget(1 << 30)
    server = GrpcServer(Methods(table, quick or {}), max_threads=threads, budget=budget, arguments=arguments)
    (port,) = ports.free(1)
    if path:
        server.listen_unix(str(path), tls)
    else:
        server.listen(port, tls)
    server.start()
    stopped: list[threading.Event] = []

    def stop() -> threading.Event:
        stopped.append(server.stop(60))
        return stopped[-1]

    try:
        yield port, stop
    finally:
        assert (stopped or [server.stop(10)])[0].wait(90)


def caller(port: int, compression: grpc.Compression | None = None) -> grpc.Channel:
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED, compression=compression)


def request(
    stream: int, body: bytes, *, path: bytes = b"/s/Echo", flags: int = h.END_STREAM, extra: bytes = b""
) -> bytes:
    message = b"\0" + len(body).to_bytes(4, "big") + body
    return headers(stream, block=block(path) + extra) + data(stream, message, flags)


Frame = tuple[int, int, int, bytes]
"""Kind, flags, stream, content."""


class Raw:
    """A client that sends any bytes and reads whole frames."""

    def __init__(self, port: int, data: bytes = b"") -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.sendall(data)
        self.buffer = b""

    def frames(self) -> Iterator[Frame]:
        """Frames until the server closes."""
        while True:
            while len(self.buffer) >= 9:
                size = int.from_bytes(self.buffer[:3], "big")
                if len(self.buffer) < 9 + size:
                    break
                found, self.buffer = self.buffer[: 9 + size], self.buffer[9 + size :]
                yield found[3], found[4], int.from_bytes(found[5:9], "big"), found[9:]
            try:
                piece = self.socket.recv(65536)
            except ConnectionError:
                return
            if not piece:
                return
            self.buffer += piece

    def until(self, kind: int, stream: int = 0, flags: int = 0) -> Frame:
        """The next frame of a kind with at least these flags. What comes before it is passed over."""
        for frame in self.frames():
            if frame[0] == kind and frame[2] == stream and frame[1] & flags == flags:
                return frame
        raise AssertionError("the server closed the connection")


class Connect(Protocol):
    """Makes clients of a port, which have sent `data`."""

    def __call__(self, port: int, data: bytes = b"") -> Raw: ...
