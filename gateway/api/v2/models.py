"""Metadata and health by the Open Inference Protocol, and what it calls a version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final
from urllib.parse import unquote

import msgspec

from gateway.active import Model
from gateway.api.http import JSON, Request, Response
from gateway.api.v2.datatypes import name_of
from gateway.backends.rpc import RpcError
from gateway.errors import BadRequest, NotFound
from gateway.gateway import Gateway
from gateway.routing.labels import NEWEST, Choice
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import Code

SERVER_NAME: Final = "tfserving-deployer gateway"
PLATFORM: Final = "tensorflow_savedmodel"
EXTENSIONS: Final = ("binary_tensor_data",)
NOT_READY: Final = frozenset({Code.NOT_FOUND, Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.UNAVAILABLE})
"""What a model server says of a version or label that it does not serve."""

Params = Mapping[str, str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedTensor:
    """An input or output; `shape` has -1 for what varies, and is [-1] for a tensor of unknown rank."""

    name: str
    datatype: str
    shape: list[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The versions that are loaded, and the tensors of the signature that the config names."""

    versions: list[str]
    inputs: list[DescribedTensor]
    outputs: list[DescribedTensor]


async def model_metadata(gateway: Gateway, request: Request, params: Params) -> Response:
    """Versions, inputs and outputs: those of the version in the URL, else of the one that most requests get."""
    model, choice = _asked(gateway, params)
    found = await described_model(gateway, model, choice, _deadline(gateway))
    return _json(
        {
            "name": model.name,
            "versions": found.versions,
            "platform": PLATFORM,
            "inputs": found.inputs,
            "outputs": found.outputs,
        }
    )


async def model_ready(gateway: Gateway, request: Request, params: Params) -> Response:
    """Whether a model server responds for a model or for one version of it."""
    model, choice = _asked(gateway, params)
    why = await why_unready(gateway, model, choice, _deadline(gateway))
    if why is not None:
        return _json({"name": model.name, "ready": False, "error": why}, status=503)
    return _json({"name": model.name, "ready": True})


async def live(gateway: Gateway, request: Request, params: Params) -> Response:
    """That the gateway responds."""
    return _json({"live": True})


async def ready(gateway: Gateway, request: Request, params: Params) -> Response:
    """Whether every model is ready for inference. The specification names the key once `live`, once `ready`."""
    lacking = await missing(gateway)
    if lacking:
        return _json({"live": True, "ready": False, "missing": lacking}, status=503)
    return _json({"live": True, "ready": True})


async def server_metadata(gateway: Gateway, request: Request, params: Params) -> Response:
    """What this server is."""
    return _json({"name": SERVER_NAME, "version": server_version(), "extensions": EXTENSIONS})


def server_version() -> str:
    """The release of this package, `unknown` where it runs without being installed."""
    try:
        return version("tfserving-deployer")
    except PackageNotFoundError:
        return "unknown"


async def missing(gateway: Gateway) -> list[str]:
    """What keeps models from being ready for inference."""
    return ["the gateway is shutting down"] if gateway.draining else await gateway.missing()


async def why_unready(gateway: Gateway, model: Model, choice: Choice, deadline: float) -> str | None:
    """Why no model server responds for this; None when one does. Errors: RpcError for what says nothing about it."""
    try:
        await gateway.server.metadata(model.name, choice, deadline)
    except RpcError as error:
        if error.code not in NOT_READY:
            raise
        return error.message
    return None


async def described_model(gateway: Gateway, model: Model, choice: Choice, deadline: float) -> Described:
    """What the protocol tells of a model. Errors: RpcError, NotFound."""
    found = await gateway.server.metadata(model.name, choice, deadline)
    signature = found.signatures.signature_def.get(model.settings.signature)
    if signature is None:
        raise NotFound(f"version {found.version} has no signature '{model.settings.signature}'", stage="route")
    status = await gateway.server.status(model.name, None, deadline)
    loaded = [s.version for s in status.model_version_status if s.state == m.ModelVersionStatus.AVAILABLE]
    return Described(
        versions=[str(number) for number in sorted(loaded)],
        inputs=_described(signature.inputs),
        outputs=_described(signature.outputs),
    )


def routed(model: Model) -> Choice:
    """What most requests get that name neither label nor version."""
    if model.router is None:
        return NEWEST
    weights = model.router.weights
    return Choice(label=max(weights, key=lambda label: weights[label]))


def choice_named(version: str | None) -> Choice:
    """What a version of the protocol stands for: a number, else the name of a label."""
    if not version:
        return NEWEST
    if not (version.isascii() and version.isdecimal()):
        return Choice(label=version)
    number = int(version) if len(version) < 20 else 1 << 63
    if number >= 1 << 63:
        raise BadRequest(f"version: '{version[:40]}' is not a 64-bit number", stage="route")
    return Choice(version=number)


def named(gateway: Gateway, name: str, version: str) -> tuple[Model, Choice]:
    """A model of the config and what to ask of it; without a version what most requests get.

    Errors: NotFound, BadRequest.
    """
    model = gateway.active.models.get(name)
    if model is None:
        raise NotFound(f"no model '{name}'", stage="route")
    choice = choice_named(version)
    return model, choice if choice != NEWEST else routed(model)


def _asked(gateway: Gateway, params: Params) -> tuple[Model, Choice]:
    return named(gateway, unquote(params["model"] or ""), unquote(params["version"] or params["label"] or ""))


def _described(tensors: Mapping[str, m.TensorInfo]) -> list[DescribedTensor]:
    return [
        DescribedTensor(name=name, datatype=name_of(info.dtype), shape=_shape(info.tensor_shape))
        for name, info in sorted(tensors.items())
    ]


def _shape(shape: m.TensorShapeProto) -> list[int]:
    return [-1] if shape.unknown_rank else [dim.size for dim in shape.dim]


def _deadline(gateway: Gateway) -> float:
    return asyncio.get_running_loop().time() + gateway.active.settings.limits.timeout_ms / 1000


def _json(content: Any, *, status: int = 200) -> Response:
    return Response(status=status, body=msgspec.json.encode(content), headers=(JSON,))
