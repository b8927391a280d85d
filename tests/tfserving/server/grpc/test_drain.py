"""How connections of the gRPC port end: silent ones, old ones, and all of them when the server is stopped."""

import time

from grpc_wire import HELLO, PREFACE, Connect, Gate, caller, echo, request, serving

from tfserving.http2 import frames as h


def test_a_client_that_never_greets_is_cut_off(connect: Connect) -> None:
    with serving({"/s/Echo": echo}, arguments=[("grpc.server_handshake_timeout_ms", 300)]) as (port, _):
        silent, half = connect(port), connect(port, PREFACE[:10])
        list(silent.frames())  # ends only when the server closes
        list(half.frames())
        patient = connect(port, HELLO)
        patient.until(h.SETTINGS, 0, h.ACK)
        time.sleep(0.5)
        patient.socket.sendall(request(1, b"later"))
        assert patient.until(h.DATA, 1)[3][5:] == b"later"


def test_a_connection_of_the_given_age_is_drained(connect: Connect) -> None:
    arguments = [("grpc.max_connection_age_ms", 200), ("grpc.max_connection_age_grace_ms", 60_000)]
    gate = Gate()
    with serving({"/s/Gate": gate, "/s/Echo": echo}, arguments=arguments) as (port, _):
        raw = connect(port, HELLO + request(1, b"x", path=b"/s/Gate"))
        assert raw.until(h.GOAWAY)[3][:4] == h.LAST_STREAM.to_bytes(4, "big")
        gate.release.set()
        raw.until(h.HEADERS, 1, h.END_STREAM)
        list(raw.frames())
        with caller(port) as channel:
            until = time.monotonic() + 1.5
            while time.monotonic() < until:
                assert channel.unary_unary("/s/Echo")(b"on", timeout=30) == b"on"


def test_after_the_grace_of_its_age_a_connection_is_cut(connect: Connect) -> None:
    arguments = [("grpc.max_connection_age_ms", 100), ("grpc.max_connection_age_grace_ms", 100)]
    gate = Gate()
    with serving({"/s/Gate": gate}, arguments=arguments) as (port, _):
        raw = connect(port, HELLO + request(1, b"x", path=b"/s/Gate"))
        assert h.DATA not in [frame[0] for frame in raw.frames()]
        gate.release.set()


def test_a_drain_serves_what_the_client_sent_before_it_knew_and_names_the_last(connect: Connect) -> None:
    gate = Gate()
    with serving({"/s/Gate": gate, "/s/Echo": echo}) as (port, stop):
        raw = connect(port, HELLO + request(1, b"first", path=b"/s/Gate"))
        assert gate.entered.acquire(timeout=30)
        stopped = stop()
        assert raw.until(h.GOAWAY)[3][:8] == h.LAST_STREAM.to_bytes(4, "big") + bytes(4)
        ping = raw.until(h.PING)[3]
        raw.socket.sendall(request(3, b"not known yet"))
        assert raw.until(h.DATA, 3)[3][5:] == b"not known yet"
        raw.socket.sendall(h.frame(h.PING, h.ACK, 0, ping))
        assert raw.until(h.GOAWAY)[3][:8] == (3).to_bytes(4, "big") + bytes(4)
        raw.socket.sendall(request(5, b"too late"))
        assert raw.until(h.RST_STREAM, 5)[3] == h.REFUSED_STREAM.to_bytes(4, "big")
        assert not stopped.is_set()
        gate.release.set()
        assert raw.until(h.DATA, 1)[3][5:] == b"first"
        list(raw.frames())
        assert stopped.wait(60)


def test_a_drain_does_not_wait_for_clients_that_do_not_listen(connect: Connect) -> None:
    with serving({"/s/Echo": echo}) as (port, stop):
        connect(port, HELLO).until(h.SETTINGS, 0, h.ACK)
        connect(port).until(h.SETTINGS)
        assert stop().wait(60)
