"""What a body becomes is counted before it is decoded, and nobody decodes for a client that has left."""

from __future__ import annotations

import gzip
import socket
import struct
import zlib
from collections.abc import Iterator

import pytest
from eventually import eventually
from rest_echo import PREDICT, Served, error

from tfserving.json.reader import VALUES_AT_ONCE, read_object
from tfserving.server.inflate import GZIP, Damaged, inflate
from tfserving.server.memory import Budget
from tfserving.wire.status import Code, StatusError

MIB = 1 << 20


@pytest.fixture
def small() -> Iterator[Served]:
    """A server with 32 MiB for requests."""
    served = Served(budget=Budget(32 * MIB))
    served.inference.gate.set()
    yield served
    served.server.stop(0)


@pytest.mark.parametrize("piece", [b"[", b"[],", b"{},", b'"a",'], ids=["open", "lists", "objects", "texts"])
def test_a_body_whose_values_would_not_fit_is_refused_unread(small: Served, piece: bytes) -> None:
    body = b'{"instances":[' + piece * (4 * MIB // len(piece))
    status, _, answer = small.ask("POST", PREDICT, body)
    assert (status, "memory" in error(answer)) == (429, True), answer
    packed = gzip.compress(body)
    assert small.ask("POST", PREDICT, packed, {"Content-Encoding": "gzip"})[0] == 429
    eventually(lambda: small.budget.held == 0, lambda: f"{small.budget.held} bytes are held")
    assert small.ask("POST", PREDICT, b'{"instances":[1]}')[0] == 200


def test_the_same_body_as_plain_numbers_is_read(small: Served) -> None:
    body = b'{"instances":[' + b"1.5," * (MIB // 4) + b"1]}"
    assert small.ask("POST", PREDICT, body)[0] == 200


def test_nothing_is_predicted_for_a_client_that_left_while_its_body_was_read(small: Served) -> None:
    body = b'{"instances":[' + b"NaN," * (MIB // 2) + b"1]}"  # only the slow reader knows NaN
    with socket.create_connection(("127.0.0.1", small.server.port), timeout=10) as client:
        client.sendall(b"POST %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (PREDICT.encode(), len(body)) + body)
        eventually(lambda: small.budget.held > 2 * len(body), lambda: f"{small.budget.held} bytes are held")
        client.setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )  # leaves, not only ends its side
    eventually(lambda: small.budget.held == 0, lambda: f"{small.budget.held} bytes are held")
    assert small.inference.timeouts == []


def test_reading_ends_with_the_time_of_the_request() -> None:
    served = Served(timeout_ms=1)
    try:
        body = b'{"instances":[' + b"NaN," * (MIB // 8) + b"1]}"
        status, _, answer = served.ask("POST", PREDICT, body)
        assert (status, "given up" in error(answer)) == (499, True)
        assert served.inference.timeouts == []
    finally:
        served.server.stop(0)


def test_reading_ends_when_it_is_given_up() -> None:
    asked = []
    body = b'{"instances":[' + b"NaN," * (3 * VALUES_AT_ONCE) + b"1]}"
    with pytest.raises(StatusError) as raised:
        read_object(body, lambda: bool(asked.append(0)) or len(asked) == 2)  # type: ignore[func-returns-value]
    assert (raised.value.code, len(asked)) == (Code.CANCELLED, 2)


def test_a_packed_body_of_several_steps() -> None:
    plain = bytes(range(256)) * 4 * 5000
    noise = zlib.compress(plain)
    packed = gzip.compress(noise * 400)  # neither side fits one step
    assert inflate(packed, GZIP, 1 << 30, lambda size: True) == noise * 400
    for damaged in (packed[:-1], packed + b"x", packed + bytes(2 * MIB)):
        with pytest.raises(Damaged):
            inflate(damaged, GZIP, 1 << 30, lambda size: True)
