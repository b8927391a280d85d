"""Responses as a server may write them, also badly, and the bytes of requests."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from replay.cases import Answer, Json
from replay.rest import bytes_of, exchange
from replay.steps import Made, Metrics, RestRequest

GET = RestRequest(path="/v1/models/m")
OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nDate: now\r\nContent-Length: 9\r\n\r\n{"a":1.0}'
SEEN: Answer = {
    "status": 200,
    "http": "HTTP/1.1",
    "headers": {"content-type": "application/json", "length_given": True},
    "json": {"a": 1.0},
    "raw": '{"a":1.0}',
}


@contextmanager
def serving(response: bytes, *, stays: bool = False) -> Iterator[int]:
    """A port where every connection gets these bytes, and is then closed unless the client is waited for."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(response)
                while stays and connection.recv(65536):
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


def answered(response: bytes, request: RestRequest = GET, *, stays: bool = False, limit: float = 30) -> Json:
    with serving(response, stays=stays) as port:
        return exchange(port, request, limit)


def test_a_response_is_kept_without_what_says_who_and_when() -> None:
    assert answered(OK) == SEEN


def test_a_response_in_chunks() -> None:
    chunked = b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n{"a"\r\n5\r\n:1.0}\r\n0\r\n\r\n'
    assert answered(chunked) == {
        "status": 200,
        "http": "HTTP/1.1",
        "headers": {"transfer-encoding": "chunked", "length_given": False},
        "json": {"a": 1.0},
        "raw": '{"a":1.0}',
    }


def test_an_interim_response_is_passed_over() -> None:
    assert answered(b"HTTP/1.1 100 Continue\r\n\r\n" + OK) == SEEN


def test_a_body_until_the_end_of_the_connection() -> None:
    assert answered(b"HTTP/1.0 400 Bad\r\n\r\nno") == {
        "status": 400,
        "http": "HTTP/1.0",
        "headers": {"length_given": False},
        "body": "no",
    }


def test_a_response_to_head_has_no_body() -> None:
    head = OK.removesuffix(b'{"a":1.0}')
    assert answered(head, RestRequest(method="HEAD", path="/")) == {
        "status": 200,
        "http": "HTTP/1.1",
        "headers": {"content-type": "application/json", "length_given": True},
        "body": "",
    }


def test_a_body_that_ends_too_early_is_distinguished_from_a_whole_one() -> None:
    cut = answered(OK[:-1])
    assert isinstance(cut, dict)
    assert (cut["truncated"], cut["body"]) == (True, '{"a":1.0')


@pytest.mark.parametrize("bad", [b"", b"\r\n"])
def test_a_connection_closed_without_a_response(bad: bytes) -> None:
    assert answered(bad) == ({"unreadable": "BadStatusLine: \r\n"} if bad else {"closed": True})


def test_what_is_not_http_is_no_response() -> None:
    answer = answered(b"SSH-2.0-OpenSSH\r\n")
    assert isinstance(answer, dict)
    assert "status" not in answer


def test_a_server_that_says_nothing() -> None:
    assert answered(b"", stays=True, limit=0.1) == {"timed_out": True}


def test_a_port_that_nobody_listens_on() -> None:
    with serving(OK) as port:
        exchange(port, GET, 30)
    assert exchange(port, GET, 30) == {"refused": True}


def test_several_responses_on_one_connection() -> None:
    both = RestRequest(pipeline=[GET, RestRequest(raw_b64="")])
    assert answered(OK + OK.replace(b"200", b"404"), both) == [SEEN, {**SEEN, "status": 404}]


@pytest.mark.parametrize("stays", [True, False])
def test_whether_the_server_closes(stays: bool) -> None:
    seconds = 0.1 if stays else 30
    answer = answered(OK, RestRequest(check_close=seconds), stays=stays)
    assert answer == {**SEEN, "server_closes": not stays}


def test_bytes_after_a_response_are_no_close() -> None:
    answer = answered(OK + b"more", RestRequest(check_close=30))
    assert answer == {**SEEN, "server_closes": False}


def test_a_body_that_is_no_text() -> None:
    answer = answered(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe")
    assert isinstance(answer, dict)
    assert answer["body_b64"] == "//4="


def test_metrics_are_reduced_to_what_a_case_asks_for() -> None:
    text = (
        b"# TYPE :a:request_count counter\n# TYPE :a:silent gauge\n# TYPE :b:time histogram\n"
        b':a:request_count{m="x"} 3\n:a:request_count{m="broken\nline"} 4\n'
        b':b:time_bucket{m="x",le="1"} 1\n:b:time_bucket{m="x",le="+Inf"} 2\n'
        b':b:time_sum{m="x"} 7\n:b:time_count{m="x"} 2\n'
    )
    answer = answered(b"HTTP/1.0 200 OK\r\n\r\n" + text, RestRequest(metrics=Metrics(only="^:[ab]", values="count$")))
    assert isinstance(answer, dict)
    assert answer["metrics"] == {
        "types": {":a:request_count": "counter", ":b:time": "histogram"},
        "types_without_series": [":a:silent"],
        "series": {":a:request_count": ['{m="x"}'], ":b:time": ['{m="x"}']},
        "bounds": {":b:time": ["1", "+Inf"]},
        "values": {':a:request_count{m="x"}': "3", ':b:time_count{m="x"}': "2"},
        "comment_lines": ["TYPE"],
    }


@pytest.mark.parametrize(
    ("request_", "sent"),
    [
        (RestRequest(path="/p"), b"GET /p HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (
            RestRequest(method="POST", path="/p", body="é"),
            b"POST /p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n\xc3\xa9",
        ),
        (
            RestRequest(method="POST", path="/p", http="HTTP/1.0", headers={"Host": None}),
            b"POST /p HTTP/1.0\r\nContent-Length: 0\r\n\r\n",
        ),
        (
            RestRequest(method="POST", path="/p", no_length=True, body="a"),
            b"POST /p HTTP/1.1\r\nHost: localhost\r\n\r\na",
        ),
        (
            RestRequest(method="POST", path="/p", headers={"content-length": "9"}, body="a"),
            b"POST /p HTTP/1.1\r\nHost: localhost\r\ncontent-length: 9\r\n\r\na",
        ),
        (
            RestRequest(method="POST", path="/p", chunks=["a", "bc"]),
            b"POST /p HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n2\r\nbc\r\n0\r\n\r\n",
        ),
        (RestRequest(raw_b64="R0FSQg=="), b"GARB"),
        (
            RestRequest(path="/p", body=Made(repeat="ab", times=2, head="<", tail=">")),
            b"GET /p HTTP/1.1\r\nHost: localhost\r\nContent-Length: 6\r\n\r\n<abab>",
        ),
    ],
)
def test_the_bytes_of_a_request(request_: RestRequest, sent: bytes) -> None:
    assert bytes_of(request_) == sent
