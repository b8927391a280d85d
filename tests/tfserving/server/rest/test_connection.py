"""Connections of the REST port: order, the end of a side, refusals, threads, stopping; the model is a fake."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from eventually import eventually
from model_server_process import is_open
from rest_echo import NINES, PREDICT, ZEROS, Served


def test_requests_on_one_connection_get_responses_in_order(served: Served) -> None:
    ask = b"GET /v1/models/%s HTTP/1.1\r\n%s\r\n"
    answers = served.raw(ask % (b"echo", b"") + ask % (b"nope", b"") + ask % (b"echo", b"Connection: close\r\n"))
    assert [part[:3] for part in answers.split(b"HTTP/1.1 ")[1:]] == [b"200", b"404", b"200"]


def test_a_client_that_ends_its_side_still_gets_its_response(served: Served) -> None:
    assert served.raw(b"GET /v1/models/echo HTTP/1.1\r\n\r\n", end=True).startswith(b"HTTP/1.1 200")
    assert served.raw(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nshort", end=True) == b""


def test_a_refused_client_reads_why_although_it_keeps_sending(served: Served) -> None:
    answer = served.raw(b"POST /v1/x HTTP/1.1\r\nContent-Length: 9999999\r\nExpect: x\r\n\r\n" + b"y" * 500000)
    assert answer.startswith(b"HTTP/1.1 417 Expectation Failed")


def test_a_tunnel_is_refused_and_left_to_its_client(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=10) as client:
        client.sendall(b"CONNECT localhost:443 HTTP/1.1\r\n\r\n")
        received = b""
        while not received.endswith(b"</HTML>\n"):
            received += client.recv(65536)
        assert received.startswith(b"HTTP/1.1 501 ")
        assert b"Content-Length" not in received
        client.sendall(b"GET /v1/models/echo HTTP/1.1\r\n\r\n")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)


def test_continue_is_sent_before_the_body(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=10) as client:
        client.sendall(f"POST {PREDICT} HTTP/1.1\r\nContent-Length: 17\r\nExpect: 100-continue\r\n\r\n".encode())
        assert client.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.sendall(b'{"instances":[1]}')
        assert client.recv(100).startswith(b"HTTP/1.1 200 OK")


def test_head_has_no_body_and_an_offered_upgrade_is_ignored(served: Served) -> None:
    """HEAD gets TensorFlow Serving's 400 on every route; what matters is that the connection goes on."""
    head = b"HEAD /v1/models/echo HTTP/1.1\r\n\r\n"
    offer = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\n"
    post = b'POST %s HTTP/1.1\r\n%sContent-Length: 17\r\n\r\n{"instances":[1]}' % (PREDICT.encode(), offer)
    last = b"GET /v1/models/echo HTTP/1.1\r\nConnection: close\r\n\r\n"
    answers = served.raw(head + post + head + last).split(b"HTTP/1.1 ")[1:]
    assert [answer[:3] for answer in answers] == [b"400", b"200", b"400", b"200"]
    assert [answer.endswith(b"\r\n\r\n") for answer in answers] == [True, False, True, False]


def test_ipv4_and_ipv6_are_both_served(served: Served) -> None:
    families = {info[0] for info in socket.getaddrinfo("localhost", served.server.port, type=socket.SOCK_STREAM)}
    addresses = ["127.0.0.1"] + (["::1"] if socket.AF_INET6 in families else [])
    for address in addresses:
        socket.create_connection((address, served.server.port), timeout=5).close()


def test_one_thread_accepts_and_sends_no_response() -> None:
    served = Served(threads=1)
    with socket.create_connection(("127.0.0.1", served.server.port), timeout=0.3) as client:
        client.sendall(b"GET /v1/models/echo HTTP/1.1\r\n\r\n")
        with pytest.raises(TimeoutError):
            client.recv(1)
    served.server.stop(0)


def test_stop_lets_the_request_in_progress_finish() -> None:
    served = Served()
    served.inference.gate.clear()
    answers = []
    client = threading.Thread(target=lambda: answers.append(served.ask("POST", PREDICT, '{"instances":[1]}')[0]))
    client.start()
    eventually(lambda: served.inference.timeouts, "the request is in progress")
    stopping = threading.Thread(target=served.server.stop, args=(10,))
    stopping.start()
    eventually(lambda: not is_open(served.server.port), "the port is closed")
    served.inference.gate.set()
    client.join(10)
    stopping.join(10)
    assert answers == [200]


def test_a_port_in_use_is_reported(served: Served) -> None:
    with pytest.raises(OSError, match=r"[Aa]ddress already in use"):
        Served(port=served.server.port)


def test_a_model_that_is_not_quick_holds_up_no_other(served: Served) -> None:
    served.inference.quick = False
    served.inference.gate.clear()
    with ThreadPoolExecutor() as pool:
        slow = pool.submit(served.ask, "POST", "/v1/models/echo:predict", '{"instances":[1]}')
        assert [served.ask("GET", "/v1/models/echo")[0] for _ in range(5)] == [200] * 5
        assert not slow.done()
        served.inference.gate.set()
        assert slow.result()[0] == 200


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"POST %s HTTP/1.1\r\nContent-Length: %s\r\n\r\n" % (PREDICT.encode(), NINES), 413),
        (b"POST %s HTTP/1.1\r\nContent-Length: %s17\r\n\r\n" % (PREDICT.encode(), ZEROS) + b'{"instances":[1]}', 200),
        (b"GET /v1/models/echo/versions/%s HTTP/1.1\r\n\r\n" % NINES, 400),
        (b"GET /v1/models/echo/versions/%s3 HTTP/1.1\r\n\r\n" % ZEROS, 200),
    ],
    ids=["long length", "zeros before a length", "long version", "zeros before a version"],
)
def test_numbers_of_thousands_of_digits(served: Served, sent: bytes, status: int) -> None:
    assert served.raw(sent, end=True).startswith(b"HTTP/1.1 %d " % status)
