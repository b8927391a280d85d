"""Everything but predictions: what the models are, and how the gateway is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Final
from urllib.parse import unquote

import msgspec

from gateway.active import Model
from gateway.api.http import JSON, Header, Request, Response, whole_number
from gateway.api.schema import openapi as openapi_document
from gateway.api.schema import record_schema
from gateway.backends.rpc import RpcError
from gateway.errors import NotFound
from gateway.gateway import Gateway
from gateway.routing.labels import NEWEST, Choice
from tfserving.json.messages import metadata_body, status_body
from tfserving.wire.status import Code

TEXT: Final[Header] = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")
MAX_VERSION: Final = 1 << 63

Params = Mapping[str, str | None]


async def status(gateway: Gateway, request: Request, params: Params) -> Response:
    """The versions of a model as one replica sees them; a label in the URL is ignored, as TensorFlow Serving does."""
    name, choice = _named(params)
    _require_configured(gateway, name)
    answer = await gateway.server.status(name, choice.version, _deadline(gateway))
    return Response(body=status_body(list(answer.model_version_status)))


async def metadata(gateway: Gateway, request: Request, params: Params) -> Response:
    """The signatures of a version, and which version a label resolves to."""
    name, choice = _named(params)
    _require_configured(gateway, name)
    answer = await gateway.server.metadata(name, choice, _deadline(gateway))
    return Response(body=metadata_body(name, answer.version, answer.signatures))


async def schema(gateway: Gateway, request: Request, params: Params) -> Response:
    """The JSON Schema of a record, for the version that most requests get or the one that the URL names."""
    name, choice = _named(params)
    model = gateway.active.models.get(name)
    if model is None:
        raise NotFound(
            f"no model '{name}'; there are {', '.join(sorted(gateway.active.models)) or 'none'}", stage="route"
        )
    if choice == NEWEST and model.router is not None:
        weights = model.router.weights
        choice = Choice(label=max(weights, key=lambda label: weights[label]))
    version = model.versions.get(model.expected_version(choice) or -1)
    if version is None:
        raise NotFound(f"model '{name}', {choice}: no feature spec, so it takes no records", stage="route")
    return _json(record_schema(version.spec, title=f"record of {name} version {version.number}"))


async def openapi(gateway: Gateway, request: Request, params: Params) -> Response:
    """The gateway's OpenAPI document, with every model of the config."""
    specs = {
        model.name: {number: version.spec for number, version in model.versions.items()}
        for model in gateway.active.models.values()
    }
    return _json(openapi_document(specs, version=gateway.active.hash))


async def models(gateway: Gateway, request: Request, params: Params) -> Response:
    """The models of the config."""
    listed = [
        {
            "name": model.name,
            "signature": model.settings.signature,
            "labels": model.settings.labels,
            "versions_with_spec": sorted(model.versions),
        }
        for model in gateway.active.models.values()
    ]
    return _json({"models": listed})


async def livez(gateway: Gateway, request: Request, params: Params) -> Response:
    """That the process answers."""
    return _json({"status": "alive"})


async def readyz(gateway: Gateway, request: Request, params: Params) -> Response:
    """Whether requests should be sent here."""
    missing = ["the gateway is shutting down"] if gateway.draining else await gateway.missing()
    if missing:
        return _json({"status": "not ready", "missing": missing}, status=503)
    return _json({"status": "ready"})


async def metrics(gateway: Gateway, request: Request, params: Params) -> Response:
    """All metrics, for Prometheus."""
    return Response(body=gateway.metrics.render(), headers=(TEXT,))


async def routes(gateway: Gateway, request: Request, params: Params) -> Response:
    """The config in force and what it makes of requests."""
    active = gateway.active
    return _json(
        {
            "config": {"hash": active.hash, "error": gateway.config_error},
            "models": {model.name: _routes_of(model) for model in active.models.values()},
            "backends": [
                {"address": backend.address, "state": backend.state, "outstanding": backend.outstanding}
                for backend in gateway.pool.backends
            ],
        }
    )


def _routes_of(model: Model) -> dict[str, object]:
    router, expected = model.router, model.expected_version
    sticky = router.sticky if router is not None else None
    return {
        "weights": dict(model.settings.routing.weights) if model.settings.routing is not None else {},
        "sticky": None if sticky is None else {"metadata": sticky.metadata, "header": sticky.header},
        "labels": {
            label: {"configured": version, "observed": model.resolved.get(Choice(label=label))}
            for label, version in model.settings.labels.items()
        },
        "newest": expected(Choice()),
        "versions_with_spec": sorted(model.versions),
    }


def _named(params: Params) -> tuple[str, Choice]:
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


def _json(content: object, *, status: int = 200) -> Response:
    return Response(status=status, body=msgspec.json.encode(content), headers=(JSON,))
