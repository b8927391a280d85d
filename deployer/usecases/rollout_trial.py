"""Asking a version that has no traffic yet: one smoke request on every replica, its memory, its accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import msgspec

from deployer.domain.gate_verdict import Judgement, Verdict
from deployer.domain.rollout import CANARY
from deployer.errors import DeployerError, TargetError
from deployer.targets.base import Target, own_config
from deployer.targets.waiting import shortened
from deployer.usecases.rollout_proof import PARALLEL, alive
from tfserving.config import ModelServerConfig, Specific

TIMEOUT = 30.0
SMOKE = "smoke"

Nested = list["Nested"] | float | int | bool | str


class _Dim(msgspec.Struct):
    size: str = "-1"


class _Shape(msgspec.Struct):
    dim: list[_Dim] = []
    unknown_rank: bool = False


class _Tensor(msgspec.Struct):
    dtype: str
    tensor_shape: _Shape


class _Signature(msgspec.Struct):
    inputs: dict[str, _Tensor] = {}


class _Signatures(msgspec.Struct):
    signature_def: dict[str, _Signature]


class _Field(msgspec.Struct):
    signature_def: _Signatures


class _Metadata(msgspec.Struct):
    metadata: _Field


def smoke(target: Target, model: str, *, version: int, stable: int, signature: str) -> Judgement:
    """One row of zeros to `version` on every replica that is to hold it.

    A version fails when a replica refuses what it answers for the stable version; when stable refuses zeros too, they
    say nothing. Errors: TargetError when a replica does not answer at all.
    """
    running = [replica.name for replica in alive(target)]
    shared = target.model_config()
    held = {name: _versions(own_config(target, name) or shared, model) for name in running}
    names = [name for name in running if version in held[name]]
    if not names:
        raise TargetError(f"no replica runs with version {version}", hint="`deployer status` shows why")
    beside = next((name for name in running if stable in held[name]), names[0])
    body = smoke_body(target, names[0], model, version=version, signature=signature)
    with ThreadPoolExecutor(PARALLEL) as pool:
        found = list(pool.map(lambda name: (name, *_predict(target, name, model, version, body)), names))
    refused = [f"{name}: {status} {said}" for name, status, said in found if status != 200]
    if not refused:
        return Judgement(gate=SMOKE, verdict=Verdict.PASS, numbers=f"{len(names)} of {len(names)} replicas answer")
    if _predict(target, beside, model, stable, body)[0] != 200:
        text = "a row of zeros is refused by stable, too, and proves nothing"
        return Judgement(gate=SMOKE, verdict=Verdict.PASS, numbers=text)
    return Judgement(gate=SMOKE, verdict=Verdict.FAIL, numbers=shortened(refused))


def _versions(model_config: str, model: str) -> tuple[int, ...]:
    models = ModelServerConfig.parse(model_config).models
    return next((m.policy.versions for m in models if m.name == model and isinstance(m.policy, Specific)), ())


def smoke_body(target: Target, name: str, model: str, *, version: int, signature: str) -> bytes:
    """A REST request with one row of zeros (empty strings) for every input of a signature."""
    path = f"/v1/models/{quote(model)}/versions/{version}/metadata"
    reply = target.get(name, path, timeout=TIMEOUT)
    try:
        known = msgspec.json.decode(reply.body, type=_Metadata).metadata.signature_def.signature_def
    except msgspec.MsgspecError as error:
        raise TargetError(f"{name} does not describe {model} version {version}") from error
    if signature not in known:
        raise TargetError(
            f"version {version} of {model} has no signature {signature}", hint=f"it has {', '.join(known)}"
        )
    inputs = {key: _zeros(tensor) for key, tensor in known[signature].inputs.items()}
    return msgspec.json.encode({"signature_name": signature, "inputs": inputs})


def memory(target: Target) -> float | None:
    """Bytes resident in the largest replica of this machine; None where processes cannot be looked at."""
    found = [_resident(replica.pid) for replica in alive(target) if replica.pid]
    known = [size for size in found if size is not None]
    return float(max(known)) if known else None


def accuracy(target: Target, model: str, labelled: Path) -> tuple[float | None, str]:
    """The share of labelled records that canary gets right through the gateways; or None, and why it gave no answer.

    Errors: SpecError for a file that cannot be read.
    """
    from deployer.usecases.predict import PredictRequest, predict  # slow to import; a rollback does without

    try:
        found = predict(target, PredictRequest(model=model, records=labelled, label=CANARY), lambda _: None)
    except TargetError as error:
        return None, f"{error.message}: {error.cause}" if error.cause else error.message
    return found.accuracy, "" if found.accuracy is not None else f"no record of {labelled} says what it expects"


def _predict(target: Target, name: str, model: str, version: int, body: bytes) -> tuple[int, str]:
    path = f"/v1/models/{quote(model)}/versions/{version}:predict"
    try:
        reply = target.post(name, path, body, timeout=TIMEOUT)
    except DeployerError as error:
        return 0, error.message
    return reply.status, reply.body[:200].decode(errors="replace")


def _zeros(tensor: _Tensor) -> Nested:
    sizes = [int(dim.size) for dim in tensor.tensor_shape.dim]
    zero: Nested = "" if tensor.dtype == "DT_STRING" else False if tensor.dtype == "DT_BOOL" else 0
    for size in reversed([1] if tensor.tensor_shape.unknown_rank else sizes):
        zero = [zero] * (size if size > 0 else 1)
    return zero


def _resident(pid: int | None) -> int | None:
    try:
        return dict(_status(Path(f"/proc/{pid}/status").read_text()))["VmRSS"]
    except (OSError, KeyError):
        return None


def _status(text: str) -> Iterator[tuple[str, int]]:
    for line in text.splitlines():
        key, _, value = line.partition(":")
        words: Mapping[int, str] = dict(enumerate(value.split()))
        if words.get(1) == "kB":
            yield key, int(words[0]) * 1024
