"""Between plain values and the JSON documents of the REST API."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import grpc
import msgspec
import numpy as np

from tfserving.client.values import INIT_SIGNATURE, Metadata, ModelServerError, Signature, TensorSpec, VersionStatus
from tfserving.wire.tensors import Array, TensorError, dtype_of

SOLE_OUTPUT = "outputs"
"""Name of the only output of a signature: the REST API leaves its real name out of the response."""

_CARRIED = frozenset(
    ["float", "double", "int32", "int16", "int8", "uint8", "int64", "uint32", "uint64", "bool", "string"]
)


def predict_body(inputs: Mapping[str, Array], signature: str) -> bytes:
    """A columnar request. Text and bytes travel as base64, NaN and infinities as the tokens that the server reads.

    Errors: TensorError for an element type that the REST API does not read.
    """
    document: dict[str, object] = {"signature_name": signature} if signature else {}
    document["inputs"] = {name: _values(name, array) for name, array in inputs.items()}
    return json.dumps(document, separators=(",", ":")).encode()


def _values(name: str, array: Array) -> object:
    dtype = dtype_of(array).name
    if dtype not in _CARRIED:
        raise TensorError(f"input {name}: the REST API carries no {dtype}; use gRPC")
    return _texts(array.tolist()) if dtype == "string" else array.tolist()


def _texts(value: object) -> object:
    if isinstance(value, list):
        return [_texts(item) for item in value]
    if isinstance(value, str):
        value = value.encode()
    if not isinstance(value, bytes):
        raise TensorError(f"a string tensor holds text or bytes, not {type(value).__name__}")
    return {"b64": base64.b64encode(value).decode()}


def outputs(answer: object) -> dict[str, Array]:
    """The outputs of a columnar answer. Errors: ModelServerError INTERNAL for a response of another shape."""
    try:
        found = answer["outputs"]  # type: ignore[index]
        named = found if isinstance(found, dict) and found.keys() != {"b64"} else {SOLE_OUTPUT: found}
        return {name: _array(value) for name, value in named.items()}
    except (KeyError, TypeError, ValueError) as error:
        raise ModelServerError(grpc.StatusCode.INTERNAL, f"not an answer to predict: {error}") from error


def _array(value: object) -> Array:
    plain = _plain(value)
    array = np.asarray(plain)
    return np.asarray(plain, object) if array.dtype.kind in "SUO" else array


def _plain(value: object) -> Any:
    """JSON text as bytes, everything else as it is."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, dict):
        try:
            return base64.b64decode(value["b64"], validate=True)
        except binascii.Error as error:
            raise ValueError(f"broken base64: {error}") from error
    return value


class _Status(msgspec.Struct):
    error_code: str = "OK"
    error_message: str = ""


class _Version(msgspec.Struct):
    version: int
    state: str
    status: _Status = msgspec.field(default_factory=_Status)


class _StatusAnswer(msgspec.Struct):
    model_version_status: list[_Version] = []


class _Dim(msgspec.Struct):
    size: int = 0


class _Shape(msgspec.Struct):
    dim: list[_Dim] = []
    unknown_rank: bool = False


class _Info(msgspec.Struct):
    dtype: str = "DT_INVALID"
    tensor_shape: _Shape = msgspec.field(default_factory=_Shape)


class _Signature(msgspec.Struct):
    inputs: dict[str, _Info] = {}
    outputs: dict[str, _Info] = {}
    method_name: str = ""


class _SignatureMap(msgspec.Struct):
    signature_def: dict[str, _Signature] = {}


class _Fields(msgspec.Struct):
    signature_def: _SignatureMap


class _Spec(msgspec.Struct):
    name: str
    version: int


class _MetadataAnswer(msgspec.Struct):
    model_spec: _Spec
    metadata: _Fields


def statuses(answer: object) -> tuple[VersionStatus, ...]:
    """Errors: msgspec.ValidationError for a document of another shape."""
    document = msgspec.convert(answer, _StatusAnswer, strict=False)
    return tuple(
        VersionStatus(
            version=v.version,
            state=v.state,
            code=getattr(grpc.StatusCode, v.status.error_code, grpc.StatusCode.UNKNOWN),
            message=v.status.error_message,
        )
        for v in document.model_version_status
    )


def metadata(answer: object) -> Metadata:
    """Errors: msgspec.ValidationError for a document of another shape."""
    document = msgspec.convert(answer, _MetadataAnswer, strict=False)
    signatures = document.metadata.signature_def.signature_def
    return Metadata(
        model=document.model_spec.name,
        version=document.model_spec.version,
        signatures={
            name: Signature(inputs=_specs(s.inputs), outputs=_specs(s.outputs), method=s.method_name)
            for name, s in sorted(signatures.items())
            if name != INIT_SIGNATURE
        },
    )


def _specs(infos: Mapping[str, _Info]) -> dict[str, TensorSpec]:
    return {
        name: TensorSpec(
            dtype=info.dtype.removeprefix("DT_").lower(),
            shape=None if info.tensor_shape.unknown_rank else tuple([d.size for d in info.tensor_shape.dim]),
        )
        for name, info in sorted(infos.items())
    }
