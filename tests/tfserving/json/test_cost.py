"""What decoding takes is never more than what was told of the text."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tfserving.json.cost import decoded_bytes
from tfserving.json.reader import read_object

DENSE = {
    "digits": b"1,",
    "numbers": b"1000,",
    "floats": b"1.5,",
    "lists": b"[],",
    "lists of one": b"[[1]],",
    "deep": b"[" * 200 + b"]" * 200 + b",",
    "objects": b"{},",
    "objects of one": b'{"a":0},',
    "texts": b'"a",',
    "wide texts": '"é€𝄞",'.encode(),
    "repeated keys": b'{"a":0,"a":1},',
    "not a number": b"NaN,",
}


def taken(body: bytes) -> int:
    """Most bytes that decoding held."""
    tracemalloc.start()
    try:
        read_object(body)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("piece", DENSE.values(), ids=DENSE)
def test_dense_documents_take_no_more_than_was_told(piece: bytes) -> None:
    body = b'{"instances":[' + piece * (200_000 // len(piece)) + b"0]}"
    assert taken(body) <= decoded_bytes(body)


def test_an_image_as_numbers_does_not_exceed_its_reserved_memory() -> None:
    body = json.dumps({"instances": [[[i % 256, 7, 9] for i in range(20_000)]]}, separators=(",", ":")).encode()
    assert decoded_bytes(body) <= 3 * taken(body)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=40, deadline=None)
@given(st.lists(VALUES, min_size=1, max_size=10))
def test_any_document_takes_no_more_than_was_told(values: list[object]) -> None:
    body = json.dumps({"instances": values * 100}).encode()
    assert taken(body) <= decoded_bytes(body) + 2048
