"""The gRPC transport by itself: against grpcio's client, and against raw bytes that no client should send."""

import json
import random
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import grpc
import pytest
from google.protobuf import text_format
from grpc_wire import (
    BLOCK,
    HELLO,
    PREFACE,
    Connect,
    Gate,
    block,
    caller,
    echo,
    fail,
    headers,
    literal,
    quick,
    request,
    serving,
)

from tfserving.http2 import frames as h
from tfserving.server.grpc.server import Method
from tfserving.server.lifecycle import tls_context
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import StatusError


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    table: dict[str, Method] = {
        "/s/Echo": echo,
        "/s/Fail": fail,
        "/s/Left": lambda wire, timeout: repr(timeout).encode(),
        "/s/Big": lambda wire, timeout: b"x" * int(wire),
    }
    with serving(table, quick={"/s/Echo": quick}) as (port, _):
        yield port


def test_messages_of_many_megabytes_go_both_ways(port: int) -> None:
    body = random.Random(1).randbytes(30_000_000)
    with caller(port) as channel:
        assert channel.unary_unary("/s/Echo")(body, timeout=120) == body


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_compressed_requests_are_read(port: int, compression: grpc.Compression) -> None:
    with caller(port, compression=compression) as channel:
        assert channel.unary_unary("/s/Echo")(b"a" * 100_000, timeout=30) == b"a" * 100_000


def test_calls_with_changing_metadata_keep_the_header_table_in_step(port: int) -> None:
    with caller(port) as channel:
        call = channel.unary_unary("/s/Echo")
        for i in range(300):
            metadata = [(f"x-key-{i % 7}", f"value {i % 40}"), ("x-blob-bin", bytes((i % 256,)) * 50)]
            assert call(b"%d" % i, timeout=30 + i % 5, metadata=metadata) == b"%d" % i


def test_error_texts_of_any_characters_arrive(port: int) -> None:
    with caller(port) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/s/Fail")("ü".encode(), timeout=30)
    assert (caught.value.code(), caught.value.details()) == (grpc.StatusCode.NOT_FOUND, "no “ü” 100%\n")


def test_the_deadline_reaches_the_method(port: int) -> None:
    with caller(port) as channel:
        left = channel.unary_unary("/s/Left")
        assert 20 < float(left(b"", timeout=30)) < 31  # grpcio rounds up
        assert left(b"") == b"None"


@pytest.mark.parametrize(
    ("timeout", "left"),
    [(b"99999999H", 3.6e11), (b"0000000020S", 20), (b"9" * 100 + b"S", None), (b"1.5S", None), (b"S", None)],
)
def test_a_timeout_of_any_form_is_understood_or_ignored(
    port: int, connect: Connect, timeout: bytes, left: float | int | None
) -> None:
    raw = connect(port, HELLO + request(1, b"", path=b"/s/Left", extra=literal(b"grpc-timeout", timeout)))
    found = json.loads(raw.until(h.DATA, 1)[3][5:].replace(b"None", b"null"))
    assert found is None if left is None else left * 0.5 < found <= left


def test_what_is_not_grpc_gets_an_http_status(port: int, connect: Connect) -> None:
    raw = connect(port, HELLO)
    get = literal(b":method", b"GET") + literal(b":scheme", b"http") + literal(b":path", b"/")
    raw.socket.sendall(headers(1, h.END_HEADERS | h.END_STREAM, get))
    assert b"415" in raw.until(h.HEADERS, 1)[3]
    raw.socket.sendall(headers(3, h.END_HEADERS | h.END_STREAM, block(b"/", b"text/html")))
    assert b"415" in raw.until(h.HEADERS, 3)[3]


def test_padding_priority_and_continuations_are_understood(port: int, connect: Connect) -> None:
    raw = connect(port, HELLO)
    first, rest = BLOCK[:40], BLOCK[40:]
    raw.socket.sendall(headers(1, h.PADDED | h.PRIORITY, b"\x03" + bytes(5) + first + bytes(3)))
    raw.socket.sendall(h.frame(h.CONTINUATION, h.END_HEADERS, 1, rest))
    raw.socket.sendall(h.frame(h.DATA, h.PADDED | h.END_STREAM, 1, b"\x02\0\0\0\0\x02hi" + bytes(2)))
    assert raw.until(h.DATA, 1)[3] == b"\0\0\0\0\x02hi"


def test_a_response_waits_for_the_windows_of_the_client(port: int, connect: Connect) -> None:
    small = b"\x00\x04" + (10).to_bytes(4, "big")
    raw = connect(port, PREFACE + h.frame(h.SETTINGS, 0, 0, small) + request(1, b"100", path=b"/s/Big"))
    assert len(raw.until(h.DATA, 1)[3]) == 10
    raw.socket.sendall(h.frame(h.PING, 0, 0, b"12345678"))
    kinds = []
    for frame in raw.frames():
        kinds.append(frame[0])
        if frame[0] == h.PING:
            break
    assert h.DATA not in kinds
    raw.socket.sendall(h.frame(h.WINDOW_UPDATE, 0, 1, (1000).to_bytes(4, "big")))
    assert len(raw.until(h.DATA, 1)[3]) == 95
    assert raw.until(h.HEADERS, 1, h.END_STREAM)[3] == literal(b"grpc-status", b"0")


def test_another_protocol_ends_its_connection_and_nothing_else(port: int, connect: Connect) -> None:
    raw = connect(port)
    with suppress(ConnectionError):
        raw.socket.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    list(raw.frames())  # ends only when the server closes
    with caller(port) as channel:
        assert channel.unary_unary("/s/Echo")(b"alive", timeout=30) == b"alive"


def test_a_client_cannot_have_its_response_cut_into_tiny_frames(port: int, connect: Connect) -> None:
    raw = connect(port, PREFACE + h.frame(h.SETTINGS, 0, 0, b"\x00\x05\x00\x00\x00\x01") + request(1, b"ab"))
    assert h.DATA not in [frame[0] for frame in raw.frames()]


def test_random_damage_never_ends_the_server(port: int) -> None:
    rng = random.Random(7)
    good = HELLO + request(1, b"hello") + h.frame(h.PING, 0, 0, bytes(8)) + request(3, b"again", path=b"/s/Fail")
    for _ in range(300):
        data = bytearray(good)
        for _ in range(rng.randint(1, 6)):
            data[rng.randrange(len(HELLO), len(data))] = rng.randrange(256)
        with socket.create_connection(("127.0.0.1", port), 30) as client:
            client.sendall(data[: rng.randint(30, len(data))])
    with caller(port) as channel:
        assert channel.unary_unary("/s/Echo")(b"alive", timeout=30) == b"alive"


@pytest.mark.parametrize("body", [b"", b"\0", b"\0\0\0\0\x09x", b"\x07\0\0\0\0"])
def test_a_body_that_is_no_message_is_an_internal_error(port: int, body: bytes, connect: Connect) -> None:
    raw = connect(port, HELLO + request(1, b"")[: -(9 + 5)] + h.frame(h.DATA, h.END_STREAM, 1, body))
    assert literal(b"grpc-status", b"13") in raw.until(h.HEADERS, 1)[3]


def test_slow_work_holds_up_neither_the_loop_nor_quick_calls() -> None:
    gate = Gate()
    with serving({"/s/Mixed": gate}, quick={"/s/Mixed": quick}) as (port, _), caller(port) as channel:
        mixed = channel.unary_unary("/s/Mixed")
        slow = mixed.future(b"slow", timeout=60)
        assert gate.entered.acquire(timeout=30)
        assert [mixed(b"quick", timeout=30) for _ in range(20)] == [b"quick"] * 20
        assert not slow.done()
        gate.release.set()
        assert slow.result() == b"slow"


def test_one_call_more_than_threads_is_refused_at_once() -> None:
    gate = Gate()
    with serving({"/s/Gate": gate}, threads=2) as (port, _), caller(port) as channel:
        call = channel.unary_unary("/s/Gate")
        running = [call.future(b"x", timeout=60) for _ in range(2)]
        assert all(gate.entered.acquire(timeout=30) for _ in running)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"x", timeout=30)
        gate.release.set()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert caught.value.details() == "Server Threadpool Exhausted"
        assert [f.result() for f in running] == [b"x", b"x"]


def test_a_cancelled_call_runs_to_its_end_and_harms_nobody() -> None:
    gate = Gate()
    with serving({"/s/Gate": gate}) as (port, _), caller(port) as channel:
        call = channel.unary_unary("/s/Gate")
        cancelled = call.future(b"x", timeout=60)
        assert gate.entered.acquire(timeout=30)
        cancelled.cancel()
        gate.release.set()
        assert gate.left.acquire(timeout=30)
        assert call(b"y", timeout=30) == b"y"


def test_a_drain_finishes_the_calls_in_flight_and_accepts_no_connection(connect: Connect) -> None:
    gate = Gate()
    with serving({"/s/Gate": gate}) as (port, stop), caller(port) as channel:
        running = channel.unary_unary("/s/Gate").future(b"x", timeout=60)
        assert gate.entered.acquire(timeout=30)
        idle = connect(port, HELLO)
        idle.until(h.SETTINGS)
        stopped = stop()
        idle.until(h.GOAWAY)
        assert not stopped.is_set()
        with pytest.raises(ConnectionError):
            socket.create_connection(("127.0.0.1", port), 30).close()
        gate.release.set()
        assert running.result() == b"x"
        assert stopped.wait(60)


def test_a_unix_socket_serves_and_a_dead_servers_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "grpc.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with serving({"/s/Echo": echo}, path=path), grpc.insecure_channel(f"unix:{path}") as channel:
        assert channel.unary_unary("/s/Echo")(b"x", timeout=30) == b"x"


@pytest.fixture(scope="module")
def pems(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A CA, and a key and certificate signed by it, for localhost."""
    folder = tmp_path_factory.mktemp("tls")

    def openssl(*arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    new = ("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    openssl(*new, "-subj", "/CN=test ca", "-keyout", "ca.key", "-out", "ca.pem")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1")
    openssl(*new, *signed, "-subj", "/CN=localhost", "-addext", "basicConstraints=critical,CA:false",
            "-keyout", "server.key", "-out", "server.pem")  # fmt: skip
    return {p.name: p.read_text() for p in folder.iterdir()}


def tls_call(port: int, pems: dict[str, str], *, client: bool = False) -> bytes:
    pair = (pems["server.key"].encode(), pems["server.pem"].encode()) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(pems["ca.pem"].encode(), *pair)
    with grpc.secure_channel(f"localhost:{port}", credentials) as channel:
        answer: bytes = channel.unary_unary("/s/Echo")(b"x" * 1_000_000, timeout=20)
        return answer


def context(folder: Path, config: m.SSLConfig) -> ssl.SSLContext:
    path = folder / "ssl.txt"
    path.write_text(text_format.MessageToString(config))
    context = tls_context(str(path))
    assert context is not None
    return context


def test_tls_with_and_without_client_certificates(pems: dict[str, str], tmp_path: Path) -> None:
    config = m.SSLConfig(server_key=pems["server.key"], server_cert=pems["server.pem"])
    table = {"/s/Echo": echo}
    with serving(table, tls=context(tmp_path, config)) as (port, _):
        assert len(tls_call(port, pems)) == 1_000_000
        client = ssl.create_default_context(cadata=pems["ca.pem"])
        client.set_alpn_protocols(["h2", "http/1.1"])
        with (
            socket.create_connection(("127.0.0.1", port), 30) as plain,
            client.wrap_socket(plain, server_hostname="localhost") as secure,
        ):
            assert secure.selected_alpn_protocol() == "h2"
        with caller(port) as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary("/s/Echo")(b"", timeout=20)
    config.custom_ca, config.client_verify = pems["ca.pem"], True
    with serving(table, tls=context(tmp_path, config)) as (port, _):
        assert len(tls_call(port, pems, client=True)) == 1_000_000
        with pytest.raises(grpc.RpcError) as caught:
            tls_call(port, pems)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_broken_frame_over_tls_gets_its_error_code(pems: dict[str, str], tmp_path: Path) -> None:
    config = m.SSLConfig(server_key=pems["server.key"], server_cert=pems["server.pem"])
    client = ssl.create_default_context(cadata=pems["ca.pem"])
    client.set_alpn_protocols(["h2"])
    with (
        serving({"/s/Echo": echo}, tls=context(tmp_path, config)) as (port, _),
        socket.create_connection(("127.0.0.1", port), 30) as plain,
        client.wrap_socket(plain, server_hostname="localhost") as secure,
    ):
        secure.sendall(HELLO + h.frame(h.PING, 0, 0, b"short"))
        received = b""
        with suppress(ConnectionError, ssl.SSLError):
            while piece := secure.recv(65536):
                received += piece
        assert h.FRAME_SIZE_ERROR.to_bytes(4, "big") + b"a PING frame of 5 bytes" in received


def test_a_tls_file_without_usable_pem_is_named(tmp_path: Path) -> None:
    with pytest.raises(StatusError, match=r"ssl\.txt: the key, certificate or CA cannot be used"):
        context(tmp_path, m.SSLConfig(server_key="nonsense", server_cert="nonsense"))
