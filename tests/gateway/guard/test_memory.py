"""The memory of all requests together is bounded: counted while bodies are read, and before they are decoded."""

from __future__ import annotations

import gzip
import json
import socket
import threading
from collections.abc import Iterator

import grpc
import numpy as np
import pytest
from eventually import eventually
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config

from gateway.errors import BodyTooLarge, Unavailable
from gateway.guard.memory import Memory, Share, memory_bytes
from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods
from tfserving.wire.tensors import to_proto

MIB = 1 << 20
RECORD = {"a": 1, "b": 2}


def test_what_is_held_is_given_back() -> None:
    memory = Memory(100, lambda: 0.5)
    with Share(memory) as one, Share(memory) as other:
        one.take(60)
        with pytest.raises(Unavailable) as refused:
            other.take(41)
        assert (refused.value.reason, refused.value.retry_after) == ("memory", 3)
        other.take(40)
        one.cut(10)
        assert (memory.held, one.size) == (50, 10)
        with pytest.raises(BodyTooLarge, match="memory_bytes"):
            one.take(91)
    assert memory.held == 0


def test_without_a_setting_there_is_memory_for_requests() -> None:
    assert memory_bytes(5 * MIB) == 5 * MIB
    assert memory_bytes(None) >= 32 * MIB


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """A gateway with 8 MiB for requests."""
    server = FakeModelServer()
    limits = {"memory_bytes": 8 * MIB, "max_body_bytes": 4 * MIB}
    gateway = GatewayProcess(
        tmp_path_factory.mktemp("memory"), config(server.address, limits=limits), "--drain-seconds=0", "--grpc-port=0"
    )
    yield gateway
    assert gateway.stop() == 0
    server.stop()


def held(gateway: GatewayProcess) -> float:
    return gateway.metric("gateway_request_memory_bytes")


NESTED = {
    "tensors": ("/v1/models/m:predict", b'{"instances":[' + b"[]," * 100_000 + b"[]]}"),
    "records": ("/v1/models/m:predict", b'{"records":[' + b"{}," * 100_000 + b"{}]}"),
    "examples": ("/v1/models/m:classify", b'{"examples":[' + b"{}," * 100_000 + b"{}]}"),
    "v2": ("/v2/models/m/infer", b'{"inputs":[' + b"[]," * 100_000 + b"[]]}"),
}


@pytest.mark.parametrize(("path", "body"), NESTED.values(), ids=NESTED)
def test_what_could_never_be_decoded_is_refused_before(small: GatewayProcess, path: str, body: bytes) -> None:
    answer = small.post(body, path=path)
    assert answer.status_code == 413
    assert "limits.memory_bytes" in answer.json()["error"]
    assert small.post(gzip.compress(body), path=path, content_encoding="gzip").status_code == 413
    assert held(small) == 0


def test_half_sent_bodies_hold_memory_and_others_are_told_to_come_again(small: GatewayProcess) -> None:
    host, port = small.url.removeprefix("http://").split(":")
    head = b"POST /v1/models/m:predict HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % (3 * MIB)
    with socket.create_connection((host, int(port)), timeout=10) as slow:
        slow.sendall(head + b" " * (3 * MIB - 1))
        eventually(lambda: held(small) > 5.9 * MIB, lambda: small.told("/metrics").text)
        refused = small.post({"instances": ["x" * 1_500_000]})
        assert (refused.status_code, int(refused.headers["retry-after"]) in range(1, 6)) == (503, True)
        assert "memory" in refused.json()["error"]
        assert small.metric('gateway_shed_total{reason="memory"}') >= 1
        assert small.post({"records": [RECORD]}).status_code == 200, "small requests fit beside it"
    eventually(lambda: held(small) == 0, lambda: small.told("/metrics").text)


def test_a_gzip_body_of_many_steps_is_read_whole(small: GatewayProcess) -> None:
    records = [{"a": index, "b": 0} for index in range(9000)]
    body = gzip.compress(json.dumps({"records": records}).encode() + b" " * MIB)
    answer = small.post(body, content_encoding="gzip")
    assert len(answer.json()["predictions"]) == 9000
    cut = small.post(body[:-20], content_encoding="gzip")
    assert (cut.status_code, "ends early" in cut.text) == (400, True)


def silent() -> Iterator[bytes]:
    """A client stream without a message that does not end either."""
    threading.Event().wait(20)
    yield b""


def test_calls_whose_message_does_not_come_lose_their_place_to_others(small: GatewayProcess) -> None:
    request = m.PredictRequest(model_spec=m.ModelSpec(name="m", signature_name="serving_default"))
    request.inputs["x"].CopyFrom(to_proto(np.array([[1, 2]], np.float32)))
    path = methods.PREDICT.path
    with grpc.insecure_channel(small.grpc) as channel:
        calls = channel.stream_unary(path)
        silent_ones = [calls.future(silent(), timeout=30) for _ in range(3)]
        answer = channel.unary_unary(path)(request.SerializeToString(), timeout=15)
        assert m.PredictResponse.FromString(answer).outputs
        eventually(lambda: any(call.done() for call in silent_ones), lambda: "nobody made room")
        made_room = next(call for call in silent_ones if call.done())
        assert made_room.code() == grpc.StatusCode.UNAVAILABLE
    eventually(lambda: held(small) == 0, lambda: small.told("/metrics").text)
