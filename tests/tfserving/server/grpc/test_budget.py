"""How much clients of the gRPC port may ask for: calls, sizes of messages, memory of all requests together."""

import gc
import gzip
import types
from collections.abc import Callable

import grpc
import pytest
from eventually import eventually
from grpc_wire import (
    BLOCK,
    HELLO,
    PREFACE,
    Connect,
    Gate,
    caller,
    data,
    echo,
    headers,
    literal,
    request,
    serving,
    setting,
)

from tfserving.http2 import frames as h
from tfserving.server.grpc.limits import limits
from tfserving.server.memory import Budget, request_budget

EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED


def failure_of(call: Callable[..., bytes], body: bytes) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call(body, timeout=60)
    return caught.value.code(), caught.value.details()


def test_the_number_of_calls_of_one_connection_is_announced_and_enforced(connect: Connect) -> None:
    gate = Gate()
    arguments = [("grpc.max_concurrent_streams", 2)]
    with serving({"/s/Gate": gate, "/s/Echo": echo}, arguments=arguments) as (port, _):
        raw = connect(port, HELLO)
        told = raw.until(h.SETTINGS)[3]
        assert h.MAX_CONCURRENT_STREAMS.to_bytes(2, "big") + (2).to_bytes(4, "big") in told
        raw.socket.sendall(b"".join(request(number, b"x", path=b"/s/Gate") for number in (1, 3, 5)))
        assert raw.until(h.RST_STREAM, 5)[3] == h.REFUSED_STREAM.to_bytes(4, "big")
        gate.release.set()
        raw.until(h.HEADERS, 1, h.END_STREAM)
        raw.socket.sendall(request(7, b"again"))
        assert raw.until(h.DATA, 7)[3][5:] == b"again"


def test_a_call_that_is_given_up_makes_room_for_another(connect: Connect) -> None:
    gate = Gate()
    with serving({"/s/Gate": gate, "/s/Echo": echo}, arguments=[("grpc.max_concurrent_streams", 1)]) as (port, _):
        raw = connect(port, HELLO + request(1, b"x", path=b"/s/Gate"))
        assert gate.entered.acquire(timeout=30)
        raw.socket.sendall(request(3, b"full"))
        assert raw.until(h.RST_STREAM, 3)[3] == h.REFUSED_STREAM.to_bytes(4, "big")
        raw.socket.sendall(h.frame(h.RST_STREAM, 0, 1, h.CANCEL.to_bytes(4, "big")) + request(5, b"room"))
        assert raw.until(h.DATA, 5)[3][5:] == b"room"
        gate.release.set()


def test_a_client_with_more_calls_than_allowed_waits_and_loses_none() -> None:
    with (
        serving({"/s/Echo": echo}, arguments=[("grpc.max_concurrent_streams", 2)]) as (port, _),
        caller(port) as channel,
    ):
        call = channel.unary_unary("/s/Echo")
        running = [call.future(b"%d" % number, timeout=60) for number in range(50)]
        assert [future.result() for future in running] == [b"%d" % number for number in range(50)]


@pytest.mark.parametrize("size", [1001, 200_000, 9_000_000])
def test_a_message_above_the_limit_is_refused_in_grpcs_words(size: int) -> None:
    arguments = [("grpc.max_receive_message_length", 1000)]
    with serving({"/s/Echo": echo}, arguments=arguments) as (port, _), caller(port) as channel:
        call = channel.unary_unary("/s/Echo")
        text = f"SERVER: Received message larger than max ({size} vs. 1000)"
        assert failure_of(call, bytes(size)) == (EXHAUSTED, text)
        assert call(bytes(1000), timeout=30) == bytes(1000)


def test_a_message_that_only_says_that_it_is_too_long_is_refused_before_it_comes(connect: Connect) -> None:
    with serving({"/s/Echo": echo}, arguments=[("grpc.max_receive_message_length", 1000)]) as (port, _):
        raw = connect(port, HELLO + headers(1) + data(1, b"\0\0\x0f\x42\x40" + b"x"))
        assert b"larger than max (1000000 vs. 1000)" in raw.until(h.HEADERS, 1, h.END_STREAM)[3]
        assert raw.until(h.RST_STREAM, 1)[3] == h.NO_ERROR.to_bytes(4, "big")
        raw.socket.sendall(data(1, bytes(5000)) + request(3, b"next"))
        assert raw.until(h.DATA, 3)[3][5:] == b"next"


def test_more_than_the_message_is_an_error_at_once(echo_port: int, connect: Connect) -> None:
    raw = connect(echo_port, HELLO + headers(1) + data(1, b"\0\0\0\0\x02hi") + data(1, b"more"))
    assert literal(b"grpc-status", b"13") in raw.until(h.HEADERS, 1, h.END_STREAM)[3]


@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_message_that_unpacks_to_more_than_the_limit_is_refused(compression: grpc.Compression) -> None:
    arguments = [("grpc.max_receive_message_length", 1_000_000)]
    with (
        serving({"/s/Echo": echo}, arguments=arguments) as (port, _),
        caller(port, compression=compression) as channel,
    ):
        call = channel.unary_unary("/s/Echo")
        assert failure_of(call, bytes(50_000_000)) == (EXHAUSTED, "Decompressed message larger than max")
        assert call(bytes(1_000_000), timeout=30) == bytes(1_000_000)


def test_a_decompression_bomb_meets_the_budget() -> None:
    budget = Budget(20_000_000)
    with (
        serving({"/s/Echo": echo}, budget=budget) as (port, _),
        caller(port, compression=grpc.Compression.Gzip) as channel,
    ):
        call = channel.unary_unary("/s/Echo")
        assert failure_of(call, bytes(100_000_000))[0] is EXHAUSTED
        eventually(lambda: budget.held == 0, lambda: f"{budget.held} bytes are held")
        assert call(bytes(5_000_000), timeout=30) == bytes(5_000_000)


GOOD = gzip.compress(b"hello")


@pytest.mark.parametrize(
    ("packed", "encoding", "text"),
    [
        (GOOD[:-3], b"gzip", b"Decompression failed due to zlib error"),
        (GOOD[:5] + b"\xff" * 9, b"gzip", b"Decompression failed due to zlib error"),
        (GOOD + b"tail", b"gzip", b"Decompression failed due to zlib error"),
        (b"", b"gzip", b"Decompression failed due to zlib error"),
        (GOOD, b"identity", b"Compression bit set but no encoding configured"),
        (GOOD, b"br", b"Error parsing 'grpc-encoding' metadata"),
    ],
    ids=["cut off", "damaged", "tail", "empty", "not said", "unknown"],
)
def test_what_cannot_be_unpacked_is_an_internal_error(
    echo_port: int, packed: bytes, encoding: bytes, text: bytes, connect: Connect
) -> None:
    body = b"\x01" + len(packed).to_bytes(4, "big") + packed
    raw = connect(echo_port, HELLO + headers(1, block=BLOCK + literal(b"grpc-encoding", encoding)) + data(1, body, 1))
    answer = raw.until(h.HEADERS, 1, h.END_STREAM)[3]
    assert literal(b"grpc-status", b"13") in answer
    assert text in answer


def test_unfinished_requests_of_all_clients_share_a_budget(connect: Connect) -> None:
    budget = Budget(1_000_000)
    begun = headers(1) + data(1, b"\0\0\x0f\x00\x00") + data(1, bytes(16_000)) * 25
    with serving({"/s/Echo": echo}, budget=budget) as (port, _):
        first, second, third = (connect(port, HELLO + begun) for _ in range(3))
        refused = third.until(h.HEADERS, 1, h.END_STREAM)[3]
        assert literal(b"grpc-status", b"8") in refused
        third.socket.sendall(request(3, b"small"))
        assert third.until(h.DATA, 3)[3][5:] == b"small"
        assert 0 < budget.held <= budget.limit
        first.socket.close()
        second.socket.sendall(h.frame(h.RST_STREAM, 0, 1, bytes(4)))
        eventually(lambda: budget.held == 0, lambda: f"{budget.held} bytes are held")


def test_one_client_gets_half_of_the_budget(connect: Connect) -> None:
    budget = Budget(1_000_000)
    begun = b"".join(headers(n) + data(n, b"\0\0\x0f\x00\x00") + data(n, bytes(16_000)) * 8 for n in (1, 3, 5, 7, 9))
    with serving({"/s/Echo": echo}, budget=budget) as (port, _):
        greedy = connect(port, HELLO + begun)
        assert literal(b"grpc-status", b"8") in greedy.until(h.HEADERS, 7, h.END_STREAM)[3]
        assert budget.held <= 500_000
        greedy.socket.close()


def test_many_tiny_pieces_count_for_what_they_cost(connect: Connect) -> None:
    budget = Budget(1_000_000)
    with serving({"/s/Echo": echo}, budget=budget) as (port, _):
        raw = connect(port, HELLO + headers(1) + data(1, b"\0\0\x0f\x00\x00") + data(1, b"ab") * 6_000)
        assert literal(b"grpc-status", b"8") in raw.until(h.HEADERS, 1, h.END_STREAM)[3]


def test_a_running_request_counts_until_it_ends(connect: Connect) -> None:
    gate, budget = Gate(), Budget(10_000_000)
    with serving({"/s/Gate": gate}, budget=budget) as (port, _), caller(port) as channel:
        running = channel.unary_unary("/s/Gate").future(bytes(2_000_000), timeout=60)
        assert gate.entered.acquire(timeout=30)
        running.cancel()
        with caller(port) as other:
            failure_of(other.unary_unary("/s/None"), b"")
        assert budget.held >= 1_500_000
        gate.release.set()
        eventually(lambda: budget.held == 0, lambda: f"{budget.held} bytes are held")


def test_a_client_that_does_not_read_its_responses_gets_errors_instead(connect: Connect) -> None:
    budget = Budget(40_000_000)
    table = {"/s/Big": lambda wire, timeout: bytes(4_000_000), "/s/Echo": echo}
    wide = PREFACE + setting(h.INITIAL_WINDOW_SIZE, h.MAX_WINDOW)
    wide += h.frame(h.WINDOW_UPDATE, 0, 0, (h.MAX_WINDOW - 65535).to_bytes(4, "big"))
    with serving(table, threads=64, budget=budget) as (port, _):
        raw = connect(port, wide + b"".join(request(2 * n + 1, b"", path=b"/s/Big") for n in range(40)))
        with caller(port) as channel:
            for _ in range(20):
                assert channel.unary_unary("/s/Echo")(b"alive", timeout=60) == b"alive"
                assert budget.held <= budget.limit
        answered = {}
        for kind, flags, number, content in raw.frames():
            if kind == h.HEADERS and flags & h.END_STREAM:
                answered[number] = literal(b"grpc-status", b"0") == content
                if len(answered) == 40:
                    break
        assert 0 < sum(answered.values()) < 40
        eventually(lambda: budget.held == 0, lambda: f"{budget.held} bytes are held")


def test_a_large_request_is_asked_for_piece_by_piece_and_a_refused_one_no_more(connect: Connect) -> None:
    gate = Gate()
    arguments = [("grpc.max_receive_message_length", 5_000_000)]
    with serving({"/s/Gate": gate}, arguments=arguments) as (port, _):
        raw = connect(port, HELLO + headers(1) + data(1, b"\0" + (5_000_000).to_bytes(4, "big")))
        for _ in range(200):
            raw.socket.sendall(data(1, bytes(16_000)))
        more = raw.until(h.WINDOW_UPDATE, 1)[3]
        assert int.from_bytes(more, "big") >= 1 << 20
        raw.socket.sendall(headers(3) + data(3, b"\0" + (6_000_000).to_bytes(4, "big")))
        raw.until(h.RST_STREAM, 3)
        for _ in range(200):
            raw.socket.sendall(data(3, bytes(16_000)))
        raw.socket.sendall(h.frame(h.PING, 0, 0, bytes(8)))
        seen = []
        for frame in raw.frames():
            seen.append((frame[0], frame[2]))
            if frame[0] == h.PING:
                break
        assert (h.WINDOW_UPDATE, 3) not in seen
        raw.socket.close()


def test_refused_calls_leave_nothing_behind() -> None:
    def tracebacks() -> int:
        gc.collect()
        return sum(isinstance(thing, types.TracebackType) for thing in gc.get_objects())

    gate = Gate()
    with serving({"/s/Gate": gate}, threads=1) as (port, _), caller(port) as channel:
        busy = channel.unary_unary("/s/Gate").future(b"x", timeout=60)
        assert gate.entered.acquire(timeout=30)
        nothing, gated = channel.unary_unary("/s/None"), channel.unary_unary("/s/Gate")
        assert failure_of(gated, b"x") == (EXHAUSTED, "Server Threadpool Exhausted")
        before = tracebacks()
        for _ in range(100):
            failure_of(gated, b"x")
            failure_of(nothing, b"x")
        assert tracebacks() < before + 50
        gate.release.set()
        assert busy.result() == b"x"


def test_channel_arguments_set_limits_and_nonsense_is_ignored() -> None:
    plain = limits({}, max_threads=64)
    assert (plain.max_request, plain.max_streams, plain.handshake, plain.age) == (2**31 - 1, 1024, 120, None)
    assert limits({}, max_threads=1000).max_streams == 2000
    odd: dict[str, int | str] = {
        "grpc.max_concurrent_streams": "many",
        "grpc.max_receive_message_length": -1,
        "grpc.max_connection_age_ms": 0,
    }
    assert limits(odd, max_threads=64) == plain
    assert limits({"grpc.max_connection_age_ms": 2**31 - 1}, max_threads=64).age is None
    assert limits({"grpc.keepalive_permit_without_calls": 1}, max_threads=64).idle_ping_interval == 300


def test_the_budget_is_a_quarter_of_some_memory_and_is_kept() -> None:
    budget = request_budget()
    assert budget.limit > 1 << 20
    assert budget.take(budget.limit)
    assert not budget.take(1)
    budget.give(budget.limit)
    assert budget.take(1)
