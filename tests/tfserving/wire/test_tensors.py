"""The tensor codec on its own: the parse rules of a real server, without tensorflow."""

from __future__ import annotations

import numpy as np
import pytest

from tfserving.wire.messages_pb2 import DT_FLOAT, DT_INVALID, DT_RESOURCE, TensorProto, TensorShapeProto
from tfserving.wire.tensors import (
    BY_NAME,
    DTYPES,
    MOST_FILLED,
    Array,
    DType,
    TensorError,
    dtype_of,
    to_array,
    to_bytes,
    to_proto,
    to_typed_bytes,
)


def sample(dtype: DType) -> Array:
    """Eight elements of a type, the extremes among them."""
    storage = dtype.storage
    if dtype.name == "string":
        return np.array([[b"", b"\x00\xff", b"x" * 300, "ü".encode()]] * 2, object)
    if dtype.name in ("int4", "uint4", "int2", "uint2"):
        low, high = {"int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3)}[dtype.name]
        return np.array([[low, high, 0, 1], [1, 0, high, low]], storage)
    if storage.kind in "iu":
        info = np.iinfo(storage)
        return np.array([[info.min, info.max, 0, 1], [2, 3, 4, 5]], storage)
    if storage.kind == "b":
        return np.array([[True, False, True, True], [False] * 4])
    values = np.array([[0.0, -0.0, 1.5, -2.25], [np.inf, -np.inf, 1e-40, 3e4]], np.float64)
    with np.errstate(over="ignore"):
        return values.astype(storage) if storage.kind == "f" else (values + 1j).astype(storage)


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=lambda d: d.name)
@pytest.mark.parametrize("typed", [False, True], ids=["content", "typed"])
def test_every_type_survives_in_both_forms(dtype: DType, typed: bool) -> None:
    array = sample(dtype)
    proto = to_proto(array, typed=typed, dtype=dtype)
    assert proto.dtype == dtype.number
    assert bool(proto.tensor_content) == (not typed and dtype.name != "string")
    back = to_array(TensorProto.FromString(proto.SerializeToString()))
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes() if dtype.name != "string" else back.tolist() == array.tolist()


@pytest.mark.parametrize("shape", [(), (0,), (3, 0, 2), (1, 1, 1, 1)])
def test_every_shape_survives(shape: tuple[int, ...]) -> None:
    for array in (np.ones(shape, np.float32), np.full(shape, b"x", object)):
        for typed in (False, True):
            back = to_array(to_proto(array, typed=typed))
            assert back.shape == shape
            assert (back == array).all()


def proto_of(name: str, shape: list[int], **fields: object) -> TensorProto:
    dims = TensorShapeProto(dim=[TensorShapeProto.Dim(size=n) for n in shape])
    return TensorProto(dtype=BY_NAME[name].number, tensor_shape=dims, **fields)  # type: ignore[arg-type]  # a field of each type


def test_missing_values_repeat_the_last_and_surplus_ones_are_dropped() -> None:
    assert to_array(proto_of("float", [4], float_val=[1, 2])).tolist() == [1, 2, 2, 2]
    assert to_array(proto_of("int64", [2], int64_val=[1, 2, 3])).tolist() == [1, 2]
    assert to_array(proto_of("double", [2, 2])).tolist() == [[0, 0], [0, 0]]
    assert to_array(proto_of("bool", [2])).tolist() == [False, False]
    assert to_array(proto_of("string", [3], string_val=[b"a", b"b"])).tolist() == [b"a", b"b", b"b"]
    assert to_array(proto_of("string", [1])).tolist() == [b""]
    assert to_array(TensorProto(dtype=DT_FLOAT, float_val=[7, 8])).tolist() == 7


def test_narrow_integers_keep_their_low_bits() -> None:
    assert to_array(proto_of("uint8", [2], int_val=[300, -1])).tolist() == [44, 255]
    assert to_array(proto_of("int8", [1], int_val=[200])).tolist() == [-56]
    assert to_array(proto_of("uint16", [1], int_val=[65537])).tolist() == [1]
    assert to_array(proto_of("half", [1], half_val=[0x13C00])).tolist() == [1.0]


def test_an_odd_complex_part_is_dropped_and_the_last_pair_repeats() -> None:
    assert to_array(proto_of("complex64", [3], scomplex_val=[1, 2, 9])).tolist() == [1 + 2j] * 3
    assert to_array(proto_of("complex128", [2], dcomplex_val=[5])).tolist() == [0, 0]


@pytest.mark.parametrize("name", ["float", "bool", "string"])
def test_the_content_of_a_tensor_without_elements_is_not_looked_at(name: str) -> None:
    assert to_array(proto_of(name, [2, 0], tensor_content=b"\x02\xff\xff")).shape == (2, 0)


def test_content_wins_over_typed_values() -> None:
    content = np.array([3.0], "<f4").tobytes()
    assert to_array(proto_of("float", [1], tensor_content=content, float_val=[9])).tolist() == [3.0]


@pytest.mark.parametrize(
    "proto",
    [
        TensorProto(dtype=DT_INVALID),
        TensorProto(dtype=DT_RESOURCE),
        TensorProto.FromString(b"\x08\x65"),  # DT_FLOAT_REF, which has no name here
        proto_of("float", [-1], float_val=[1]),
        proto_of("float", [2], tensor_content=b"\0" * 7),
        proto_of("bool", [2], tensor_content=b"\1\2"),
        proto_of("string", [2], tensor_content=b"\1\1ab!"),
        proto_of("string", [2], tensor_content=b"\xff"),
        proto_of("float", [1] * 255, float_val=[1]),
        proto_of("float", [2**31, 2**31, 2**31], float_val=[1]),
        proto_of("double", [2**33], double_val=[1]),
    ],
    ids=[
        "type-0",
        "resource",
        "ref",
        "open",
        "short-content",
        "odd-bool",
        "long-strings",
        "cut-strings",
        "rank-255",
        "overflow",
        "huge",
    ],
)
def test_what_a_real_server_cannot_parse_is_an_error(proto: TensorProto) -> None:
    with pytest.raises(TensorError):
        to_array(proto)


def test_more_dimensions_than_numpy_holds_are_a_typed_error() -> None:
    assert to_array(proto_of("float", [1] * 32, float_val=[1])).shape == (1,) * 32
    for fields in ({"float_val": [1]}, {"tensor_content": b"\0" * 4}):
        with pytest.raises(TensorError, match="254 dimensions are more than numpy holds"):
            to_array(proto_of("float", [1] * 254, **fields))


def test_arrays_of_every_make_travel() -> None:
    for array in (np.arange(6).reshape(2, 3).T, np.arange(6)[::2], np.arange(3, dtype=">i4"), np.array(["a", "ü"])):
        back = to_array(to_proto(array))
        assert back.shape == array.shape
    assert to_array(to_proto(np.array(["ü"]))).tolist() == ["ü".encode()]
    assert to_array(to_proto(np.arange(3, dtype=">i4"))).tolist() == [0, 1, 2]


def test_arrays_without_counterpart_are_refused() -> None:
    for array in (np.array(["2020-01-01"], "datetime64[D]"), np.array([None], object), np.array([1, "a"], object)):
        with pytest.raises(TensorError):
            to_proto(array)
    assert dtype_of(np.zeros(1, np.float16)).name == "half"


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=lambda d: d.name)
@pytest.mark.parametrize("shape", [(2, 4), (8,), (2, 2, 2)])
def test_bytes_without_the_message_are_the_messages_bytes(dtype: DType, shape: tuple[int, ...]) -> None:
    array = sample(dtype).reshape(shape)
    assert to_bytes(array) == to_proto(array).SerializeToString()


@pytest.mark.parametrize("shape", [(), (0,), (0, 3), (1, 200), (300, 100)])
def test_bytes_of_any_shape_and_size(shape: tuple[int, ...]) -> None:
    array = np.ones(shape, np.float32)
    for same in (array, array.astype(">f4"), array.T):
        assert to_bytes(same) == to_proto(same).SerializeToString()


@pytest.mark.parametrize("array", [np.float32(3), np.arange(6, dtype=np.float64).reshape(2, 3), np.zeros((0, 4), "f4")])
def test_typed_responses_are_what_the_message_would_be(array: Array | np.float32) -> None:
    array = np.asarray(array)
    dtype = dtype_of(array)
    sent = TensorProto.FromString(to_typed_bytes(array, dtype, array.shape))
    expected = to_proto(array, typed=True, dtype=dtype)
    expected.tensor_shape.SetInParent()
    assert sent == expected


def test_a_few_values_do_not_become_a_tensor_of_gigabytes() -> None:
    proto = TensorProto(dtype=DT_FLOAT, float_val=[1.0])
    proto.tensor_shape.dim.add(size=MOST_FILLED)
    assert to_array(proto).size == MOST_FILLED
    proto.tensor_shape.dim[0].size += 1
    with pytest.raises(TensorError, match="so many are not allocated"):
        to_array(proto)
