"""One real Predict: a tensor of zeros, shaped by the signature, sent to a label and answered by the right version."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from deployer.errors import TargetError
from deployer.targets.base import HttpReply, Target
from deployer.targets.rest import Asked, decoded

TIMEOUT = 30.0


@dataclass(frozen=True, kw_only=True)
class Smoke:
    """A Predict that was answered: by which version, after how many seconds.

    `refused` is what the model said against a tensor of zeros; it was reached all the same.
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
    """A tensor that a signature takes; `dtype` as TensorFlow names it ("DT_FLOAT")."""

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


def smoke(target: Target, place: str, model: str, label: str, *, signature: str, timeout: float = TIMEOUT) -> Smoke:
    """Ask a replica or gateway for one prediction of a label.

    Errors: TargetError when it does not answer, has no such signature, or fails in another way than by refusing zeros.
    """
    asked = Asked(model=model, label=label)
    version, known = _described(target, place, asked, signature=signature, timeout=timeout)
    body = _zeros_for(known, signature)
    began = time.monotonic()
    answer = target.post(place, asked.predict_path, body, timeout=timeout)
    seconds = time.monotonic() - began
    if answer.status not in (200, 400):
        raise _failed(f"{place} does not answer a Predict for {asked}", answer)
    return Smoke(
        model=model,
        label=label,
        version=version,
        seconds=seconds,
        refused=_reply_text(answer) if answer.status == 400 else "",
    )


def inputs(
    target: Target, place: str, model: str, label: str, *, signature: str, timeout: float = TIMEOUT
) -> Mapping[str, Input]:
    """What a signature takes, by the name of each tensor. Errors: as `smoke`."""
    return _described(target, place, Asked(model=model, label=label), signature=signature, timeout=timeout)[1]


def predict_body(target: Target, place: str, asked: Asked, *, signature: str, timeout: float = TIMEOUT) -> bytes:
    """A Predict with one row of zeros for every input of a signature. Errors: TargetError without such a signature."""
    return _zeros_for(_described(target, place, asked, signature=signature, timeout=timeout)[1], signature)


def _zeros_for(inputs: Mapping[str, Input], signature: str) -> bytes:
    rows = {name: zeros(tensor) for name, tensor in inputs.items()}
    return msgspec.json.encode({"signature_name": signature, "inputs": rows})


def _described(
    target: Target, place: str, asked: Asked, *, signature: str, timeout: float
) -> tuple[int, Mapping[str, Input]]:
    """The version that answers, and what its signature takes."""
    reply = target.get(place, asked.metadata_path, timeout=timeout)
    if reply.status != 200:
        raise _failed(f"{place} does not describe {asked}", reply)
    described = decoded(reply, _Metadata, place)
    known = described.metadata.signature_def.signature_def
    if signature not in known:
        raise TargetError(
            f"{asked.model} version {described.model_spec.version} has no signature {signature}",
            hint=f"it has {', '.join(sorted(known))}; models[].signature of deployer.yaml chooses one",
        )
    return described.model_spec.version, known[signature].inputs


def zeros(tensor: Input) -> object:
    """One row of zeros (of empty strings, of false) as nested lists; what the signature leaves open is 1."""
    value: object = {"DT_STRING": "", "DT_BOOL": False}.get(tensor.dtype, 0)
    shape = tensor.tensor_shape
    for size in [1] if shape.unknown_rank else [dimension.size for dimension in reversed(shape.dim)]:
        value = [value] * max(1, size)
    return value


def _failed(what: str, reply: HttpReply) -> TargetError:
    return TargetError(
        f"{what}: it answers {reply.status}", cause=_reply_text(reply), hint="`deployer status` shows more"
    )


def _reply_text(reply: HttpReply) -> str:
    try:
        return msgspec.json.decode(reply.body, type=_Error).error
    except msgspec.MsgspecError:
        return reply.body.decode(errors="replace")[:300]
