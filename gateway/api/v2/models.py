"""Metadata and health by the Open Inference Protocol, and what it calls a version."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
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

NAME: Final = "tfserving-deployer gateway"
PLATFORM: Final = "tensorflow_savedmodel"
EXTENSIONS: Final = ("binary_tensor_data",)
NOT_READY: Final = frozenset({Code.NOT_FOUND, Code.INVALID_ARGUMENT, Code.FAILED_PRECONDITION, Code.UNAVAILABLE})
"""What a model server says of a version or label that it does not serve."""

Params = Mapping[str, str | None]


async def model_metadata(gateway: Gateway, request: Request, params: Params) -> Response:
    """Versions, inputs and outputs: those of the version in the URL, else of the one that most requests get."""
    model, choice = _asked(gateway, params)
    found = await gateway.server.metadata(model.name, choice, _deadline(gateway))
    signature = found.signatures.signature_def.get(model.settings.signature)
    if signature is None:
        raise NotFound(f"version {found.version} has no signature '{model.settings.signature}'", stage="route")
    status = await gateway.server.status(model.name, None, _deadline(gateway))
    loaded = [s.version for s in status.model_version_status if s.state == m.ModelVersionStatus.AVAILABLE]
    return _json(
        {
            "name": model.name,
            "versions": [str(number) for number in sorted(loaded)],
            "platform": PLATFORM,
            "inputs": described(signature.inputs),
            "outputs": described(signature.outputs),
        }
    )


async def model_ready(gateway: Gateway, request: Request, params: Params) -> Response:
    """Whether a model server answers for a model or for one version of it."""
    model, choice = _asked(gateway, params)
    try:
        await gateway.server.metadata(model.name, choice, _deadline(gateway))
    except RpcError as error:
        if error.code not in NOT_READY:
            raise
        return _json({"name": model.name, "ready": False, "error": error.message}, status=503)
    return _json({"name": model.name, "ready": True})


async def live(gateway: Gateway, request: Request, params: Params) -> Response:
    """That the gateway answers."""
    return _json({"live": True})


async def ready(gateway: Gateway, request: Request, params: Params) -> Response:
    """Whether every model is ready for inference. The specification names the key once `live`, once `ready`."""
    missing = ["the gateway is shutting down"] if gateway.draining else await gateway.missing()
    if missing:
        return _json({"live": True, "ready": False, "missing": missing}, status=503)
    return _json({"live": True, "ready": True})


async def server_metadata(gateway: Gateway, request: Request, params: Params) -> Response:
    """What this server is."""
    return _json({"name": NAME, "version": server_version(), "extensions": EXTENSIONS})


def server_version() -> str:
    """The release of this package, `unknown` where it runs without being installed."""
    try:
        return version("tfserving-deployer")
    except PackageNotFoundError:
        return "unknown"


def described(tensors: Mapping[str, m.TensorInfo]) -> list[dict[str, object]]:
    """Inputs or outputs of a signature as the protocol describes them; a tensor of unknown rank has the shape [-1]."""
    return [
        {"name": name, "datatype": name_of(info.dtype), "shape": _shape(info.tensor_shape)}
        for name, info in sorted(tensors.items())
    ]


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
        raise BadRequest(f"version: '{version[:40]}' is no 64-bit number", stage="route")
    return Choice(version=number)


def _asked(gateway: Gateway, params: Params) -> tuple[Model, Choice]:
    name = unquote(params["model"] or "")
    model = gateway.active.models.get(name)
    if model is None:
        raise NotFound(f"no model '{name}'", stage="route")
    choice = choice_named(unquote(params["version"] or params["label"] or ""))
    return model, choice if choice != NEWEST else routed(model)


def _shape(shape: m.TensorShapeProto) -> list[int]:
    return [-1] if shape.unknown_rank else [dim.size for dim in shape.dim]


def _deadline(gateway: Gateway) -> float:
    return asyncio.get_running_loop().time() + gateway.active.settings.limits.timeout_ms / 1000


def _json(content: Any, *, status: int = 200) -> Response:
    return Response(status=status, body=msgspec.json.encode(content), headers=(JSON,))
