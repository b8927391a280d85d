"""What TensorFlow Serving tells about a model over REST: its versions, and their signatures."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

from gateway.api.http import Request, Response, whole_number
from gateway.backends.rpc import RpcError
from gateway.gateway import Gateway
from gateway.routing.labels import Choice
from tfserving.json.messages import metadata_body, status_body
from tfserving.wire.status import Code

MAX_VERSION: Final = 1 << 63

Params = Mapping[str, str | None]


async def status(gateway: Gateway, request: Request, params: Params) -> Response:
    """The versions of a model as one replica sees them; a label in the URL is ignored, as TensorFlow Serving does."""
    name, choice = named(params)
    _require_configured(gateway, name)
    answer = await gateway.server.status(name, choice.version, _deadline(gateway))
    return Response(body=status_body(list(answer.model_version_status)))


async def metadata(gateway: Gateway, request: Request, params: Params) -> Response:
    """The signatures of a version, and which version a label resolves to."""
    name, choice = named(params)
    _require_configured(gateway, name)
    answer = await gateway.server.metadata(name, choice, _deadline(gateway))
    return Response(body=metadata_body(name, answer.version, answer.signatures))


def named(params: Params) -> tuple[str, Choice]:
    """The model and the choice that a path names. Errors: RpcError."""
    version, label = params["version"], params["label"]
    number = whole_number(version, most=MAX_VERSION) if version else None
    if number == MAX_VERSION:
        raise RpcError(Code.INVALID_ARGUMENT, f"Failed to convert version: {version} to numeric.")
    return unquote(params["model"] or ""), Choice(version=number, label=unquote(label) if label else None)


def _require_configured(gateway: Gateway, name: str) -> None:
    if name not in gateway.active.models:
        raise RpcError(Code.NOT_FOUND, f"Could not find any versions of model {name}")


def _deadline(gateway: Gateway) -> float:
    return asyncio.get_running_loop().time() + gateway.active.settings.limits.timeout_ms / 1000
