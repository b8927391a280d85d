"""Requests that no client means to send, against real models: every one gets an error text, and the server lives."""

import json
import random
from http.client import HTTPConnection
from pathlib import Path

import grpc
import pytest
from google.protobuf.message import Message
from model_server_process import ModelServerProcess, Start

from tfserving.wire import messages_pb2 as m
from tfserving.wire.methods import CLASSIFY, GET_MODEL_METADATA, GET_MODEL_STATUS, MULTI_INFERENCE, PREDICT

REQUESTS = 1500
BODIES = [
    b'{"instances":[2.0, 4]}',
    b'{"inputs":{"x":[[1,2],[3,4]]}}',
    b'{"signature_name":"classify","examples":[{"x":2.0},{"x":[1.5],"other":["a",{"b64":"AA=="}]}]}',
    b'{"signature_name":"classify","context":{"x":1.0},"examples":[{}]}',
    b'{"instances":["home",{"b64":"Y2Fy"},"\xc3\xa9"]}',
    b'{"instances":[[1,2,3,4],[5,6,7,8]]}',
    b'{"signature_name":"serving_default","instances":[{"x":NaN}]}',
]
PATHS = [
    "/v1/models/scale:predict",
    "/v1/models/words:predict",
    "/v1/models/keras:predict",
    "/v1/models/scale:classify",
]
PIECES = [b"[", b"]", b"{", b"}", b'"', b",", b":", b"-", b"0", b"e5", b" ", b"\\u", b"\xff", b"\x00", b"[]", b"{}"]
PIECES += [b"null", b"true", b"NaN", b"Infinity", b"1e999", b"1.5", b"9" * 20, b"\\ud800", b'{"b64":"AA=="}']
PIECES += [b'"instances"', b'"inputs"', b'"examples"', b'"signature_name"', b'"context"', b"[" * 100, b'{"a":' * 100]


@pytest.fixture(scope="module")
def server(start: Start, models: Path, tmp_path_factory: pytest.TempPathFactory) -> ModelServerProcess:
    file = tmp_path_factory.mktemp("config") / "models.config"
    one = 'config {{ name: "{0}" base_path: "{1}/{0}" model_platform: "tensorflow" }}'
    file.write_text(f"model_config_list {{ {' '.join(one.format(n, models) for n in ('scale', 'words', 'keras'))} }}")
    return start(f"--model_config_file={file}")


def damaged(rng: random.Random, whole: bytes) -> bytes:
    """The same bytes after some damage."""
    data = bytearray(whole)
    for _ in range(rng.randint(1, 5)):
        at, chance = rng.randint(0, len(data)), rng.random()
        if chance < 0.3 and data:
            data[rng.randrange(len(data))] = rng.randrange(256)
        elif chance < 0.5:
            del data[at : at + rng.randint(1, 8)]
        elif chance < 0.8:
            data[at:at] = rng.choice(PIECES)
        else:
            data[at:at] = data[rng.randint(0, len(data)) :][:40]
    return bytes(data)


@pytest.mark.parametrize("seed", [1, 2])
def test_any_body_gets_a_response_in_words(server: ModelServerProcess, seed: int) -> None:
    rng = random.Random(seed)
    connection = HTTPConnection("127.0.0.1", server.rest_port, timeout=60)
    for _ in range(REQUESTS):
        path, body = rng.choice(PATHS), damaged(rng, rng.choice(BODIES))
        connection.request("POST", path, body)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status in (200, 400, 404, 501), (path, body, text)
        if answer.status != 200:
            assert json.loads(text.decode("utf-8", "replace"), strict=False)["error"], (path, body)
    connection.close()
    assert server.process.poll() is None


def any_tensor(rng: random.Random) -> m.TensorProto:
    tensor = m.TensorProto(dtype=rng.choice([1, 1, 1, 7, 7, *range(34), 101, -1]))
    for _ in range(rng.choice([0, 1, 1, 1, 2, 2, 3, 64, 65, 254, 255])):
        tensor.tensor_shape.dim.add(size=rng.choice([0, 1, 1, 1, 1, 2, 4, -1, 1 << 40, (1 << 63) - 1]))
    tensor.tensor_shape.unknown_rank = rng.random() < 0.1
    if rng.random() < 0.3:
        tensor.tensor_content = rng.randbytes(rng.choice([0, 1, 4, 8, 16]))
    count = rng.randint(0, 4)
    for field, value in (
        ("float_val", 1.5), ("double_val", 1e300), ("int_val", -(1 << 31)), ("string_val", b"\xff"), ("bool_val", True),
        ("int64_val", 1 << 62), ("half_val", 70000), ("scomplex_val", 1.0), ("dcomplex_val", 1.0), ("uint64_val", 1),
    ):  # fmt: skip
        if rng.random() < 0.4:
            getattr(tensor, field).extend([value] * count)
    return tensor


def any_examples(rng: random.Random) -> m.Input:
    examples: list[m.Example] = []
    for _ in range(rng.randint(0, 3)):
        example = m.Example()
        for name in rng.sample(["x", "other", ""], rng.randint(0, 3)):
            feature = example.features.feature[name]
            kind = rng.randrange(4)
            if kind == 0:
                feature.float_list.value.extend([1.0] * rng.randint(0, 2))
            elif kind == 1:
                feature.int64_list.value.append(1)
            elif kind == 2:
                feature.bytes_list.value.append(b"\xff")
        examples.append(example)
    return m.Input(example_list=m.ExampleList(examples=examples)) if rng.random() < 0.9 else m.Input()


def any_call(rng: random.Random) -> tuple[str, Message]:
    """A path and a request, right in many ways and wrong in some."""
    name = rng.choice(["scale", "words", "keras", "none", ""])
    spec = m.ModelSpec(name=name, signature_name=rng.choice(["", "classify", "serving_default", "none", "é"]))
    if rng.random() < 0.2:
        spec.version.value = rng.choice([0, 1, -1, (1 << 63) - 1])
    elif rng.random() < 0.1:
        spec.version_label = rng.choice(["", "stable"])
    kind = rng.randrange(8)
    if kind == 0:
        return CLASSIFY.path, m.ClassificationRequest(model_spec=spec, input=any_examples(rng))
    if kind == 1:
        tasks = [
            m.InferenceTask(
                model_spec=spec, method_name=f"tensorflow/serving/{rng.choice(['classify', 'regress', ''])}"
            )
        ]
        return MULTI_INFERENCE.path, m.MultiInferenceRequest(tasks=tasks * rng.randint(0, 2), input=any_examples(rng))
    if kind == 2:
        fields = rng.choice([[], ["signature_def"], ["none"]])
        return GET_MODEL_METADATA.path, m.GetModelMetadataRequest(model_spec=spec, metadata_field=fields)
    if kind == 3:
        return GET_MODEL_STATUS.path, m.GetModelStatusRequest(model_spec=spec)
    request = m.PredictRequest(model_spec=spec, output_filter=rng.choice([[], [], [], ["y"], ["none"], ["y", "y"]]))
    for alias in rng.choice([["x"], ["word"], ["keras_tensor"], [], ["x", "word"], [""]]):
        request.inputs[alias].CopyFrom(any_tensor(rng))
    return PREDICT.path, request


UNWANTED = {"UNKNOWN", "UNAVAILABLE", "DEADLINE_EXCEEDED", "CANCELLED", "DATA_LOSS"}


@pytest.mark.parametrize("seed", [1, 2])
def test_any_call_gets_a_response_in_words(server: ModelServerProcess, seed: int) -> None:
    rng = random.Random(seed)
    with grpc.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        for number in range(REQUESTS):
            path, request = any_call(rng)
            wire = request.SerializeToString()
            if number % 10 == 0:
                wire = damaged(rng, wire)
            try:
                channel.unary_unary(path)(wire, timeout=60)
            except grpc.RpcError as error:
                code, text = error.code().name, error.details()
                assert code not in UNWANTED, (path, request, code, text)
                assert bool(text) != (code == "INTERNAL"), (path, request, code, text)  # undecodable: no text
    assert server.process.poll() is None
