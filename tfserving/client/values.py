"""Responses of a model server as plain values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import grpc

from tfserving.wire.tensors import Array

DEFAULT_TIMEOUT = 10.0
"""Seconds that a call may take where the caller names no other bound."""


class ModelServerError(Exception):
    """A call that failed, on the server or on the way to it.

    `code` is the canonical status code; REST statuses are translated to it, UNAVAILABLE stands for a connection that
    could not be made or broke, DEADLINE_EXCEEDED for a timeout. `message` is the server's own text.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(f"{code.name}: {message}")
        self.code = code
        self.message = message


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """A response to Predict: `outputs` by name, and who gave it.

    `version` is the version that ran, None where the response does not say (REST); `signature` is the resolved name.
    """

    outputs: Mapping[str, Array]
    model: str
    version: int | None
    signature: str


@dataclass(frozen=True, kw_only=True)
class VersionStatus:
    """One version of a model: `state` is START, LOADING, AVAILABLE, UNLOADING or END, or UNKNOWN.

    `code` and `message` say what went wrong; code is OK for a version that serves or was unloaded in good order.
    """

    version: int
    state: str
    code: grpc.StatusCode = grpc.StatusCode.OK
    message: str = ""

    @property
    def available(self) -> bool:
        """Whether the version answers requests."""
        return self.state == "AVAILABLE"


@dataclass(frozen=True, kw_only=True)
class TensorSpec:
    """An input or output as declared: TensorFlow's type name ("float", "int64") and dimensions, -1 where open.

    `shape` is None when even the number of dimensions is open.
    """

    dtype: str
    shape: tuple[int, ...] | None


@dataclass(frozen=True, kw_only=True)
class Signature:
    """One way to call a model; `method` is a name such as "tensorflow/serving/predict"."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method: str


@dataclass(frozen=True, kw_only=True)
class Metadata:
    """The signatures of the version that a request resolves to; helper signatures of TensorFlow are left out."""

    model: str
    version: int
    signatures: Mapping[str, Signature]


INIT_SIGNATURE = "__saved_model_init_op"
"""The helper signature of TensorFlow that is left out of `Metadata`."""


def check_choice(model: str, version: int | None, label: str | None) -> None:
    """Errors: ValueError for a version and a label at once."""
    if version is not None and label is not None:
        raise ValueError(f"model {model}: name a version or a label, not both")


_CODES = {code.value[0]: code for code in grpc.StatusCode}


def status_code(number: int) -> grpc.StatusCode:
    """The status code of this number, UNKNOWN for one that gRPC does not have."""
    return _CODES.get(number, grpc.StatusCode.UNKNOWN)
