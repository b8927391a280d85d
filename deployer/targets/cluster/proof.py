"""What a release in a cluster still lacks: pods, versions, labels, and gateways that know of it all."""

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

Missing = tuple[str, ...]


def replicas(target: ClusterTarget, config: ModelServerConfig) -> Missing:
    """What keeps the model servers from being as wished: old pods, and per pod its versions and labels.

    `config` is what each replica has to prove.
    """
    deployment = target.scaling.deployment()
    if not deployment.settled:
        status = deployment.status
        pods = [p for p in target.pods(MODEL_SERVER) if not p.leaving and not p.ready]
        found = f"{status.updated_replicas} of {deployment.spec.replicas} replicas are new, {status.replicas} exist"
        return (found, *(_unready(pod) for pod in pods))
    return _proven(target, target.pods(MODEL_SERVER), deployment.spec.replicas, config)


def scaled(target: ClusterTarget, count: int) -> Missing:
    """What keeps the release from having exactly `count` proven replicas, and every gateway from knowing them.

    A pod on its way out counts as one too many: it still uses CPU.
    """
    pods = target.pods(MODEL_SERVER)
    return _proven(target, pods, count, parsed(target.model_config())) or knowing(target, pods)


def gateways(target: ClusterTarget, text: str) -> Missing:
    """What keeps every gateway from taking traffic with this configuration."""
    deployment = target.gateway_scaling.deployment()
    pods = [pod for pod in target.pods(GATEWAY) if not pod.leaving]
    unready = tuple(_unready(pod) for pod in pods if not pod.ready)
    if unready or not deployment.settled:
        status = deployment.status
        return (f"{status.updated_replicas} of {deployment.spec.replicas} gateways are new", *unready)

    def missing(pod: Pod) -> Missing:
        return (*proof.not_following(target, pod.name, text), *proof.not_ready(target, pod.name))

    return tuple(problem for missing_ in target.parallel(missing, pods) for problem in missing_)


def knowing(target: ClusterTarget, replicas: Sequence[Pod]) -> Missing:
    """Gateways whose list of backends is not exactly these replicas."""
    wanted = {f"{pod.status.pod_ip}:{GRPC_PORT}" for pod in replicas}

    def missing(pod: Pod) -> Missing:
        try:
            known = {backend.address for backend in routes(target, pod.name).backends}
        except DeployerError as error:
            return (f"{pod.name} does not tell its backends ({error})",)
        return () if known == wanted else (f"{pod.name} knows {len(known & wanted)} of {len(wanted)} replicas",)

    pods = [pod for pod in target.pods(GATEWAY) if pod.ready and not pod.leaving]
    return tuple(problem for missing_ in target.parallel(missing, pods) for problem in missing_)


def parsed(text: str) -> ModelServerConfig:
    """A model_config. Errors: SpecError."""
    try:
        return ModelServerConfig.parse(text)
    except ConfigError as error:
        raise SpecError("the model_config in force cannot be read", hint="`deployer doctor` says what to do") from error


def _proven(target: ClusterTarget, pods: Sequence[Pod], count: int, config: ModelServerConfig) -> Missing:
    if len(pods) != count:
        return (f"{len(pods)} replicas exist instead of {count}",)
    own = {name: parsed(text) for name, text in target.own_configs().items()}
    found = target.parallel(lambda pod: _pod_lacks(target, pod, own.get(pod.name, config)), pods)
    return tuple(problem for missing in found for problem in missing)


def _pod_lacks(target: ClusterTarget, pod: Pod, config: ModelServerConfig) -> Missing:
    if not pod.ready:
        return (_unready(pod),)
    return tuple(f"{pod.name}: {problem}" for problem in proof.missing_from(target, pod.name, config))


def _unready(pod: Pod) -> str:
    return f"{pod.name}: {view.pod_problem(pod) or 'is not ready yet'}"
