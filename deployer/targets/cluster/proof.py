"""What is still missing in a cluster: pods, versions, labels, and gateways that use them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from deployer.errors import DeployerError, SpecError
from deployer.targets import proof
from deployer.targets.cluster.names import GATEWAY, GRPC_PORT, MODEL_SERVER
from deployer.targets.cluster.objects import Pod
from deployer.targets.cluster.state import view
from deployer.targets.rest import routes
from tfserving.config import ConfigError, ModelServerConfig

if TYPE_CHECKING:
    from deployer.targets.cluster.target import ClusterTarget

Problems = tuple[str, ...]


def replicas(target: ClusterTarget, config: ModelServerConfig) -> Problems:
    """What is missing on the model servers: new pods, and versions and labels of each pod.

    `config` is the model_config that each replica must serve.
    """
    deployment = target.scaling.deployment()
    if not deployment.settled:
        status = deployment.status
        pods = [p for p in target.pods(MODEL_SERVER) if not p.terminating and not p.ready]
        found = f"{status.updated_replicas} of {deployment.spec.replicas} replicas are new, {status.replicas} exist"
        return (found, *(_unready(pod) for pod in pods))
    return _proven(target, target.pods(MODEL_SERVER), deployment.spec.replicas, config)


def scaled(target: ClusterTarget, count: int) -> Problems:
    """What is missing for exactly `count` serving replicas that every gateway knows.

    A terminating pod counts as surplus: it still uses CPU.
    """
    pods = target.pods(MODEL_SERVER)
    return _proven(target, pods, count, parsed(target.model_config())) or missing_backends(target, pods)


def gateways(target: ClusterTarget, text: str) -> Problems:
    """What is missing until every gateway is ready with this configuration."""
    deployment = target.gateway_scaling.deployment()
    pods = [pod for pod in target.pods(GATEWAY) if not pod.terminating]
    unready = tuple(_unready(pod) for pod in pods if not pod.ready)
    if unready or not deployment.settled:
        status = deployment.status
        return (f"{status.updated_replicas} of {deployment.spec.replicas} gateways are new", *unready)

    def missing(pod: Pod) -> Problems:
        return (*proof.not_following(target, pod.name, text), *proof.not_ready(target, pod.name))

    return tuple(problem for problems in target.parallel(missing, pods) for problem in problems)


def missing_backends(target: ClusterTarget, replicas: Sequence[Pod]) -> Problems:
    """Gateways whose backends are not exactly these replicas."""
    wanted = [pod.addresses(GRPC_PORT) for pod in replicas]
    every = frozenset[str]().union(*wanted)

    def missing(pod: Pod) -> Problems:
        try:
            known = {backend.address for backend in routes(target, pod.name).backends}
        except DeployerError as error:
            return (f"{pod.name} does not list its backends ({error})",)
        used, more = sum(not addresses.isdisjoint(known) for addresses in wanted), len(known - every)
        if used == len(wanted) and not more:
            return ()
        return (f"{pod.name} uses {used} of {len(wanted)} replicas{f' and {more} more' if more else ''}",)

    pods = [pod for pod in target.pods(GATEWAY) if pod.ready and not pod.terminating]
    return tuple(problem for problems in target.parallel(missing, pods) for problem in problems)


def parsed(text: str) -> ModelServerConfig:
    """Parse a model_config. Errors: SpecError."""
    try:
        return ModelServerConfig.parse(text)
    except ConfigError as error:
        raise SpecError(
            "the current model_config cannot be parsed", hint="`deployer doctor` says what to do"
        ) from error


def _proven(target: ClusterTarget, pods: Sequence[Pod], count: int, config: ModelServerConfig) -> Problems:
    if len(pods) != count:
        return (f"{len(pods)} replicas exist instead of {count}",)
    own = {name: parsed(text) for name, text in target.own_configs().items()}
    found = target.parallel(lambda pod: _missing_on_pod(target, pod, own.get(pod.name, config)), pods)
    return tuple(problem for problems in found for problem in problems)


def _missing_on_pod(target: ClusterTarget, pod: Pod, config: ModelServerConfig) -> Problems:
    if not pod.ready:
        return (_unready(pod),)
    return tuple(f"{pod.name}: {problem}" for problem in proof.missing_from(target, pod.name, config))


def _unready(pod: Pod) -> str:
    return f"{pod.name}: {view.pod_problem(pod) or 'is not ready yet'}"
