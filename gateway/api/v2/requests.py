"""A request for inference over REST: one JSON object, and after it the tensors that were sent as bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import UNSET, Struct

from gateway.api.v2.datatypes import TensorProblem, dtype_named, from_raw, from_values, shape_given
from gateway.errors import BadRequest
from tfserving.json.cost import decoded_bytes

HEADER: Final = "inference-header-content-length"
"""Bytes of the JSON object; without this header the body is JSON as a whole."""
COPIES: Final = 2
"""Times that a tensor's bytes are held on their way into a message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """What is to be inferred. `inputs` are serialized TensorProtos; `outputs` none means all of them."""

    id: str | None
    parameters: Mapping[str, object]
    inputs: Mapping[str, bytes]
    outputs: Sequence[str]
    binary: Mapping[str, bool]
    """Whether an output is wanted as bytes, where the request says so of this one."""
    all_binary: bool
    """Whether the others are."""


class _Input(Struct):
    name: str
    shape: list[int]
    datatype: str
    parameters: dict[str, Any] = {}
    data: Any = UNSET


class _Output(Struct):
    name: str
    parameters: dict[str, Any] = {}


class _Document(Struct):
    inputs: list[_Input]
    id: str | None = None
    parameters: dict[str, Any] = {}
    outputs: list[_Output] = []


_decode = msgspec.json.Decoder(_Document).decode


def read_request(body: bytes, header: str | None) -> InferRequest:
    """Read a body; `header` is the value of `HEADER`. Errors: BadRequest that names what is wrong."""
    size = json_size(body, header)
    document = _document(memoryview(body)[:size])
    rest = memoryview(body)[size:]
    inputs: dict[str, bytes] = {}
    for given in document.inputs:
        try:
            inputs[given.name], rest = _tensor(given, rest)
        except TensorProblem as problem:
            raise BadRequest(f"input '{given.name}': {problem}", stage="decode") from problem
    if len(rest):
        raise BadRequest(f"{len(rest)} bytes after the JSON object that belong to no input", stage="decode")
    if len(inputs) < len(document.inputs):
        raise BadRequest("inputs: one of them is given twice", stage="decode")
    for output in document.outputs:
        if output.parameters.get("classification"):
            raise BadRequest(f"output '{output.name}': classification is not offered", stage="decode")
    return InferRequest(
        id=document.id,
        parameters=document.parameters,
        inputs=inputs,
        outputs=list(dict.fromkeys(output.name for output in document.outputs)),
        binary={o.name: bool(o.parameters["binary_data"]) for o in document.outputs if "binary_data" in o.parameters},
        all_binary=bool(document.parameters.get("binary_data_output", False)),
    )


def memory_needed(body: bytes, header: str | None) -> int:
    """Bytes that reading a body takes beside it: the objects of its JSON, and its tensors in their messages.

    Errors: BadRequest for a header that is no number or beyond the body.
    """
    size = json_size(body, header)
    return decoded_bytes(body if size == len(body) else body[:size]) + COPIES * (len(body) - size)


def json_size(body: bytes, header: str | None) -> int:
    """Bytes of the JSON object of a body. Errors: BadRequest for a header that is no number or beyond the body."""
    if header is None:
        return len(body)
    if not (header.isascii() and header.isdecimal() and len(header) < 16) or int(header) > len(body):
        raise BadRequest(f"{HEADER}: expected a number up to {len(body)}, got '{header[:40]}'", stage="decode")
    return int(header)


def _document(text: memoryview) -> _Document:
    try:
        document = _decode(text)
    except RecursionError as error:
        raise BadRequest("the JSON is nested too deeply", stage="decode") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BadRequest(f"not an inference request: {error}", stage="decode") from error
    if not document.inputs:
        raise BadRequest("inputs: there are none", stage="decode")
    return document


def _tensor(given: _Input, rest: memoryview) -> tuple[bytes, memoryview]:
    """A serialized TensorProto, and the bytes that belong to later inputs."""
    dtype, shape = dtype_named(given.datatype), shape_given(given.shape)
    if (size := given.parameters.get("binary_data_size")) is None:
        if given.data is UNSET:
            raise TensorProblem("has neither data nor parameters.binary_data_size")
        return from_values(dtype, shape, given.data), rest
    if given.data is not UNSET:
        raise TensorProblem("has both data and parameters.binary_data_size")
    if type(size) is not int or not 0 <= size <= len(rest):
        raise TensorProblem(f"binary_data_size: expected a number up to the {len(rest)} bytes that are left")
    return from_raw(dtype, shape, rest[:size]), rest[size:]
