"""What breaks a connection of the gRPC port: frames against the rules, floods, pings. Nobody else notices."""

from contextlib import suppress

import pytest
from grpc_wire import HELLO, PREFACE, Connect, Frame, Gate, data, echo, headers, literal, request, serving, setting

from tfserving.http2 import frames as h


def code(frame: Frame) -> int:
    """The error code of a GOAWAY frame."""
    return int.from_bytes(frame[3][4:8], "big")


PROTOCOL, FLOW, CLOSED, SIZE, HPACK, CALM = 1, 3, 5, 6, 9, 11
RESET = h.frame(h.RST_STREAM, 0, 1, bytes(4))
LARGEST = h.frame(h.WINDOW_UPDATE, 0, 1, b"\x7f\xff\xff\xff")

BROKEN = {
    "no SETTINGS": (PREFACE + h.frame(h.PING, 0, 0, bytes(8)), PROTOCOL),
    "long frame": (HELLO + b"\xff\xff\xff\0\0\0\0\0\1", SIZE),
    "even stream": (HELLO + headers(2), PROTOCOL),
    "HEADERS on stream 0": (HELLO + headers(0), PROTOCOL),
    "DATA on stream 0": (HELLO + data(0, b"x"), PROTOCOL),
    "DATA of no stream": (HELLO + data(9, b"x"), PROTOCOL),
    "padding of HEADERS": (HELLO + headers(1, h.END_HEADERS | h.PADDED, b"\xff\x00"), PROTOCOL),
    "padding of DATA": (HELLO + headers(1) + data(1, b"\x02x", h.PADDED), PROTOCOL),
    "short priority": (HELLO + headers(1, h.END_HEADERS | h.PRIORITY, b"\0\0"), SIZE),
    "priority of stream 0": (HELLO + h.frame(h.PRIORITY_FRAME, 0, 0, bytes(5)), PROTOCOL),
    "long priority": (HELLO + headers(1) + h.frame(h.PRIORITY_FRAME, 0, 1, bytes(6)), SIZE),
    "DATA of an ended stream": (HELLO + request(1, b"x") + data(1, b"x"), CLOSED),
    "HEADERS of an ended stream": (HELLO + request(1, b"x") + headers(1), CLOSED),
    "DATA after a reset": (HELLO + headers(1) + RESET + data(1, b"x"), CLOSED),
    "HEADERS after a reset": (HELLO + headers(1) + RESET + headers(1), CLOSED),
    "a smaller stream": (HELLO + request(5, b"x") + headers(3), CLOSED),
    "bad HPACK": (HELLO + headers(1, block=b"\xff\xff\xff\xff\xff\xff\xff"), HPACK),
    "HPACK bomb": (HELLO + headers(1, block=b"\x40\x01a\x7f\xbd\x1d" + b"a" * 3900 + b"\xbe" * 20), CALM),
    "interrupted headers": (HELLO + headers(1, 0) + h.frame(h.PING, 0, 0, bytes(8)), PROTOCOL),
    "lone continuation": (HELLO + h.frame(h.CONTINUATION, h.END_HEADERS, 1, b"\x88"), PROTOCOL),
    "continuation of another": (HELLO + headers(1, 0) + h.frame(h.CONTINUATION, h.END_HEADERS, 3), PROTOCOL),
    "endless headers": (HELLO + headers(1, 0) + h.frame(h.CONTINUATION, 0, 1, bytes(16384)) * 5, CALM),
    "short PING": (HELLO + h.frame(h.PING, 0, 0, b"x"), SIZE),
    "PING on a stream": (HELLO + h.frame(h.PING, 0, 1, bytes(8)), PROTOCOL),
    "odd SETTINGS": (HELLO + h.frame(h.SETTINGS, 0, 0, b"12345"), SIZE),
    "SETTINGS on a stream": (HELLO + h.frame(h.SETTINGS, 0, 1), PROTOCOL),
    "full acknowledgement": (HELLO + h.frame(h.SETTINGS, h.ACK, 0, bytes(6)), SIZE),
    "short reset": (HELLO + h.frame(h.RST_STREAM, 0, 1, b"x"), SIZE),
    "reset of no stream": (HELLO + h.frame(h.RST_STREAM, 0, 1, bytes(4)), PROTOCOL),
    "short GOAWAY": (HELLO + h.frame(h.GOAWAY, 0, 0, bytes(4)), SIZE),
    "short increment": (HELLO + h.frame(h.WINDOW_UPDATE, 0, 0, b"x"), SIZE),
    "no increment": (HELLO + h.frame(h.WINDOW_UPDATE, 0, 0, bytes(4)), PROTOCOL),
    "increment of no stream": (HELLO + h.frame(h.WINDOW_UPDATE, 0, 7, b"\0\0\0\1"), PROTOCOL),
    "window overflow": (HELLO + h.frame(h.WINDOW_UPDATE, 0, 0, b"\x7f\xff\xff\xff") * 2, FLOW),
    "huge initial window": (PREFACE + setting(h.INITIAL_WINDOW_SIZE, 2**32 - 1), FLOW),
    "tiny frame size": (PREFACE + setting(h.MAX_FRAME_SIZE, 1), PROTOCOL),
    "huge frame size": (PREFACE + setting(h.MAX_FRAME_SIZE, 2**24), PROTOCOL),
    "odd push setting": (PREFACE + setting(h.ENABLE_PUSH, 2), PROTOCOL),
    "push": (HELLO + h.frame(h.PUSH_PROMISE, h.END_HEADERS, 1, b"\x88"), PROTOCOL),
}


@pytest.mark.parametrize(("sent", "expected"), BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_frame_gets_its_error_code_and_ends_the_connection(
    echo_port: int, sent: bytes, expected: int, connect: Connect, alive: None
) -> None:
    raw = connect(echo_port, sent)
    assert code(raw.until(h.GOAWAY)) == expected
    assert h.GOAWAY not in [frame[0] for frame in raw.frames()]  # ends only when the server closes


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (headers(1) + data(1, b"\0\0\0\0\x02h") + headers(1), PROTOCOL),
        (headers(1) + headers(1, h.END_HEADERS | h.END_STREAM, literal(b":path", b"/")), PROTOCOL),
        (headers(1) + headers(1, h.END_HEADERS | h.END_STREAM), PROTOCOL),
        (request(1, b"gate", path=b"/s/Gate") + data(1, b"x"), CLOSED),
        (request(1, b"gate", path=b"/s/Gate") + headers(1, h.END_HEADERS | h.END_STREAM), CLOSED),
        (headers(1) + LARGEST, FLOW),
        (setting(h.INITIAL_WINDOW_SIZE, h.MAX_WINDOW) + request(1, bytes(70_000)) + LARGEST, FLOW),
        (request(1, b"quick", extra=literal(b"content-length", b"9")), PROTOCOL),
        (request(1, b"quick", extra=literal(b"content-length", b"+10")), PROTOCOL),
    ],
    ids=[
        "headers in the middle", "path in the trailers", "request as trailers", "data after the end",
        "headers after the end", "window overflow", "window overflow of an answer", "another length", "odd length",
    ],
)  # fmt: skip
def test_a_broken_call_is_reset_and_its_connection_lives(sent: bytes, expected: int, connect: Connect) -> None:
    gate = Gate()
    with serving({"/s/Echo": echo, "/s/Gate": gate}) as (port, _):
        raw = connect(port, HELLO + sent)
        assert raw.until(h.RST_STREAM, 1)[3] == expected.to_bytes(4, "big")
        gate.release.set()
        raw.socket.sendall(request(3, b"next"))
        assert raw.until(h.DATA, 3)[3][5:] == b"next"


NEEDED = [(b":method", b"POST"), (b":scheme", b"http"), (b":path", b"/s/Echo")]
GRPC = (b"content-type", b"application/grpc")
MALFORMED: dict[str, list[tuple[bytes, bytes]]] = {
    "no fields": [],
    "no method": [*NEEDED[1:], GRPC],
    "no scheme": [NEEDED[0], NEEDED[2], GRPC],
    "no path": [*NEEDED[:2], GRPC],
    "empty path": [*NEEDED[:2], (b":path", b""), GRPC],
    "two methods": [*NEEDED, NEEDED[0], GRPC],
    "two paths": [*NEEDED, (b":path", b"/s/Other"), GRPC],
    "unknown pseudo-header field": [*NEEDED, (b":test", b"ok"), GRPC],
    "pseudo-header field of a response": [*NEEDED, (b":status", b"200"), GRPC],
    "pseudo-header field too late": [*NEEDED[:2], GRPC, NEEDED[2]],
    "capitals": [*NEEDED, GRPC, (b"X-Test", b"ok")],
    "no name": [*NEEDED, GRPC, (b"", b"ok")],
    "blank in a name": [*NEEDED, GRPC, (b"x test", b"ok")],
    "line feed in a name": [*NEEDED, GRPC, (b"x\ntest", b"ok")],
    "line feed in a value": [*NEEDED, GRPC, (b"x-test", b"a\nb")],
    "NUL in a value": [*NEEDED, GRPC, (b"x-test", b"a\0b")],
    "connection": [*NEEDED, GRPC, (b"connection", b"keep-alive")],
    "te": [*NEEDED, GRPC, (b"te", b"trailers, deflate")],
}


@pytest.mark.parametrize("fields", MALFORMED.values(), ids=MALFORMED.keys())
def test_a_malformed_head_resets_its_stream_and_nothing_else(
    echo_port: int, fields: list[tuple[bytes, bytes]], connect: Connect
) -> None:
    head = b"".join(literal(*field) for field in fields)
    raw = connect(echo_port, HELLO + headers(1, block=head) + headers(3, block=head))
    assert [raw.until(h.RST_STREAM, number)[3] for number in (1, 3)] == [PROTOCOL.to_bytes(4, "big")] * 2
    raw.socket.sendall(data(1, b"sent before the reset was known", h.END_STREAM) + request(5, b"next"))
    assert raw.until(h.DATA, 5)[3][5:] == b"next"


def test_unusual_heads_are_served(echo_port: int, connect: Connect) -> None:
    extra = [(b":authority", b""), GRPC, (b"te", b"trailers"), (b"x-test", b" a b "), (b"content-length", b"0009")]
    head = b"".join(literal(*field) for field in (*NEEDED, *extra))
    raw = connect(echo_port, HELLO + headers(1, block=head) + data(1, b"\0\0\0\0\x04next", h.END_STREAM))
    assert raw.until(h.DATA, 1)[3][5:] == b"next"


def test_resets_that_are_long_past_still_excuse_what_is_on_its_way(echo_port: int, connect: Connect) -> None:
    bad = literal(b":method", b"POST")
    raw = connect(echo_port, HELLO)
    for number in range(1, 4001, 2):
        raw.socket.sendall(headers(number, block=bad))
        raw.until(h.RST_STREAM, number)
    raw.socket.sendall(data(1, b"late") + data(3999, b"late") + request(4001, b"next"))
    assert raw.until(h.DATA, 4001)[3][5:] == b"next"


FLOODS = {
    "SETTINGS": h.frame(h.SETTINGS, 0, 0) * 200,
    "acknowledgements": h.frame(h.PING, h.ACK, 0, bytes(8)) * 200,
    "PRIORITY": h.frame(h.PRIORITY_FRAME, 0, 1, bytes(5)) * 200,
    "unknown frames": h.frame(99, 0, 0, b"?") * 200,
    "empty DATA": data(1, b"") * 200,
    "padded DATA": data(1, b"\x03" + bytes(3), h.PADDED) * 200,
    "window updates": h.frame(h.WINDOW_UPDATE, 0, 0, b"\0\0\0\1") * 200,
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_of_frames_without_a_use_ends_its_connection(
    echo_port: int, flood: bytes, connect: Connect, alive: None
) -> None:
    raw = connect(echo_port, HELLO + headers(1))
    with suppress(ConnectionError):  # cut off while it still sends
        for _ in range(100):
            raw.socket.sendall(flood)
        assert code(raw.until(h.GOAWAY)) == CALM
    list(raw.frames())


def test_empty_continuations_do_not_go_on_for_ever(echo_port: int, connect: Connect, alive: None) -> None:
    raw = connect(echo_port, HELLO + headers(1, 0))
    with suppress(ConnectionError):
        for _ in range(100):
            raw.socket.sendall(h.frame(h.CONTINUATION, 0, 1) * 200)
        assert code(raw.until(h.GOAWAY)) == CALM
    list(raw.frames())


def test_calls_that_are_reset_at_once_use_up_the_patience(echo_port: int, connect: Connect, alive: None) -> None:
    raw = connect(echo_port, HELLO)
    with suppress(ConnectionError):
        for number in range(1, 40_001, 200):
            rapid = [headers(n) + h.frame(h.RST_STREAM, 0, n, bytes(4)) for n in range(number, number + 200, 2)]
            raw.socket.sendall(b"".join(rapid))
        assert code(raw.until(h.GOAWAY)) == CALM
    list(raw.frames())


def test_pings_get_a_response_until_they_come_too_often(echo_port: int, connect: Connect, alive: None) -> None:
    raw = connect(echo_port, HELLO)
    for number in range(3):
        raw.socket.sendall(h.frame(h.PING, 0, 0, b"ping %03d" % number))
        assert raw.until(h.PING, 0, h.ACK)[3] == b"ping %03d" % number
    raw.socket.sendall(h.frame(h.PING, 0, 0, bytes(8)))
    goaway = raw.until(h.GOAWAY)
    assert (code(goaway), goaway[3][8:]) == (CALM, b"too_many_pings")


def test_a_response_between_pings_makes_them_welcome(echo_port: int, connect: Connect) -> None:
    raw = connect(echo_port, HELLO)
    for number in range(20):
        raw.socket.sendall(request(2 * number + 1, b"") + h.frame(h.PING, 0, 0, bytes(8)))
        raw.until(h.PING, 0, h.ACK)


def test_channel_arguments_allow_more_pings(connect: Connect) -> None:
    arguments = [("grpc.http2.max_ping_strikes", 0)]
    with serving({"/s/Echo": echo}, arguments=arguments) as (port, _):
        raw = connect(port, HELLO + h.frame(h.PING, 0, 0, bytes(8)) * 50)
        for _ in range(50):
            raw.until(h.PING, 0, h.ACK)


def test_a_request_that_comes_byte_by_byte_is_served(echo_port: int, connect: Connect) -> None:
    raw = connect(echo_port)
    raw.socket.setsockopt(6, 1, 1)  # TCP_NODELAY
    for byte in HELLO + request(1, b"slow"[::-1]):
        raw.socket.sendall(bytes((byte,)))
    assert raw.until(h.DATA, 1)[3][5:] == b"wols"
