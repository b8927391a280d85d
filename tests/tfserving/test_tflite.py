"""Signatures in the metadata of a model.tflite, written and read, and bytes that are none."""

from __future__ import annotations

import random

import pytest

from tfserving import tflite
from tfserving.wire import messages_pb2 as m


def signature(name: str, size: int = 0) -> m.SignatureDef:
    made = m.SignatureDef(method_name="x" * size)
    made.inputs["x"].name = name
    return made


def entries(content: bytes) -> dict[bytes, bytes]:
    return dict(tflite._entries(content))


@pytest.mark.parametrize("size", [0, 1, 200, 300, 70_000])
@pytest.mark.parametrize("names", [["serving_default"], ["b", "a", "serving_default"], [f"s{n}" for n in range(300)]])
def test_what_is_written_is_read_by_us_and_by_the_flexbuffers_library(names: list[str], size: int) -> None:
    flexbuffers = pytest.importorskip("flatbuffers.flexbuffers")
    signatures = {name: signature(name, size) for name in names}
    content = tflite.write_signatures(signatures)
    texts = {name: made.SerializeToString(deterministic=True) for name, made in signatures.items()}
    assert entries(content) == {name.encode(): text for name, text in texts.items()}
    theirs = flexbuffers.GetRoot(content).AsMap
    for name in names:
        assert bytes(theirs[name].AsStringBytes) == texts[name]


def test_what_the_library_writes_is_read() -> None:
    flexbuffers = pytest.importorskip("flatbuffers.flexbuffers")
    assert entries(bytes(flexbuffers.Dumps({"b": "two", "a": "x" * 300}))) == {b"a": b"x" * 300, b"b": b"two"}


@pytest.mark.parametrize("content", [b"", b"TFL3", b"\x08\0\0\0TFL3", b"\xff" * 64, b"\x1c\0\0\0TFL3" + b"\xff" * 60])
def test_other_bytes_are_refused_by_name(content: bytes) -> None:
    with pytest.raises(tflite.TfLiteError):
        tflite.read_signatures(content)


def test_damaged_signatures_are_refused_and_never_loop() -> None:
    whole = tflite.write_signatures({"a": signature("x", 30), "b": signature("y")})
    rng = random.Random(0)
    for _ in range(2000):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        try:
            entries(bytes(damaged))
        except (tflite.TfLiteError, IndexError, OverflowError):
            continue
