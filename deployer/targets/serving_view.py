"""What the replicas and gateways of a release report, at one moment, including those that do not respond."""

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
    """What one replica serves; `unreachable` says why it does not respond, empty if it does.

    `own` is its own model_config, None if it uses that of the release.
    """

    served: tuple[Served, ...] = ()
    unreachable: str = ""
    own: str | None = None


@dataclass(frozen=True, kw_only=True)
class GatewayView:
    """What one gateway reports: its configuration hash, the error of a newer configuration, the state of each backend.

    `unready` is why it takes no traffic; `unreachable` why it does not respond.
    """

    hash: str = ""
    error: str = ""
    backends: Mapping[str, str] = field(default_factory=dict)
    unready: str = ""
    unreachable: str = ""


@dataclass(frozen=True, kw_only=True)
class FailedRequest:
    """A Predict of zeros to a label of a model, through a gateway, that got no response of the model.

    `why` says why, `remedy` what helps; empty when only the other findings can tell.
    """

    gateway: str
    model: str
    label: str
    why: str
    remedy: str = ""


@dataclass(frozen=True, kw_only=True)
class ServingView:
    """The current configuration, and what each replica and gateway reports. `target` is `local` or `cluster`.

    `rollouts` are the open ones, `steps` their current step by model; `at_work` names the deployer that runs them,
    empty if none does. `failed` are requests that were tried and failed.
    """

    model_config: str
    gateway_config: str
    replicas: Mapping[str, ReplicaView] = field(default_factory=dict)
    gateways: Mapping[str, GatewayView] = field(default_factory=dict)
    rollouts: tuple[Rollout, ...] = ()
    steps: Mapping[str, str] = field(default_factory=dict)
    at_work: str = ""
    failed: tuple[FailedRequest, ...] = ()
    target: str = "cluster"

    @property
    def rolling_out(self) -> frozenset[str]:
        """Models that a deployer is rolling out right now."""
        under_way = (Phase.PENDING, Phase.PROGRESSING)
        return frozenset(r.model for r in self.rollouts if r.phase in under_way) if self.at_work else frozenset()

    @property
    def wanted_hash(self) -> str:
        """The hash that every gateway should report."""
        return settings_hash(self.gateway_config)


def view(target: Target) -> ServingView:
    """Query all replicas and gateways. Errors: TargetError when the release does not exist or is unreachable."""
    model_config, gateway_config = target.model_config(), target.gateway_config()
    try:
        config = ModelServerConfig.parse(model_config)
    except ConfigError:
        config = ModelServerConfig(models=())
    replicas = [replica.name for replica in target.replicas() if replica.alive]
    gateways = [gateway.name for gateway in target.gateways() if gateway.alive]
    own = target.own_configs()
    with ThreadPoolExecutor(_PARALLEL) as pool:
        replica_views = pool.map(lambda name: _replica(target, name, own.get(name), config), replicas)
        gateway_views = pool.map(lambda name: _gateway(target, name), gateways)
        return ServingView(
            model_config=model_config,
            gateway_config=gateway_config,
            target="local" if target.kind == "local" else "cluster",
            replicas=dict(zip(replicas, replica_views, strict=True)),
            gateways=dict(zip(gateways, gateway_views, strict=True)),
        )


def _replica(target: Target, name: str, own: str | None, config: ModelServerConfig) -> ReplicaView:
    try:
        followed = config if own is None else ModelServerConfig.parse(own)
        return ReplicaView(served=proof.served(target, name, followed), own=own)
    except DeployerError as error:
        return ReplicaView(unreachable=error.cause or error.message)


def _gateway(target: Target, name: str) -> GatewayView:
    try:
        routes = rest.routes(target, name)
    except DeployerError as error:
        return GatewayView(unreachable=error.cause or error.message)
    return GatewayView(
        hash=routes.config.hash,
        error=routes.config.error or "",
        backends={backend.address: backend.state for backend in routes.backends},
        unready="; ".join(proof.not_ready(target, name)),
    )
