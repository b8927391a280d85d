"""How requests reach a release: through its gateways, or by gRPC straight to one replica."""

from __future__ import annotations

from deployer.errors import SpecError, TargetError
from deployer.records.endpoint import Grpc, RecordApi
from deployer.release.smoke import inputs as inputs_of
from deployer.targets.base import GatewayReplica, Target
from deployer.targets.rest import Asked
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
    """Where and how to send requests for a model, after a sentence part that says it ("gateway-0 at http://…").

    Without `label` or `version` the gateway routes by its weights; it alone takes a version. `timeout` bounds what is
    asked of a replica beforehand. `gateways` are those to use, by default all of the release that this machine reaches.
    Errors: SpecError for a model or signature that the release has not, TargetError when nothing of it runs.
    """
    settings = _settings(target, model)
    if direct:
        return _replica(target, model, label=label, signature=settings.signature, timeout=timeout)
    reached = [g for g in (target.gateways() if gateways is None else gateways) if g.alive and g.url]
    if not reached:
        raise TargetError("no gateway of the release can be reached", hint="`deployer status` shows what runs")
    through = ", ".join(f"{g.name} at {g.url}" for g in reached)
    asked = Asked(model=model, label=label, version=version)
    return through, RecordApi(urls=tuple(g.url for g in reached), path=asked.predict_path)


def load_endpoint(
    target: Target, model: str, *, label: str, direct: bool, timeout: float
) -> tuple[str, RecordApi | Grpc]:
    """As `endpoint`, for load: addresses are those that the generator beside the release reaches.

    `direct` is one gRPC channel past the gateways. Errors: as `endpoint`.
    """
    settings, load_endpoints = _settings(target, model), target.load_endpoints()
    if not direct:
        path = Asked(model=model, label=label).predict_path
        return ", ".join(load_endpoints.gateways), RecordApi(urls=load_endpoints.gateways, path=path)
    replica = next((r.name for r in target.replicas() if r.alive), None)
    if replica is None:
        raise TargetError("no replica of the release runs", hint="`deployer status` shows what does")
    inputs = inputs_of(target, replica, model, label, signature=settings.signature, timeout=timeout)
    dtypes = {name: tensor.dtype.removeprefix("DT_").lower() for name, tensor in inputs.items()}
    address = load_endpoints.model_servers
    found = Grpc(address=address, model=model, label=label, signature=settings.signature, dtypes=dtypes)
    return f"one gRPC channel to {address}", found


def _replica(target: Target, model: str, *, label: str, signature: str, timeout: float) -> tuple[str, Grpc]:
    replica = next((r for r in target.replicas() if r.alive and r.grpc), None)
    if replica is None:
        raise TargetError("no replica of the release can be reached", hint="`deployer status` shows what runs")
    try:
        with Client(replica.grpc) as client:
            metadata = client.metadata(model, label=label or None, timeout=timeout)
    except ModelServerError as error:
        raise TargetError(f"{replica.name} refuses to describe {model}", hint="`deployer status`") from error
    declared = metadata.signatures.get(signature)
    if declared is None:
        raise SpecError(
            f"{model} has no signature {signature}", hint=f"it has {', '.join(metadata.signatures) or 'none'}"
        )
    dtypes = {name: tensor.dtype for name, tensor in declared.inputs.items()}
    found = Grpc(address=replica.grpc, model=model, label=label, signature=signature, dtypes=dtypes)
    return f"{replica.name} at {replica.grpc}", found


def settings_in_force(target: Target) -> Settings:
    """The configuration that the gateways run with. Errors: SpecError."""
    try:
        return parse_settings(target.gateway_config())
    except SettingsError as error:
        raise SpecError("the gateway configuration in force cannot be read", hint="`deployer render`") from error


def _settings(target: Target, model: str) -> ModelSettings:
    """What the configuration in force says of a model."""
    models = settings_in_force(target).models
    if model not in models:
        raise SpecError(f"the release has no model {model}", hint=f"it has {', '.join(models)}")
    return models[model]
