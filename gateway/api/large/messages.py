"""What is asked of the process that reads large bodies, and what it answers; msgpack after the length of each part."""

from __future__ import annotations

from typing import Final

import msgspec
from msgspec import Struct

from gateway.errors import BadRequest
from tfserving.wire.status import Code, StatusError

PREFIX: Final = 16
"""Bytes before a message: the lengths of what it says and of the body after it."""


class PredictTask(Struct, frozen=True, tag="predict"):
    """Tensors of a body with `instances` or `inputs`; `signatures` is a serialized SignatureDefMap."""

    signatures: bytes


class ExamplesTask(Struct, frozen=True, tag="examples"):
    """Examples of a body with `examples`."""


class InferTask(Struct, frozen=True, tag="infer"):
    """A request of the Open Inference Protocol; `header` says how much of it is JSON."""

    header: str | None


class Predicting(Struct, frozen=True, tag="predict"):
    """`inputs` are serialized TensorProtos; `by_rows` says how the response is to be written."""

    signature: str
    by_rows: bool
    inputs: dict[str, bytes]


class Examples(Struct, frozen=True, tag="examples"):
    """Serialized Examples for one signature."""

    signature: str
    examples: list[bytes]


class Inferring(Struct, frozen=True, tag="infer"):
    """The fields of an InferRequest."""

    id: str | None
    parameters: dict[str, object]
    inputs: dict[str, bytes]
    outputs: list[str]
    binary: dict[str, bool]
    all_binary: bool


class Failed(Struct, frozen=True, tag="failed"):
    """The body is wrong: TensorFlow Serving's code and message, or (code 0) the gateway's own."""

    code: int
    message: str

    def error(self) -> StatusError | BadRequest:
        """As it was raised in the process."""
        if self.code:
            return StatusError(Code(self.code), self.message)
        return BadRequest(self.message, stage="decode")


Task = PredictTask | ExamplesTask | InferTask
Reply = Predicting | Examples | Inferring | Failed

encode = msgspec.msgpack.encode
decode_task = msgspec.msgpack.Decoder(Task).decode
decode_reply = msgspec.msgpack.Decoder(Reply).decode


def prefix(said: bytes, body: bytes = b"") -> bytes:
    """The lengths of a message."""
    return len(said).to_bytes(8, "big") + len(body).to_bytes(8, "big")


def lengths(start: bytes) -> tuple[int, int]:
    """Of a prefix: what is said, and the body after it."""
    return int.from_bytes(start[:8], "big"), int.from_bytes(start[8:PREFIX], "big")
