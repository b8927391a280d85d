"""HTTP messages as libevent reads and writes them."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving.server.rest.message import (
    Expectation,
    Refusal,
    Request,
    RequestParser,
    Response,
    write_refusal,
    write_response,
)

Message = Request | Refusal | Expectation


def parse(data: bytes) -> list[Message]:
    """Everything a client's bytes amount to."""
    parser = RequestParser()
    parser.feed(data)
    found: list[Message] = []
    while (message := parser.next()) is not None:
        found.append(message)
        if not isinstance(message, Request):
            break
    return found


def request(data: bytes) -> Request:
    (message,) = parse(data)
    assert isinstance(message, Request)
    return message


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GARBAGE\r\n\r\n", 400),
        (b"\r\n", 400),
        (b"GET /v1/models/H\r\n\r\n", 400),
        (b"GET /v1/models/H HTTP/2.0\r\n\r\n", 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
        (b"GET /v1/models/H HTTP/1.1x\r\n\r\n", 400),
        (b"GET /v1/models/a b HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/models/\xc3\x9c HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/models/%ZZ HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/models/H% HTTP/1.1\r\n\r\n", 400),
        (b"GET /v1/models/H HTTP/1.1\r\nBad Header\r\n\r\n", 400),
        (b"GET /v1/models/H HTTP/1.1\r\nBad Header\r\nA: more to co", 400),
        (b"TRACE :/v1/models/H HTTP/1.1\r\n\r\n", 400),
        (b"GET http://h:x/v1/models/H HTTP/1.1\r\n", 400),
        (b"GET http://h:65536/v1/models/H HTTP/1.1\r\n", 400),
        (b"GET http://[::g]/v1/models/H HTTP/1.1\r\n", 400),
        (b"CONNECT h:x HTTP/1.1\r\n\r\n", 400),
        (b"CONNECT h:443 HTTP/1.1\r\n\r\n", 501),
        (b"GET /v1/models/H HTTP/1.1\r\n folded: first\r\n\r\n", 400),
        (b"POST /v1/models/H HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /v1/models/H HTTP/1.1\r\nContent-Length: abc\r\n\r\n", 400),
        (b"POST /v1/models/H HTTP/1.1\r\nContent-Length:\r\n\r\n", 400),
        (b"POST /v1/models/H HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /v1/models/H HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 413),
        (b"POST /v1/models/H HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 413),
        (b"POST /v1/models/H HTTP/1.1\r\nContent-Length: 1\r\nExpect: foo\r\n\r\n", 417),
        (b"get /v1/models/H HTTP/1.1\r\n\r\n", 501),
        (b"TRACE /v1/models/H HTTP/1.1\r\n\r\n", 501),
        (b"CONNECT /v1/models/H HTTP/1.1\r\n\r\n", 501),
    ],
)
def test_refused(data: bytes, status: int) -> None:
    (message,) = parse(data)
    assert isinstance(message, Refusal)
    assert message.status == status
    page = write_refusal(message)
    assert page.startswith(b"HTTP/1.1 %d " % status)
    assert b"Connection: close\r\n" in page


@pytest.mark.parametrize(
    "data",
    [
        b"GET /v1/models/H HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET /v1/models/H HTTP/1.1\nHost: a\n\n",
        b"GET /v1/models/H HTTP/1.1\r\n\r\n",
        b"GET /v1/models/H HTTP/1.0  \r\n\r\n",
        b"GET /v1/models/H HTTP/0.9\r\n\r\n",
        b"GET http://localhost:80/v1/models/H HTTP/1.1\r\n\r\n",
        b"GET http://user:pass@[::1]:65535/v1/models/H HTTP/1.1\r\n\r\n",
        b"GET http:/v1/models/H HTTP/1.1\r\n\r\n",
        b"GET //any.host/v1/models/H HTTP/1.1\r\n\r\n",
        b"GET /v1/models/H HTTP/1.1\r\nX: " + b"a" * 20000 + b"\r\n\r\n",
    ],
)
def test_accepted(data: bytes) -> None:
    assert request(data).path == "/v1/models/H"


def test_headers() -> None:
    found = request(b"GET / HTTP/1.1\r\nX-A: one \r\n  two\r\nx-a: other\r\n more\r\nEmpty:\r\n\r\n").headers
    assert found == {"x-a": "one two", "empty": ""}


def test_the_target_is_split_and_stays_encoded() -> None:
    found = request(b"GET /v1/models/%48;a=b?x=1#frag HTTP/1.1\r\n\r\n")
    assert (found.path, found.path_and_query) == ("/v1/models/%48;a=b", "/v1/models/%48;a=b?x=1#frag")
    assert request(b"GET //v1/models/H HTTP/1.1\r\n\r\n").path == "/models/H"


def test_bodies() -> None:
    assert request(b"POST / HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc").body == b"abc"
    assert request(b"POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc").body == b"abc"
    assert request(b"POST / HTTP/1.1\r\n\r\n").body == b""
    assert parse(b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nabc") == []
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3;x=1\r\nabc\r\n"
    assert isinstance(parse(chunked)[0], Refusal)
    chunked = b"POST / HTTP/1.1\r\nTransfer-Encoding: Chunked\r\n\r\n3 x\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n"
    assert request(chunked).body == b"abc0123456789"


def test_100_continue_is_sent_when_the_body_is_still_to_come() -> None:
    head = b"POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-Continue\r\n\r\n"
    parser = RequestParser()
    parser.feed(head)
    assert isinstance(parser.next(), Expectation)
    assert parser.next() is None
    parser.feed(b"ab")
    message = parser.next()
    assert isinstance(message, Request)
    assert message.body == b"ab"
    assert request(head + b"ab").body == b"ab"


STREAM = (
    b"GET /v1/models/H HTTP/1.1\r\nHost: a\r\n\r\n"
    b"POST /v1/models/H:predict HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello"
    b"POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
    b"HEAD / HTTP/1.0\r\n\r\n"
)


@given(st.lists(st.integers(1, len(STREAM) - 1), unique=True))
def test_it_does_not_matter_how_the_bytes_arrive(cuts: list[int]) -> None:
    parser = RequestParser()
    found: list[Message] = []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in pairwise(edges):
        parser.feed(STREAM[start:end])
        while (message := parser.next()) is not None:
            found.append(message)
    assert found == parse(STREAM)
    assert [m.body for m in found if isinstance(m, Request)] == [b"", b"hello", b"abc", b""]


@pytest.mark.parametrize(
    ("head", "present", "absent", "keeps"),
    [
        (b"GET / HTTP/1.1\r\n", [b"Date: ", b"Content-Length: 2"], [b"Connection"], True),
        (b"GET / HTTP/1.1\r\nConnection: Close\r\n", [b"Connection: close", b"Content-Length: 2"], [], False),
        (b"GET / HTTP/1.0\r\n", [b"HTTP/1.0 200 OK"], [b"Content-Length", b"Date", b"Connection"], False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", [b"Connection: keep-alive", b"Content-Length: 2"], [], True),
        (b"HEAD / HTTP/1.1\r\n", [b"Content-Type: text/plain"], [b"Content-Length", b"ok"], True),
        (b"GET http://a/ HTTP/1.1\r\n", [b"Content-Length: 2"], [b"Connection"], False),
    ],
)
def test_responses(head: bytes, present: list[bytes], absent: list[bytes], keeps: bool) -> None:
    asked = request(head + b"\r\n")
    data = write_response(asked, Response(status=200, body=b"ok", content_type="text/plain"))
    assert all(text in data for text in present)
    assert not any(text in data for text in absent)
    assert asked.keep_alive is keeps


def test_pages_are_at_least_http_1_1() -> None:
    assert write_refusal(Refusal(404, (1, 0))).startswith(b"HTTP/1.1 404 Not Found\r\n")
    page = write_refusal(Refusal(404, (1, 1), "HEAD"))
    assert page.endswith(b"\r\n\r\n")
    assert b"Content-Length" not in page
