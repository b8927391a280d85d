"""A smoke test: one Predict with a tensor of zeros, shaped by the signature, to a label."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from deployer.decode import json_as
from deployer.errors import TargetError
from deployer.targets.base import HttpReply, Target
from deployer.targets.rest import ModelPath, decoded

PREDICT_TIMEOUT = 30.0


@dataclass(frozen=True, kw_only=True)
class Smoke:
    """A Predict with a response: the version, and the latency in seconds.

    `refused` is the model's error message if it rejects a tensor of zeros; it was reached nevertheless.
    """

    model: str
    label: str
    version: int
    seconds: float
    refused: str = ""


class _Dimension(msgspec.Struct, frozen=True):
    size: int = 0


class _Shape(msgspec.Struct, frozen=True):
    dim: list[_Dimension] = []
    unknown_rank: bool = False


class Input(msgspec.Struct, frozen=True):
    """An input tensor of a signature; `dtype` as in TensorFlow ("DT_FLOAT")."""

    dtype: str
    tensor_shape: _Shape = _Shape()


class _Signature(msgspec.Struct, frozen=True):
    inputs: dict[str, Input] = {}


class _Signatures(msgspec.Struct, frozen=True):
    signature_def: dict[str, _Signature]


class _SignatureMap(msgspec.Struct, frozen=True):
    signature_def: _Signatures


class _Spec(msgspec.Struct, frozen=True):
    version: int


class _Metadata(msgspec.Struct, frozen=True):
    model_spec: _Spec
    metadata: _SignatureMap


class _Error(msgspec.Struct, frozen=True):
    error: str


def smoke(
    target: Target, place: str, model: str, label: str, *, signature: str, timeout: float = PREDICT_TIMEOUT
) -> Smoke:
    """Send one Predict for a label to a replica or gateway.

    Errors: TargetError when it does not respond, has no such signature, or fails other than by rejecting zeros.
    """
    model_path = ModelPath(model=model, label=label)
    version, known = _described(target, place, model_path, signature=signature, timeout=timeout)
    body = _zeros_for(known, signature)
    began = time.monotonic()
    response = target.post(place, model_path.predict_path, body, timeout=timeout)
    seconds = time.monotonic() - began
    if response.status not in (200, 400):
        raise _failed(f"{place} failed a Predict for {model_path}", response)
    return Smoke(
        model=model,
        label=label,
        version=version,
        seconds=seconds,
        refused=_reply_text(response) if response.status == 400 else "",
    )


def signature_inputs(
    target: Target, place: str, model: str, label: str, *, signature: str, timeout: float = PREDICT_TIMEOUT
) -> Mapping[str, Input]:
    """The inputs of a signature by name. Errors: as for `smoke`."""
    return _described(target, place, ModelPath(model=model, label=label), signature=signature, timeout=timeout)[1]


def predict_body(
    target: Target, place: str, model_path: ModelPath, *, signature: str, timeout: float = PREDICT_TIMEOUT
) -> bytes:
    """A Predict request with one row of zeros for every input of a signature. Errors: TargetError (no signature)."""
    return _zeros_for(_described(target, place, model_path, signature=signature, timeout=timeout)[1], signature)


def _zeros_for(inputs: Mapping[str, Input], signature: str) -> bytes:
    rows = {name: zeros(tensor) for name, tensor in inputs.items()}
    return msgspec.json.encode({"signature_name": signature, "inputs": rows})


def _described(
    target: Target, place: str, model_path: ModelPath, *, signature: str, timeout: float
) -> tuple[int, Mapping[str, Input]]:
    """The version, and the inputs of its signature."""
    reply = target.get(place, model_path.metadata_path, timeout=timeout)
    if reply.status != 200:
        raise _failed(f"{place} failed a metadata request for {model_path}", reply)
    described = decoded(reply, _Metadata, place)
    known = described.metadata.signature_def.signature_def
    if signature not in known:
        raise TargetError(
            f"{model_path.model} version {described.model_spec.version} has no signature {signature}",
            hint=f"signatures: {', '.join(sorted(known))}; choose one with models[].signature in deployer.yaml",
        )
    return described.model_spec.version, known[signature].inputs


def zeros(tensor: Input) -> object:
    """One row of zeros (or empty strings, or false) as nested lists; unknown dimensions are 1."""
    value: object = {"DT_STRING": "", "DT_BOOL": False}.get(tensor.dtype, 0)
    shape = tensor.tensor_shape
    for size in [1] if shape.unknown_rank else [dimension.size for dimension in reversed(shape.dim)]:
        value = [value] * max(1, size)
    return value


def _failed(what: str, reply: HttpReply) -> TargetError:
    return TargetError(
        f"{what}: it returned {reply.status}", cause=_reply_text(reply), hint=_REMEDIES.get(reply.status, "")
    )


_REMEDIES = {
    401: "the gateway asks for an API key: DEPLOYER_API_KEY must hold one of those in gateway.auth",
    403: "the API key in DEPLOYER_API_KEY must open this model",
    504: "the model takes longer than gateway.limits.timeout_ms: raise it, or give the replicas more CPU",
}


def _reply_text(reply: HttpReply) -> str:
    try:
        return json_as(reply.body, _Error).error
    except msgspec.MsgspecError:
        return reply.body.decode(errors="replace")[:300]
