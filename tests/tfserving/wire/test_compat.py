"""Our messages and tensors against the public classes of tensorflow and tensorflow-serving-api."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from paths import SUPPORT

from tfserving.config import All, Latest, ModelConfig, ModelServerConfig, Specific
from tfserving.wire import messages_pb2 as m
from tfserving.wire.tensors import BY_NAME, DTYPES, Array, TensorError, to_array, to_proto

if TYPE_CHECKING:
    from google._upb._message import FieldDescriptor as FieldOfC

    Field = FieldDescriptor | FieldOfC

Ask = Callable[[dict[str, Any]], Any]

pytest.importorskip("tensorflow_serving", reason="the public classes come with the test group: tensorflow-serving-api")

MESSAGES = [
    "TensorProto",
    "TensorShapeProto",
    "Example",
    "Input",
    "ModelSpec",
    "PredictRequest",
    "PredictResponse",
    "ClassificationRequest",
    "ClassificationResponse",
    "RegressionRequest",
    "RegressionResponse",
    "MultiInferenceRequest",
    "MultiInferenceResponse",
    "SignatureDef",
    "SignatureDefMap",
    "TensorInfo",
    "GetModelMetadataRequest",
    "GetModelMetadataResponse",
    "StatusProto",
    "GetModelStatusRequest",
    "GetModelStatusResponse",
    "ModelServerConfig",
    "ModelConfig",
    "ReloadConfigRequest",
    "ReloadConfigResponse",
    "PredictionLog",
    "MetaGraphDef",
    "SavedModel",
    "ConfigProto",
    "RunOptions",
]

KEPT_AS_BYTES = frozenset(
    [
        "TensorInfo.coo_sparse",
        "TensorInfo.composite_tensor",
        "PredictionLog.log_metadata",
        "PredictionLog.session_run_log",
        "PredictionLog.predict_streamed_log",
    ]
)
"""Messages that nothing of ours reads and that are bytes here: the same on the wire."""

OTHER_TYPE = KEPT_AS_BYTES | {"StatusProto.error_code"}
"""`error_code` is an enum there and a number here: a varint both."""


@pytest.fixture(scope="module")
def ask() -> Iterator[Ask]:
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    command = [sys.executable, str(SUPPORT / "peer.py")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as process:
        to_peer, from_peer = process.stdin, process.stdout
        assert to_peer
        assert from_peer

        def question(content: dict[str, Any]) -> Any:
            to_peer.write(json.dumps(content) + "\n")
            to_peer.flush()
            return json.loads(from_peer.readline())

        yield question
        to_peer.close()
        assert process.wait(30) == 0


def fill(message: Message, draw: random.Random, depth: int = 0) -> None:
    """Set about half of all fields, and few below the third level, to random values."""
    for field in message.DESCRIPTOR.fields:
        if f"{message.DESCRIPTOR.name}.{field.name}" in KEPT_AS_BYTES or draw.random() > (0.6 if depth < 3 else 0.25):
            continue
        if field.message_type and field.message_type.GetOptions().map_entry:
            fill_map(message, field, draw, depth)
        elif field.is_repeated:
            for _ in range(draw.randint(1, 3)):
                if field.message_type:
                    fill(getattr(message, field.name).add(), draw, depth + 1)
                else:
                    getattr(message, field.name).append(scalar(field, draw))
        elif field.message_type:
            getattr(message, field.name).SetInParent()
            fill(getattr(message, field.name), draw, depth + 1)
        else:
            setattr(message, field.name, scalar(field, draw))


def fill_map(message: Message, field: Field, draw: random.Random, depth: int) -> None:
    assert field.message_type is not None
    key, value = field.message_type.fields
    for _ in range(draw.randint(1, 3)):
        if value.message_type:
            fill(getattr(message, field.name)[scalar(key, draw)], draw, depth + 1)
        else:
            getattr(message, field.name)[scalar(key, draw)] = scalar(value, draw)


def scalar(field: Field, draw: random.Random) -> Any:
    kinds = FieldDescriptor
    if field.enum_type:
        return draw.choice([value.number for value in field.enum_type.values])
    if field.name == "error_code":
        return draw.randint(1, 16)
    of_type: dict[int, Callable[[], object]] = {
        kinds.TYPE_STRING: lambda: draw.choice(["a", "stable", "größe", "x" * 200]),
        kinds.TYPE_BYTES: lambda: draw.choice([b"ascii", b"text"]),
        kinds.TYPE_BOOL: lambda: True,
        kinds.TYPE_FLOAT: lambda: draw.choice([0.5, -1.25, 3e38]),
        kinds.TYPE_DOUBLE: lambda: draw.uniform(-1e300, 1e300),
        kinds.TYPE_INT32: lambda: draw.randint(-(2**31), 2**31 - 1),
        kinds.TYPE_INT64: lambda: draw.randint(-(2**63), 2**63 - 1),
        kinds.TYPE_UINT32: lambda: draw.randint(0, 2**32 - 1),
        kinds.TYPE_UINT64: lambda: draw.randint(0, 2**64 - 1),
    }
    return of_type[field.type]()


def test_every_field_of_ours_is_one_of_theirs(ask: Ask) -> None:
    public = ask({"fields": MESSAGES})
    for name in MESSAGES:
        for field in getattr(m, name).DESCRIPTOR.fields:
            theirs_name, theirs_type, repeated = public[name][str(field.number)]
            assert (theirs_name, repeated) == (field.name, field.is_repeated), f"{name}.{field.name}"
            if f"{name}.{field.name}" not in OTHER_TYPE:
                assert theirs_type == field.type, f"{name}.{field.name}"


@pytest.mark.parametrize("name", MESSAGES)
def test_random_messages_parse_there_and_come_back_the_same(ask: Ask, name: str) -> None:
    draw = random.Random(name)
    for _ in range(20):
        ours = getattr(m, name)()
        fill(ours, draw)
        wire = ours.SerializeToString(deterministic=True)
        back = bytes.fromhex(ask({"type": name, "hex": wire.hex()})["hex"])
        assert back == wire
        assert getattr(m, name).FromString(back) == ours


def test_our_model_config_file_says_there_what_it_says_here(ask: Ask) -> None:
    models = (
        ModelConfig(name="a", base_path="/m/a", policy=Specific(versions=(1, 2)), labels={"stable": 1, "canary": 2}),
        ModelConfig(name="b", base_path='/m/"b"\n', policy=Latest(num_versions=2)),
        ModelConfig(name="größe", base_path="gs://bucket/c", policy=All()),
    )
    config = ModelServerConfig(models=models)
    theirs = bytes.fromhex(ask({"type": "ModelServerConfig", "text": config.to_text()})["hex"])
    assert m.ModelServerConfig.FromString(theirs) == config.to_message()


def peer_array(reply: dict[str, Any], dtype: Any) -> Array:
    if "strings" in reply:
        out = np.empty(len(reply["strings"]), object)
        out[:] = [bytes.fromhex(v) for v in reply["strings"]]
        return out.reshape(reply["shape"])
    return np.frombuffer(bytes.fromhex(reply["hex"]), dtype.storage).reshape(reply["shape"])


def same(one: Array, other: Array) -> bool:
    if one.dtype == object:
        return one.shape == other.shape and one.tolist() == other.tolist()
    return one.shape == other.shape and one.tobytes() == other.tobytes()


def sample(name: str) -> Array:
    dtype = BY_NAME[name]
    if name == "string":
        return np.array([b"", b"\x00\xff", b"y" * 200, b"z"], object).reshape(2, 2)
    if name == "bool":
        return np.array([[True, False], [False, True]])
    bits = {"int4": 4, "uint4": 4, "int2": 2, "uint2": 2}.get(name)
    if bits:
        low = -(1 << (bits - 1)) if name.startswith("i") else 0
        return np.array([[low, low + (1 << bits) - 1], [0, 1]], dtype.storage)
    raw = np.random.default_rng(3).integers(0, 100, 4 * dtype.storage.itemsize, np.uint8)
    return raw.view(dtype.storage).reshape(2, 2)


ARITHMETIC = [
    "float",
    "double",
    "int32",
    "uint8",
    "int16",
    "int8",
    "complex64",
    "int64",
    "bool",
    "bfloat16",
    "uint16",
    "complex128",
    "half",
    "uint32",
    "uint64",
]
QUANTIZED = ["qint8", "quint8", "qint32", "qint16", "quint16"]
SMALL = ["float8_e5m2", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e4m3b11fnuz", "float8_e5m2fnuz", "int4", "uint4"]


@pytest.mark.parametrize("typed", [False, True], ids=["content", "typed"])
@pytest.mark.parametrize("name", [*ARITHMETIC, *QUANTIZED, *SMALL, "string"])
def test_tensorflow_reads_every_type_that_we_write(ask: Ask, name: str, typed: bool) -> None:
    dtype, array = BY_NAME[name], sample(name)
    proto = to_proto(array, typed=typed, dtype=dtype).SerializeToString()
    reply = ask({"parse": proto.hex(), "dtype": dtype.number})
    assert same(peer_array(reply, dtype), array)
    if name in (*ARITHMETIC, "string"):
        assert same(peer_array(ask({"ndarray": proto.hex()}), dtype), array)


@pytest.mark.parametrize("name", [*ARITHMETIC, "string"])
def test_we_read_every_type_that_tensorflow_writes(ask: Ask, name: str) -> None:
    dtype, array = BY_NAME[name], sample(name)
    content = (
        {"strings": [v.hex() for v in array.ravel().tolist()]} if name == "string" else {"hex": array.tobytes().hex()}
    )
    made = bytes.fromhex(ask({"make": dtype.number, "shape": array.shape, **content})["hex"])
    assert same(to_array(m.TensorProto.FromString(made)), array)


def test_short_surplus_and_wrapped_values_mean_what_tensorflow_says(ask: Ask) -> None:
    draw = random.Random(7)
    for number, dtype in DTYPES.items():
        if dtype.name not in (*ARITHMETIC, "string"):
            continue
        for count in (0, 1, 3, 4, 5, 9):
            proto = m.TensorProto(dtype=m.DataType.Name(number))
            proto.tensor_shape.dim.add().size = 4
            field = m.TensorProto.DESCRIPTOR.fields_by_name[dtype.field]
            values = [scalar(field, draw) for _ in range(count)]
            getattr(proto, dtype.field).extend(values)
            reply = ask({"parse": proto.SerializeToString().hex(), "dtype": number})
            assert same(to_array(proto), peer_array(reply, dtype)), (dtype.name, count, values)


@pytest.mark.parametrize(
    "proto",
    [
        m.TensorProto(dtype=m.DT_FLOAT, tensor_content=b"\0" * 3),
        m.TensorProto(dtype=m.DT_FLOAT, tensor_content=b"\0" * 8),
        m.TensorProto(dtype=m.DT_BOOL, tensor_content=b"\2"),
        m.TensorProto(dtype=m.DT_STRING, tensor_content=b"\5ab"),
        m.TensorProto(dtype=m.DT_INT32, tensor_shape=m.TensorShapeProto(dim=[m.TensorShapeProto.Dim(size=-1)])),
        m.TensorProto(dtype=m.DT_INT32, tensor_shape=m.TensorShapeProto(dim=[m.TensorShapeProto.Dim(size=1)] * 255)),
    ],
    ids=["short", "long", "bool", "string", "open", "rank"],
)
def test_both_refuse_the_same_tensors(ask: Ask, proto: m.TensorProto) -> None:
    assert "error" in ask({"parse": proto.SerializeToString().hex(), "dtype": int(proto.dtype)})
    with pytest.raises(TensorError):
        to_array(proto)
