"""The JSON dialect of a predict request: what is accepted, and the text and offset of what is not."""

from __future__ import annotations

import json
import math
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfserving.json.reader import read_object
from tfserving.json.values import JsonValue, members
from tfserving.wire.status import Code, StatusError

BOM = b"\xef\xbb\xbf"
"""A byte order mark is accepted, and only by the exact reader: with one in front that reader decides."""

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(min_value=-(1 << 80), max_value=1 << 80)
    | st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
objects = st.dictionaries(st.text(), values, max_size=4)


@given(objects, st.booleans(), st.sampled_from([None, 2]))
def test_valid_json_is_read_as_python_reads_it(
    value: dict[str, JsonValue], ascii_only: bool, indent: int | None
) -> None:
    body = json.dumps(value, ensure_ascii=ascii_only, indent=indent).encode("utf-8", "surrogatepass")
    if b"\\ud" in body.lower() or b"\xed" in body:
        return  # lone surrogates are an error of their own, see below
    assert read_object(body) == value
    assert read_object(BOM + body) == value


@given(objects, st.data())
def test_a_cut_document_is_refused_at_an_offset_inside_it(value: dict[str, JsonValue], data: st.DataObject) -> None:
    body = json.dumps(value).encode()
    end = data.draw(st.integers(min_value=1, max_value=len(body) - 1))
    with pytest.raises(StatusError, match=r"JSON Parse error: .* at offset: ") as error:
        read_object(body[:end])
    assert error.value.code is Code.INVALID_ARGUMENT
    assert 0 <= int(error.value.message.rsplit(" ", 1)[1]) <= end


@pytest.mark.parametrize(
    ("body", "text", "offset"),
    [
        (b"   ", "The document is empty.", 3),
        (b"]", "The document is empty.", 0),
        (b"[", "Invalid value.", 1),
        (b"{", "Missing a name for object member.", 1),
        (b'{"a":1,}', "Missing a name for object member.", 7),
        (b"{'a':1}", "Missing a name for object member.", 1),
        (b'{"a"', "Missing a colon after a name of object member.", 4),
        (b'{"a" "b"}', "Missing a colon after a name of object member.", 5),
        (b'{"a":}', "Invalid value.", 5),
        (b'{"a":1', "Missing a comma or '}' after an object member.", 6),
        (b'{"a":1 "b":2}', "Missing a comma or '}' after an object member.", 7),
        (b'{"a":[1 2]}', "Missing a comma or ']' after an array element.", 8),
        (b'{"a":[1', "Missing a comma or ']' after an array element.", 7),
        (b'{"a":[1,]}', "Invalid value.", 8),
        (b'{"a":[,1]}', "Invalid value.", 6),
        (b'{"a":01}', "Missing a comma or '}' after an object member.", 6),
        (b'{"a":.5}', "Invalid value.", 5),
        (b'{"a":+1}', "Invalid value.", 5),
        (b'{"a":-}', "Invalid value.", 6),
        (b'{"a":5.}', "Miss fraction part in number.", 7),
        (b'{"a":1.e5}', "Miss fraction part in number.", 7),
        (b'{"a":1e}', "Miss exponent in number.", 7),
        (b'{"a":1e+}', "Miss exponent in number.", 8),
        (b'{"a":[1,1e309]}', "Number too big to be stored in double.", 8),
        (b'{"a":0e309}', "Number too big to be stored in double.", 5),
        (b'{"a":[0.0E+400]}', "Number too big to be stored in double.", 6),
        (b'{"a":1e' + b"9" * 5000 + b"}", "Number too big to be stored in double.", 5),
        (b'{"a":' + b"9" * 400 + b"}", "Number too big to be stored in double.", 5),
        (b'{"a":' + b"9" * 5000 + b"}", "Number too big to be stored in double.", 5),  # more than Python turns into one
        (b'{"a":-' + b"9" * 5000 + b".5}", "Number too big to be stored in double.", 5),
        (b'{"a":tru}', "Invalid value.", 8),
        (b'{"a":nan}', "Invalid value.", 6),
        (b'{"a":Infinit}', "Invalid value.", 12),
        (b'{"a":"x', "Missing a closing quotation mark in string.", 7),
        (b'{"a":"\\x"}', "Invalid escape character in string.", 6),
        (b'{"a":"li\nne"}', "Invalid escape character in string.", 8),
        (b'{"a":"\\u00zz"}', "Incorrect hex digit after \\u escape in string.", 6),
        (b'{"a":"\\ud800"}', "The surrogate pair in string is invalid.", 6),
        (b'{"a":"\\ud800\\u0041"}', "The surrogate pair in string is invalid.", 6),
        (b"/* c */{}", "Invalid value.", 0),
        (b"\xff\xfe{}", "Invalid value.", 0),
        (b"\0{}", "The document is empty.", 0),
    ],
)
def test_parse_errors(body: bytes, text: str, offset: int) -> None:
    with pytest.raises(StatusError) as error:
        read_object(body)
    assert error.value.message == f"JSON Parse error: {text} at offset: {offset}"


def test_an_empty_body_has_no_offset() -> None:
    with pytest.raises(StatusError) as error:
        read_object(b"")
    assert error.value.message == "JSON Parse error: The document is empty"


@pytest.mark.parametrize(
    ("body", "dump"), [(b"[1,2]", "[1, 2]"), (b"null", "null"), (b"5", "5"), (b'"x"', '"x"'), (b"1e2", "100.0")]
)
def test_only_an_object_is_a_request(body: bytes, dump: str) -> None:
    with pytest.raises(StatusError) as error:
        read_object(body)
    assert error.value.message == f"JSON Value: {dump} Is not object"


def test_the_dialect_beyond_json() -> None:
    body = b'{"a":[NaN,-NaN,Inf,Infinity,-Infinity],"b":"\xff\\udc00"} trailing { garbage'
    value = read_object(body)
    numbers, text = value["a"], value["b"]
    assert isinstance(numbers, list)
    assert list(map(repr, numbers)) == ["nan", "nan", "inf", "inf", "-inf"]
    assert isinstance(text, str)
    assert text.encode("utf-8", "surrogateescape") == b"\xff\xed\xb0\x80"


@pytest.mark.parametrize(
    ("text", "value"),
    [("Inf.5", 0.5), ("-Infinity.25e1", -2.5), ("NaNe5", 0.0), ("NInf", math.inf), ("-NaInfinity", -math.inf)],
)
def test_what_rapidjson_makes_of_a_spoilt_infinity(text: str, value: float) -> None:
    assert read_object(f'{{"a":{text}}}'.encode())["a"] == value


@pytest.mark.parametrize("text", ["Inf5", "NaNa", "NaN.", "Infe", "Nx"])
def test_what_not_even_rapidjson_reads(text: str) -> None:
    with pytest.raises(StatusError, match="JSON Parse error"):
        read_object(f'{{"a":{text}}}'.encode())


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("9.9e308", math.inf),
        ("-9.9e308", -math.inf),
        ("0.0001e311", 1e307),
        ("1e-99999999999999999999", 0.0),
        ("1e" + "0" * 5000 + "1", 10.0),
        ("0." + "0" * 400 + "1e400", 0.1),
    ],
)
def test_numbers_at_the_edge_of_a_double(text: str, value: float) -> None:
    assert read_object(f'{{"a":{text}}}'.encode())["a"] == value


def test_the_first_of_a_repeated_key_is_found_and_all_are_kept() -> None:
    value = read_object(b'{"a":1,"b":{"x":1,"x":2},"a":3}')
    assert value["a"] == 1
    assert [name for name, _ in members(value)] == ["a", "b", "a"]
    inner = value["b"]
    assert isinstance(inner, dict)
    assert [v for _, v in members(inner)] == [1, 2]
    # A colon inside a string is no key.
    assert read_object(b'{"a":"x\\": y","b":":"}') == {"a": 'x": y', "b": ":"}


def test_nesting_is_read_far_deeper_than_anybody_nests() -> None:
    assert read_object(b'{"deep":' + b"[" * 3000 + b"]" * 3000 + b',"a":1}')["a"] == 1


@pytest.mark.parametrize("opening", [b"[", b'{"a":', b'[{"a":'])
def test_the_memory_of_nesting_is_bounded(opening: bytes) -> None:
    body = b'{"deep":' + opening * 2_000_000
    tracemalloc.start()
    try:
        with pytest.raises(StatusError, match="nested deeper than 100000 levels"):
            read_object(body)
        assert tracemalloc.get_traced_memory()[1] < 100 << 20
    finally:
        tracemalloc.stop()


def test_numbers_below_the_normal_range_are_zero() -> None:
    value = read_object(b'{"a":[1e-310,-1e-310,2.2250738585072014e-308],"b":NaN}')["a"]
    assert isinstance(value, list)
    assert value == [0.0, 0.0, 2.2250738585072014e-308]
    assert str(value[1]) == "-0.0"
