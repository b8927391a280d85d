"""The status of a release, and whether it matches its configuration. The same for every target."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from deployer.errors import DeployerError, SpecError
from deployer.targets import proof
from deployer.targets.base import GatewayReplica, Replica, Target
from deployer.targets.proof import Served
from gateway.settings import SettingsError, parse_settings
from tfserving.config.models import ModelServerConfig
from tfserving.config.text import ConfigError

_PARALLEL = 16


@dataclass(frozen=True, kw_only=True)
class ReplicaStatus:
    """A replica, and what it serves; `missing` lists what is not as configured."""

    replica: Replica
    served: tuple[Served, ...]
    missing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class GatewayStatus:
    """A gateway; `missing` lists why it is not ready or does not use the current configuration."""

    gateway: GatewayReplica
    missing: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Status:
    """The status of a release. `weights` are shares of traffic by model and label, in percent.

    `notes` are sentences of the target about other controllers, such as an autoscaler.
    """

    target: str
    limit: str
    replicas: tuple[ReplicaStatus, ...]
    gateways: tuple[GatewayStatus, ...]
    weights: Mapping[str, Mapping[str, float]]
    notes: tuple[str, ...] = ()

    @property
    def missing(self) -> tuple[str, ...]:
        """Everything that is not as configured, with the name of the replica or gateway; empty if all is well."""
        found = [] if self.replicas else ["no replica is running"]
        found += [] if self.gateways else ["no gateway is running"]
        found += [f"{r.replica.name}: {text}" for r in self.replicas for text in r.missing]
        return (*found, *(f"{g.gateway.name}: {text}" for g in self.gateways for text in g.missing))


def status(target: Target) -> Status:
    """Query every replica and gateway. One that does not respond is part of the result, not an error.

    Errors: TargetError when the target is unreachable, SpecError when its configuration is invalid.
    """
    text = target.gateway_config()
    try:
        config = ModelServerConfig.parse(target.model_config(), "model_config")
        settings = parse_settings(text)
    except (ConfigError, SettingsError) as error:
        raise SpecError(
            "the current configuration cannot be parsed", hint="`deployer doctor` says what to do"
        ) from error
    weights = {
        name: _percent(model.routing.weights) for name, model in settings.models.items() if model.routing is not None
    }
    own = target.own_configs()
    with ThreadPoolExecutor(_PARALLEL) as pool:
        replicas = tuple(pool.map(lambda r: _replica(target, r, own.get(r.name), config), target.replicas()))
        gateways = tuple(pool.map(lambda gateway: _gateway(target, gateway, text), target.gateways()))
    return Status(
        target=target.describe(),
        limit=target.cpu_limit(),
        replicas=replicas,
        gateways=gateways,
        weights=weights,
        notes=target.notes(),
    )


def _replica(target: Target, replica: Replica, own: str | None, config: ModelServerConfig) -> ReplicaStatus:
    if not replica.alive:
        return ReplicaStatus(replica=replica, served=(), missing=("it has ended",))
    try:
        config = ModelServerConfig.parse(own) if own is not None else config
        served = proof.served(target, replica.name, config)
    except DeployerError as error:
        return ReplicaStatus(replica=replica, served=(), missing=(error.message,))
    return ReplicaStatus(replica=replica, served=served, missing=proof.missing(served, config))


def _gateway(target: Target, gateway: GatewayReplica, config: str) -> GatewayStatus:
    if not gateway.alive:
        return GatewayStatus(gateway=gateway, missing=("it has ended",))
    missing = (*proof.not_ready(target, gateway.name), *proof.not_following(target, gateway.name, config))
    return GatewayStatus(gateway=gateway, missing=missing)


def _percent(weights: Mapping[str, float]) -> Mapping[str, float]:
    total = sum(weights.values())
    return {label: 100 * weight / total for label, weight in weights.items()}
