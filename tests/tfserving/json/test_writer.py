"""The text of predict answers: numbers, strings, layout, and the dumps in error messages."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import ArrayLike

from tfserving.json.values import JsonValue
from tfserving.json.writer import column_body, dump, error_body, row_body
from tfserving.wire.status import StatusError
from tfserving.wire.tensor import Tensor
from tfserving.wire.tensors import BY_NAME


def tensor(values: ArrayLike, dtype: str) -> Tensor:
    return Tensor(BY_NAME[dtype], np.array(values, BY_NAME[dtype].storage))


def items(values: Sequence[float], dtype: str = "float") -> list[str]:
    """The texts between the brackets of a row answer."""
    text = row_body({"y": tensor(values, dtype)}).decode()
    return text.removeprefix('{\n    "predictions": [').removesuffix("\n    ]\n}").split(", ")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.2, "0.2"),
        (1, "1.0"),
        (-0.0, "-0.0"),
        (999999, "999999.0"),
        (1e6, "1e+06"),
        (9000000, "9e+06"),
        (3e-05, "3e-05"),
        (12345678, "12345678.0"),
        (123456789, "123456792.0"),
        (2147483648, "2.14748365e+09"),
        (1 / 3, "0.333333343"),
        (math.nan, "NaN"),
        (math.inf, "Infinity"),
        (-math.inf, "-Infinity"),
    ],
)
def test_float_text(value: float, text: str) -> None:
    assert items([value]) == [text]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.1, "0.1"), (1234567, "1234567.0"), (1e6, "1e+06"), (2.718281828, "2.7182818279999998"), (1e300, "1e+300")],
)
def test_double_text(value: float, text: str) -> None:
    assert items([value], "double") == [text]


@given(st.lists(st.floats(width=32), min_size=1), st.sampled_from(["float", "double"]))
def test_numbers_come_back_as_they_were_and_stay_floats(values: list[float], dtype: str) -> None:
    storage = BY_NAME[dtype].storage
    texts = items(values, dtype)
    assert all("." in t or "e" in t or t.lstrip("-") in ("NaN", "Infinity") for t in texts)
    np.testing.assert_array_equal(np.array(list(map(float, texts)), storage), np.array(values, storage))


@given(st.lists(st.text()), st.sampled_from(["y", "y_bytes"]))
def test_strings_come_back_as_they_were(values: list[str], name: str) -> None:
    answer = json.loads(
        row_body({name: tensor([v.encode("utf-8", "surrogatepass") for v in values], "string")}).decode(
            "utf-8", "surrogatepass"
        )
    )["predictions"]
    if name == "y":
        assert answer == values
    else:
        assert [{"b64": base64.b64encode(v.encode("utf-8", "surrogatepass")).decode()} for v in values] == answer


def test_layout_of_rows() -> None:
    assert row_body({"y": tensor([[[1, 2], [3, 4]]], "int32")}) == (
        b'{\n    "predictions": [[[1, 2], [3, 4]]\n    ]\n}'
    )
    assert row_body({"y": tensor(np.zeros((2, 0)), "float")}) == b'{\n    "predictions": [[], []\n    ]\n}'
    assert row_body({"y": tensor([], "float")}) == b'{\n    "predictions": []\n}'
    two = row_body({"a": tensor([[1], [2]], "int64"), "t_bytes": tensor([b"x", b"\xff"], "string")}).decode()
    assert two == (
        '{\n    "predictions": [\n        {\n            "a": [1],\n            "t_bytes": {\n'
        '                "b64": "eA=="\n            }\n        },\n        {\n            "a": [2],\n'
        '            "t_bytes": {\n                "b64": "/w=="\n            }\n        }\n    ]\n}'
    )


def test_layout_of_columns() -> None:
    assert column_body({"y": tensor(3, "float")}) == b'{\n    "outputs": 3.0\n}'
    assert column_body({"y": tensor([[True], [False]], "bool")}) == (
        b'{\n    "outputs": [\n        [\n            true\n        ],\n'
        b"        [\n            false\n        ]\n    ]\n}"
    )
    assert column_body({"y": tensor(np.zeros((1, 0)), "float")}) == b'{\n    "outputs": [\n        []\n    ]\n}'
    assert json.loads(column_body({"a": tensor(1, "uint64"), "b": tensor([2], "int8")})) == {
        "outputs": {"a": 1, "b": [2]}
    }


def test_bytes_that_are_no_text_are_written_as_they_are() -> None:
    assert b'"\xff\\u0000\\n"' in row_body({"y": tensor([b"\xff\x00\n"], "string")})


@pytest.mark.parametrize("dtype", ["half", "bfloat16", "uint16", "complex64", "qint8"])
def test_types_without_json_form(dtype: str) -> None:
    with pytest.raises(StatusError, match=f"Failed to write JSON value for tensor type: {dtype}"):
        row_body({"y": tensor([1], dtype)})


def test_rows_need_a_common_number() -> None:
    with pytest.raises(StatusError, match="Tensor name: y has no shape information "):
        row_body({"y": tensor(1, "float")})
    with pytest.raises(StatusError, match="Tensor name: z has inconsistent batch size: 2 expecting: 1"):
        row_body({"y": tensor([1], "float"), "z": tensor([1, 2], "float")})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({}, "{}"),
        ({"a": 5, "b": [1, 2.0, []]}, '{\n    "a": 5,\n    "b": [1, 2.0, []]\n}'),
        ([{"a": None}], '[{\n        "a": null\n    }]'),
        (100.0, "100.0"),
        (1e21, "1e21"),
        (1.5e-7, "1.5e-7"),
        (0.00015, "0.00015"),
        (10**20, "100000000000000000000.0"),
        (2**64, "18446744073709552000.0"),
        (10**25, "1e25"),
        (-(10**19), "-10000000000000000000.0"),
        (0.30000000000000004, "0.30000000000000004"),
        (1e-6, "0.000001"),
        (-9.99e-7, "-9.99e-7"),
        (-0.0, "-0.0"),
        (3.141592653589793, "3.141592653589793"),
        (1.7976931348623157e308, "1.7976931348623157e308"),
        (-1.5e-300, "-1.5e-300"),
        (math.nan, ""),
        ([1, math.nan, 2], "[1, "),
        (["x" * 300, 1], '["' + "x" * 300 + '"'),
    ],
)
def test_dumps(value: JsonValue, text: str) -> None:
    assert dump(value) == text


def test_errors_are_json() -> None:
    assert json.loads(error_body('a "quoted"\n\tline \x01')) == {"error": 'a "quoted"\n\tline \x01'}
