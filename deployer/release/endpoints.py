"""Endpoints of a release for requests: its gateways, or one replica by gRPC."""

from __future__ import annotations

from deployer.errors import SpecError, TargetError
from deployer.records.endpoint import Grpc, RecordApi
from deployer.release.smoke import signature_inputs
from deployer.targets.base import GatewayReplica, Target
from deployer.targets.credentials import api_key
from deployer.targets.rest import ModelPath
from gateway.settings import ModelSettings, Settings, SettingsError, parse_settings
from tfserving.client import Client, ModelServerError


def endpoint(
    target: Target,
    model: str,
    *,
    label: str,
    direct: bool,
    timeout: float,
    gateways: tuple[GatewayReplica, ...] | None = None,
    version: int | None = None,
) -> tuple[str, RecordApi | Grpc]:
    """The endpoint for requests to a model, and its description ("gateway-0 at http://…").

    Without `label` or `version` the gateway routes by its weights; only the gateway takes a version. `timeout`
    applies to the metadata request to a replica. `gateways` are those to use, by default all that are reachable from
    this machine.
    Errors: SpecError for an unknown model or signature, TargetError when nothing of the release is running.
    """
    settings = _settings(target, model)
    if direct:
        _require_plain(target)
        return _replica(target, model, label=label, signature=settings.signature, timeout=timeout)
    reachable = [g for g in (target.gateways() if gateways is None else gateways) if g.alive and g.url]
    if not reachable:
        raise TargetError("no gateway of the release is reachable", hint="`deployer status` shows which are running")
    through = ", ".join(f"{g.name} at {g.url}" for g in reachable)
    path = ModelPath(model=model, label=label, version=version).predict_path
    urls, tls = tuple(g.url for g in reachable), reachable[0].tls
    return through, RecordApi(urls=urls, path=path, api_key=api_key(), tls=tls)


def load_endpoint(
    target: Target, model: str, *, label: str, direct: bool, timeout: float
) -> tuple[str, RecordApi | Grpc]:
    """As `endpoint`, for load: addresses are those that the load generator next to the release reaches.

    `direct` is one gRPC channel that bypasses the gateways. Errors: as for `endpoint`.
    """
    settings, load_endpoints = _settings(target, model), target.load_endpoints()
    if not direct:
        path = ModelPath(model=model, label=label).predict_path
        urls, tls = load_endpoints.gateways, load_endpoints.tls
        return ", ".join(urls), RecordApi(urls=urls, path=path, api_key=api_key(), tls=tls)
    _require_plain(target)
    replica = next((r.name for r in target.replicas() if r.alive), None)
    if replica is None:
        raise TargetError("no replica of the release is running", hint="`deployer status` shows their state")
    inputs = signature_inputs(target, replica, model, label, signature=settings.signature, timeout=timeout)
    dtypes = {name: tensor.dtype.removeprefix("DT_").lower() for name, tensor in inputs.items()}
    address = load_endpoints.model_servers
    found = Grpc(address=address, model=model, label=label, signature=settings.signature, dtypes=dtypes)
    return f"one gRPC channel to {address}", found


def _require_plain(target: Target) -> None:
    """Errors: SpecError where model servers speak TLS: only gateways have what they ask for."""
    if settings_in_force(target).backends.tls is not None:
        raise SpecError(
            "--direct speaks gRPC without TLS, and the model servers of this release speak TLS (serving.tls)",
            hint="leave out --direct: the gateways reach them",
        )


def _replica(target: Target, model: str, *, label: str, signature: str, timeout: float) -> tuple[str, Grpc]:
    replica = next((r for r in target.replicas() if r.alive and r.grpc), None)
    if replica is None:
        raise TargetError("no replica of the release is reachable", hint="`deployer status` shows which are running")
    try:
        with Client(replica.grpc) as client:
            metadata = client.metadata(model, label=label or None, timeout=timeout)
    except ModelServerError as error:
        raise TargetError(
            f"{replica.name} rejected the metadata request for {model}", hint="`deployer status` shows what is served"
        ) from error
    declared = metadata.signatures.get(signature)
    if declared is None:
        raise SpecError(
            f"{model} has no signature {signature}", hint=f"signatures: {', '.join(metadata.signatures) or 'none'}"
        )
    dtypes = {name: tensor.dtype for name, tensor in declared.inputs.items()}
    found = Grpc(address=replica.grpc, model=model, label=label, signature=signature, dtypes=dtypes)
    return f"{replica.name} at {replica.grpc}", found


def settings_in_force(target: Target) -> Settings:
    """The current gateway configuration. Errors: SpecError."""
    try:
        return parse_settings(target.gateway_config())
    except SettingsError as error:
        raise SpecError(
            "the current gateway configuration is invalid", hint="`deployer doctor` says what to do"
        ) from error


def _settings(target: Target, model: str) -> ModelSettings:
    """A model's settings in the current gateway configuration."""
    models = settings_in_force(target).models
    if model not in models:
        raise SpecError(f"the release has no model {model}", hint=f"models: {', '.join(models)}")
    return models[model]
