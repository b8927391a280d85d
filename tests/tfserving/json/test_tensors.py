"""JSON values to tensors: element types, shapes, and the messages of what does not fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving.json.reader import read_object
from tfserving.json.tensors import from_inputs, from_instances
from tfserving.wire.status import Code, StatusError
from tfserving.wire.tensors import BY_NAME, Array


def rows(text: str, **dtypes: str) -> dict[str, Array]:
    """The arrays of a row request whose `instances` are this JSON text."""
    inputs = {name: BY_NAME[dtype] for name, dtype in dtypes.items()}
    instances = read_object(f'{{"v":{text}}}'.encode("utf-8", "surrogateescape"))["v"]
    assert isinstance(instances, list)
    return {name: t.array for name, t in from_instances(instances, inputs).items()}


def columns(text: str, **dtypes: str) -> dict[str, Array]:
    """The arrays of a columnar request whose `inputs` are this JSON text."""
    inputs = {name: BY_NAME[dtype] for name, dtype in dtypes.items()}
    return {name: t.array for name, t in from_inputs(read_object(f'{{"v":{text}}}'.encode())["v"], inputs).items()}


@pytest.mark.parametrize(
    ("dtype", "text", "expected"),
    [
        ("float", "[1, 2.5, 1e2]", [1, 2.5, 100]),
        ("float", "[1e39, -1e39]", [np.inf, -np.inf]),
        ("float", "[1e-40]", [0]),
        ("float", "[NaN, Infinity]", [np.nan, np.inf]),
        ("double", "[1e39, 123456789012345678901234567890]", [1e39, 123456789012345678901234567890.0]),
        ("int32", "[-2147483648, 2147483647]", [-(2**31), 2**31 - 1]),
        ("uint8", "[255, 300, -1]", [255, 44, 255]),
        ("int8", "[128, -129]", [-128, 127]),
        ("int16", "[40000]", [-25536]),
        ("int64", "[-9223372036854775808]", [-(2**63)]),
        ("uint32", "[4294967295]", [2**32 - 1]),
        ("uint64", "[18446744073709551615]", [2**64 - 1]),
        ("bool", "[true, false]", [True, False]),
        ("string", '["a", "é", {"b64":"/w"}]', [b"a", "é".encode(), b"\xff"]),
    ],
)
@pytest.mark.parametrize("read", [rows, columns])
def test_accepted_values(
    read: Callable[..., dict[str, Array]], dtype: str, text: str, expected: list[float] | list[bytes]
) -> None:
    array = read(text, x=dtype)["x"]
    assert array.dtype == BY_NAME[dtype].storage
    np.testing.assert_array_equal(array, np.array(expected, BY_NAME[dtype].storage))


@pytest.mark.parametrize(
    ("dtype", "value", "kind"),
    [
        ("float", '"1.0"', "String"),
        ("float", "true", "True"),
        ("float", "null", "Null"),
        ("double", "false", "False"),
        ("int32", "1.0", "Number"),
        ("int32", "2147483648", "Number"),
        ("int8", "-2147483649", "Number"),
        ("uint8", "true", "True"),
        ("int64", "9223372036854775808", "Number"),
        ("uint32", "-1", "Number"),
        ("uint32", "4294967296", "Number"),
        ("uint64", "-1", "Number"),
        ("bool", "1", "Number"),
        ("string", "5", "Number"),
        ("string", "null", "Null"),
    ],
)
def test_refused_values(dtype: str, value: str, kind: str) -> None:
    text = f"JSON Value: {value} Type: {kind} is not of expected type: {dtype}"
    with pytest.raises(StatusError) as error:
        columns(f"[{value}]", x=dtype)
    assert (error.value.code, error.value.message) == (Code.INVALID_ARGUMENT, text)
    with pytest.raises(StatusError) as error:
        rows(f"[{value}]", x=dtype)
    assert error.value.message == (f"Failed to process element: 0 of 'instances' list. Error: INVALID_ARGUMENT: {text}")


def test_a_nul_ends_a_name() -> None:
    assert rows('[{"x\\u0000y":1},{"x":2}]', x="float")["x"].tolist() == [1, 2]
    with pytest.raises(StatusError, match=r"0 key: y of 'instances' list.* does not have named input: y$"):
        rows('[{"y\\u0000z":3}]', x="float")


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "uint16", "complex64", "qint8", "int4"])
def test_types_without_json_form(dtype: str) -> None:
    with pytest.raises(StatusError) as error:
        columns("[1]", x=dtype)
    assert (error.value.code, error.value.message) == (
        Code.UNIMPLEMENTED,
        f"Conversion of JSON Value: 1 to type: {dtype}",
    )
    with pytest.raises(StatusError, match="Error: UNIMPLEMENTED: Conversion") as error:
        rows("[1]", x=dtype)
    assert error.value.code is Code.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[1],[1,2]]", "1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting tensor size: 1 but got: 2"),
        ("[[1],[[2]]]", "1 of 'instances' list. Error: INVALID_ARGUMENT: Expecting shape [1] but got: [1,1]"),
        ("[1,{}]", "Expecting value/list but got object at item 1 of input list"),
        ('[{"x":1},[1]]', "Expecting object but got list at item 1 of input list"),
        ('[{"x":1},{}]', "1 of 'instances' list. JSON object: {} keys must be equal to: x"),
        (
            '[{"y":1}]',
            "0 key: y of 'instances' list. Error: INVALID_ARGUMENT: JSON object: does not have named input: y",
        ),
    ],
)
def test_rows_that_do_not_agree(text: str, message: str) -> None:
    with pytest.raises(StatusError) as error:
        rows(text, x="float")
    assert error.value.message.removeprefix("Failed to process element: ") == message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[1],[2,3]]", "Encountered list at unexpected size: 2 at level: 1 expected size: 1"),
        ("[[1,2],[[3],[4]]]", "Encountered list at unexpected level: 2 expected < 2"),
        ("[[1.0],2.0]", "JSON Value: 2.0 found at incorrect level: 2 in the JSON DOM. Expected at level: 2"),
        ('{"y":1}', "Missing named input: x in 'inputs' object."),
    ],
)
def test_ragged_columns(text: str, message: str) -> None:
    with pytest.raises(StatusError) as error:
        columns(text, x="float")
    assert error.value.message == message


def test_several_inputs() -> None:
    arrays = rows('[{"a":[1,2],"b":"p"},{"b":"q","a":[3,4]}]', a="float", b="string")
    assert arrays["a"].tolist() == [[1, 2], [3, 4]]
    assert arrays["b"].tolist() == [b"p", b"q"]
    with pytest.raises(StatusError, match="instances is a plain list, but expecting list of objects"):
        rows("[1]", a="float", b="string")
    with pytest.raises(StatusError, match="inputs is a plain value/list, but expecting an object"):
        columns("[1]", a="float", b="string")
    with pytest.raises(StatusError, match=r"JSON object: \{\n    \"a\": 1\n\} keys must be equal to: a,b"):
        rows('[{"a":1}]', a="float", b="string")


def test_one_input_by_name_or_bare() -> None:
    assert rows('[{"x":1},{"x":2}]', x="float")["x"].tolist() == [1, 2]
    assert columns('{"x":5}', x="float")["x"].tolist() == 5
    assert columns('{"b64":"aGk="}', x="string")["x"].tolist() == b"hi"
    assert columns("[]", x="float")["x"].shape == (0,)
    assert rows("[[],[]]", x="float")["x"].shape == (2, 0)


@pytest.mark.parametrize("text", ["aGk=", "aGk", "aGk=\\n", " aGk= ", "a\\tGk .", "\\u0061Gk"])
def test_base64_padding_and_blanks_are_optional(text: str) -> None:
    assert rows(f'[{{"b64":"{text}"}}]', x="string")["x"].tolist() == [b"hi"]


@pytest.mark.parametrize("text", ["%%%", "a", "_-8=", "aGk==", "aGVs=", "=", "aG=k", "aG\u00a0k=", "a\\u0000Gk"])
def test_bad_base64(text: str) -> None:
    with pytest.raises(StatusError, match="Unable to base64 decode"):
        columns(f'{{"b64":"{text}"}}', x="string")


def test_a_repeated_key_in_a_row_keeps_the_first_values() -> None:
    assert rows('[{"x":1,"x":2}]', x="float")["x"].tolist() == [1]
    # All values are kept in their order, and those beyond the shape are dropped: here the last row's.
    assert rows('[{"x":1},{"x":2,"x":3},{"x":4}]', x="float")["x"].tolist() == [1, 2, 3]


def test_bytes_for_an_input_that_is_itself_named_b64() -> None:
    assert rows('[{"b64":"aGk="}]', b64="string")["b64"].tolist() == [b"hi"]


def test_more_dimensions_than_a_tensor_can_have() -> None:
    assert columns("[" * 20 + "1" + "]" * 20, x="float")["x"].ndim == 20
    with pytest.raises(StatusError, match="tensor parsing error: x"):
        columns("[" * 300 + "1" + "]" * 300, x="float")


@given(
    st.lists(st.lists(st.integers(-100, 100), min_size=3, max_size=3), min_size=1), st.sampled_from(["float", "int64"])
)
def test_reading_in_bulk_and_one_by_one_agree(matrix: list[list[int]], dtype: str) -> None:
    bare = rows(str(matrix), x=dtype)["x"]
    # The repeated key sends every row through the careful path.
    named = rows("[" + ",".join(f'{{"x":{row},"x":{row}}}' for row in matrix) + "]", x=dtype)["x"]
    assert bare.tolist() == matrix
    assert named.shape == bare.shape
