"""What the replicas and gateways of a release say of themselves, at one moment. Silence is part of the view."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from deployer.domain.rollout import Phase, Rollout
from deployer.errors import DeployerError
from deployer.targets import proof, rest
from deployer.targets.base import Target
from deployer.targets.proof import Served
from gateway.settings import settings_hash
from tfserving.config import ConfigError, ModelServerConfig

_PARALLEL = 16


@dataclass(frozen=True, kw_only=True)
class ReplicaView:
    """What one replica serves; `silence` says why it does not answer, empty when it does.

    `own` is the model_config that it follows instead of the release's, None when it follows that one.
    """

    served: tuple[Served, ...] = ()
    silence: str = ""
    own: str | None = None


@dataclass(frozen=True, kw_only=True)
class GatewayView:
    """What one gateway uses: the hash of its configuration, what is wrong with a newer one, its backends by state.

    `unready` is its own word on why it takes no traffic; `silence` why it does not answer.
    """

    hash: str = ""
    error: str = ""
    backends: Mapping[str, str] = field(default_factory=dict)
    unready: str = ""
    silence: str = ""


@dataclass(frozen=True, kw_only=True)
class ServingView:
    """The configuration in force, and what each replica and gateway makes of it.

    `rollouts` are those that are open, `steps` the step that each is at, by model; `at_work` names the deployer that
    makes them go on, empty when none does.
    """

    model_config: str
    gateway_config: str
    replicas: Mapping[str, ReplicaView] = field(default_factory=dict)
    gateways: Mapping[str, GatewayView] = field(default_factory=dict)
    rollouts: tuple[Rollout, ...] = ()
    steps: Mapping[str, str] = field(default_factory=dict)
    at_work: str = ""

    @property
    def moving(self) -> frozenset[str]:
        """Models that a deployer is changing right now, step by step, and that nobody else need worry about."""
        under_way = (Phase.PENDING, Phase.PROGRESSING)
        return frozenset(r.model for r in self.rollouts if r.phase in under_way) if self.at_work else frozenset()

    @property
    def wanted_hash(self) -> str:
        """The hash that every gateway should report."""
        return settings_hash(self.gateway_config)


def view(target: Target) -> ServingView:
    """Ask everybody. Errors: TargetError when the release is not there, or its place cannot be reached."""
    model_config, gateway_config = target.model_config(), target.gateway_config()
    try:
        config = ModelServerConfig.parse(model_config)
    except ConfigError:
        config = ModelServerConfig(models=())
    replicas = [replica.name for replica in target.replicas() if replica.alive]
    gateways = [gateway.name for gateway in target.gateways() if gateway.alive]
    own = target.own_configs()
    with ThreadPoolExecutor(_PARALLEL) as pool:
        seen = pool.map(lambda name: _replica(target, name, own.get(name), config), replicas)
        known = pool.map(lambda name: _gateway(target, name), gateways)
        return ServingView(
            model_config=model_config,
            gateway_config=gateway_config,
            replicas=dict(zip(replicas, seen, strict=True)),
            gateways=dict(zip(gateways, known, strict=True)),
        )


def _replica(target: Target, name: str, own: str | None, config: ModelServerConfig) -> ReplicaView:
    try:
        followed = config if own is None else ModelServerConfig.parse(own)
        return ReplicaView(served=proof.served(target, name, followed), own=own)
    except DeployerError as error:
        return ReplicaView(silence=error.cause or error.message)


def _gateway(target: Target, name: str) -> GatewayView:
    try:
        routes = rest.routes(target, name)
    except DeployerError as error:
        return GatewayView(silence=error.cause or error.message)
    return GatewayView(
        hash=routes.config.hash,
        error=routes.config.error or "",
        backends={backend.address: backend.state for backend in routes.backends},
        unready="; ".join(proof.not_ready(target, name)),
    )
