"""The pages of the admin port: what the models are, and how the gateway is."""

from __future__ import annotations

from typing import Final

import msgspec

from gateway.active import Model
from gateway.api.http import JSON, Header, Response
from gateway.api.models import Params, named
from gateway.api.page import HTML
from gateway.api.page import page as page_file
from gateway.api.schema import openapi as openapi_document
from gateway.api.schema import record_schema
from gateway.errors import NotFound
from gateway.gateway import Gateway
from gateway.routing.labels import NEWEST, Choice

TEXT: Final[Header] = (b"content-type", b"text/plain; version=0.0.4; charset=utf-8")


async def page(gateway: Gateway, params: Params) -> Response:
    """The page for people."""
    return Response(body=page_file(), headers=(HTML,))


async def schema(gateway: Gateway, params: Params) -> Response:
    """The JSON Schema of a record, for the version that most requests get or the one that the URL names."""
    name, choice = named(params)
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
        raise NotFound(f"model '{name}', {choice}: no feature spec, so it accepts no records", stage="route")
    return _json(record_schema(version.spec, title=f"record of {name} version {version.number}"))


async def openapi(gateway: Gateway, params: Params) -> Response:
    """The gateway's OpenAPI document, with every model of the config."""
    specs = {
        model.name: {number: version.spec for number, version in model.versions.items()}
        for model in gateway.active.models.values()
    }
    return _json(openapi_document(specs, version=gateway.active.hash))


async def models(gateway: Gateway, params: Params) -> Response:
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
    return _json({"models": listed, "port": gateway.port})


async def labels(gateway: Gateway, params: Params) -> Response:
    """Whether a model server responds for every routed label right now; 503 with what is missing."""
    missing = await gateway.missing()
    return _json({"missing": missing}, status=503 if missing else 200)


async def metrics(gateway: Gateway, params: Params) -> Response:
    """All metrics, for Prometheus."""
    return Response(body=gateway.metrics.render(), headers=(TEXT,))


async def routes(gateway: Gateway, params: Params) -> Response:
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


def _json(content: object, *, status: int = 200) -> Response:
    return Response(status=status, body=msgspec.json.encode(content), headers=(JSON,))
