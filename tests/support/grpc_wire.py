"""A gRPC server without models, and a client that sends any bytes."""

import socket
import threading
from contextlib import contextmanager
from dataclasses import dataclass

import grpc

from deployer.tools import ports
from tfserving.http2 import frames as h
from tfserving.server.execution.servable import NotQuick
from tfserving.server.grpc.server import GrpcServer
from tfserving.server.memory import Budget
from tfserving.wire.status import Code, StatusError


def literal(name, value):
    """An HPACK literal without indexing, for short texts."""
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HELLO = PREFACE + h.frame(h.SETTINGS, 0, 0)
UNLIMITED = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def block(path=b"/s/Echo", content_type=b"application/grpc"):
    """The headers of a call."""
    request = literal(b":method", b"POST") + literal(b":scheme", b"http") + literal(b":path", path)
    return request + literal(b"content-type", content_type)


BLOCK = block()


def setting(key, value):
    return h.frame(h.SETTINGS, 0, 0, key.to_bytes(2, "big") + value.to_bytes(4, "big"))


def headers(stream, flags=h.END_HEADERS, block=BLOCK):
    return h.frame(h.HEADERS, flags, stream, block)


def data(stream, content, flags=0):
    return h.frame(h.DATA, flags, stream, content)


def fail(endpoint, timeout):
    raise StatusError(Code.NOT_FOUND, f"no “{endpoint.decode()}” 100%\n")


def echo(endpoint, timeout):
    return endpoint


def quick(endpoint, timeout):
    if endpoint == b"slow":
        raise NotQuick
    return endpoint


@dataclass
class Methods:
    """What a server serves: `table` in the pool, `quick` on the loop."""

    table: dict
    quick: dict


class Gate:
    """A method that says when it was entered and waits to be let go."""

    def __init__(self):
        self.entered, self.release, self.left = threading.Semaphore(0), threading.Event(), threading.Semaphore(0)

    def __call__(self, endpoint, timeout):
        self.entered.release()
        assert self.release.wait(60)
        self.left.release()
        return endpoint


@contextmanager
def serving(table, *, quick=None, threads=4, arguments=(), path=None, tls=None, budget=None):
    budget = budget or Budget(1 << 30)
    server = GrpcServer(Methods(table, quick or {}), max_threads=threads, budget=budget, arguments=arguments)
    (port,) = ports.free(1)
    if path:
        server.listen_unix(str(path), tls)
    else:
        server.listen(port, tls)
    server.start()
    stopped = []
    try:
        yield port, lambda: stopped.append(server.stop(60)) or stopped[0]
    finally:
        assert (stopped or [server.stop(10)])[0].wait(90)


def caller(port, **options):
    return grpc.insecure_channel(f"127.0.0.1:{port}", options=UNLIMITED, **options)


def request(stream, body, *, path=b"/s/Echo", flags=h.END_STREAM, extra=b""):
    message = b"\0" + len(body).to_bytes(4, "big") + body
    return headers(stream, block=block(path) + extra) + data(stream, message, flags)


class Raw:
    """A client that sends any bytes and reads whole frames."""

    def __init__(self, port, data=b""):
        self.socket = socket.create_connection(("127.0.0.1", port), 30)
        self.socket.sendall(data)
        self.buffer = b""

    def frames(self):
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

    def until(self, kind, stream=0, flags=0):
        for frame in self.frames():
            if frame[0] == kind and frame[2] == stream and frame[1] & flags == flags:
                return frame
        raise AssertionError("the server closed the connection")
