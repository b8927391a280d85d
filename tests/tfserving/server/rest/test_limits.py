"""What clients of the REST port may not do: each bound is met by real sockets, and no one else notices."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest
from eventually import eventually

from tfserving.server.memory import Budget
from tfserving.server.rest.message import Request, Response
from tfserving.server.rest.server import HttpServer

LENGTH = 200_000
HUGE = 40_000_000


class Served:
    """A server that returns many bytes for "/big" and "/huge", waits at "/gate", and else says how long a body was."""

    def __init__(self, budget: Budget) -> None:
        self.budget, self.gate, self.asked, self.quick = budget, threading.Event(), 0, False
        self.server = HttpServer(self.answer, self.answer_quickly, port=0, threads=4, budget=budget)

    def answer(self, request: Request) -> Response:
        self.asked += 1
        if request.path == "/gate":
            assert self.gate.wait(60)
        size = {"/big": LENGTH, "/huge": HUGE}.get(request.path)
        return Response(status=200, body=b"%d" % len(request.body) if size is None else bytes(size))

    def answer_quickly(self, request: Request) -> Response | None:
        return self.answer(request) if self.quick and request.path != "/gate" else None

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.server.port), 60)

    def ask(self, data: bytes) -> bytes:
        """All that the server sends for these bytes until it closes."""
        with self.connect() as client:
            with suppress(ConnectionError):
                client.sendall(data)
            return read_all(client)

    def until_held(self, size: int) -> None:
        eventually(lambda: self.budget.held == size, lambda: f"{self.budget.held} bytes are held, not {size}")


def read_all(client: socket.socket) -> bytes:
    received = bytearray()
    with suppress(ConnectionError):
        while piece := client.recv(1 << 20):
            received += piece
    return bytes(received)


def read_bytes(client: socket.socket, wanted: int) -> bytes:
    received = bytearray()
    while len(received) < wanted:
        piece = client.recv(1 << 20)
        assert piece, f"the server closed the connection after {len(received)} bytes"
        received += piece
    return bytes(received)


@contextmanager
def serving(limit: int = 1 << 30) -> Iterator[Served]:
    served = Served(Budget(limit))
    served.server.start()
    try:
        yield served
    finally:
        served.gate.set()
        served.server.stop(10)


def post(length: int, body: bytes = b"", path: str = "/", extra: bytes = b"") -> bytes:
    return b"POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n%s\r\n" % (path.encode(), length, extra) + body


SMALL = post(2, b"hi", extra=b"Connection: close\r\n")
CHUNKED = b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        post(600_000),
        post(600_000, extra=b"Expect: 100-continue\r\n"),
        CHUNKED + b"927c0\r\n",
        CHUNKED + (b"10000\r\n" + bytes(65536) + b"\r\n") * 10,
        b"GET /" + b"a" * 2_000_000,
        b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 300_000,
        CHUNKED + b"1;" + b"a" * 2_000_000,
        CHUNKED + b"0\r\n" + b"a: b\r\n" * 300_000,
    ],
    ids=["length", "length before it comes", "chunk", "chunks", "request line", "headers", "chunk size", "trailer"],
)
def test_what_would_not_fit_in_memory_is_refused(sent: bytes) -> None:
    with serving(1_000_000) as served:
        assert served.ask(sent).startswith(b"HTTP/1.1 413 Request Entity Too Large\r\n")
        assert served.ask(SMALL).endswith(b"\r\n\r\n2")
        served.until_held(0)
        assert served.asked == 1


def test_unfinished_bodies_of_all_clients_share_the_budget() -> None:
    with serving(1_000_000) as served:
        first, second = served.connect(), served.connect()
        with first, second:
            for client in (first, second):
                client.sendall(post(450_000, bytes(449_000)))
            served.until_held(898_000)
            assert b" 413 " in served.ask(post(450_000, bytes(449_000)))
            first.sendall(bytes(1000))
            assert read_bytes(first, 1).startswith(b"H")
        served.until_held(0)


def test_a_large_request_counts_while_it_is_answered_also_when_its_client_has_left() -> None:
    with serving(1_000_000) as served:
        with served.connect() as client:
            client.sendall(post(400_000, bytes(400_000), "/gate"))
            served.until_held(400_000)
        assert served.ask(SMALL).endswith(b"2")
        assert served.budget.held == 400_000
        served.gate.set()
        served.until_held(0)


@pytest.mark.parametrize("quick", [False, True], ids=["workers", "quick"])
def test_a_client_that_does_not_read_is_not_served_on_and_loses_nothing(quick: bool) -> None:
    requests = 400
    with serving() as served, served.connect() as client:
        served.quick = quick
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        client.sendall(b"GET /big HTTP/1.1\r\nHost: x\r\n\r\n" * requests)
        while True:
            before = served.asked
            time.sleep(0.5)
            if served.asked == before > 0:
                break
        assert served.asked < requests // 2
        read_bytes(client, requests * LENGTH)
        assert served.asked == requests


def test_unread_responses_beyond_the_budget_end_their_connections() -> None:
    huge = b"GET /huge HTTP/1.1\r\nHost: x\r\n\r\n"
    with serving(HUGE + 1_000_000) as served, served.connect() as first, served.connect() as second:
        first.sendall(huge)
        begun = read_bytes(first, 1)
        second.sendall(huge)
        assert len(read_all(second)) < HUGE
        assert served.ask(SMALL).endswith(b"2")
        read_bytes(first, HUGE - len(begun))
        served.until_held(0)


def test_a_client_that_sends_far_ahead_of_its_responses_is_not_read_from() -> None:
    with serving() as served, served.connect() as client:
        client.sendall(post(0, path="/gate"))
        client.setblocking(False)
        sent, quiet = 0, time.monotonic()
        piece = post(100_000, bytes(100_000))
        while time.monotonic() - quiet < 1 and sent < 200_000_000:
            try:
                sent += client.send(piece)
                quiet = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
        assert sent < 200_000_000  # no more than the kernel keeps


def test_thousands_of_pipelined_requests_get_responses_in_order() -> None:
    with serving() as served, served.connect() as client:
        served.quick = True
        client.sendall(b"".join(post(n % 10, b"x" * (n % 10)) for n in range(5000)) + SMALL)
        answers = read_all(client).split(b"\r\n\r\n")
        assert [answer[:1] for answer in answers[1:5001]] == [b"%d" % (n % 10) for n in range(5000)]
