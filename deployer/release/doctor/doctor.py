"""Why a release is sick, by cause."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import msgspec

from deployer.errors import TargetError, UsageError
from deployer.files import replace_file
from deployer.release.doctor.cluster import diagnose
from deployer.release.doctor.finding import Diagnosis, Finding, merged
from deployer.release.doctor.serving import diagnose_serving, lasting, silences
from deployer.rollout.rollouts import history_of
from deployer.targets.base import GatewayReplica, Replica, Target
from deployer.targets.cluster.state.snapshot import Snapshot, snapshot
from deployer.targets.cluster.target import ClusterTarget
from deployer.targets.local import process as local_process
from deployer.targets.local.target import LocalTarget
from deployer.targets.serving_view import ServingView, view
from tfserving.config import ConfigError, ModelServerConfig

AGAIN_SECONDS = 3.0
"""Before a second look: replicas and gateways have read by then what was written just before the first one."""


def doctor(target: Target, *, keep: Path | None = None, sleep: Callable[[float], None] = time.sleep) -> Diagnosis:
    """Look at a release and explain it; when replicas or gateways seem to be wrong, look again and believe only what is
    still so. In a cluster, `keep` is a file for all that was looked at.

    Errors: TargetError when the release is not there, or its place cannot be reached; UsageError for `keep`.
    """
    if isinstance(target, ClusterTarget):
        seen = _with_rollouts(target, snapshot(target))
        if [*diagnose_serving(seen.serving)]:
            sleep(AGAIN_SECONDS)
            seen = replace(_with_rollouts(target, snapshot(target)), before=seen.serving)
        if keep is not None:
            _write(keep, seen)
        return diagnose(seen, target=target.describe())
    if keep is not None:
        raise UsageError("--keep is for a release in a cluster", hint="add --target cluster")
    found, before = _standing(target, view(target)), None
    if [*diagnose_serving(found)]:
        sleep(AGAIN_SECONDS)
        found, before = _standing(target, view(target)), found
    dead = _dead(target) if isinstance(target, LocalTarget) else ()
    silent = silences(found, [*found.replicas, *found.gateways])
    return Diagnosis(target=target.describe(), findings=merged([*dead, *silent, *lasting(found, before)]))


def read(path: Path) -> Snapshot:
    """What `keep` wrote. Errors: UsageError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Snapshot)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"{path} is no snapshot of a release", hint="`deployer doctor --keep FILE` writes one"
        ) from error


def _write(path: Path, seen: Snapshot) -> None:
    try:
        replace_file(path, msgspec.json.format(msgspec.json.encode(seen)))
    except OSError as error:
        raise UsageError(f"{path} cannot be written", hint="--keep names another file") from error


def _with_rollouts(target: ClusterTarget, seen: Snapshot) -> Snapshot:
    return replace(seen, serving=_standing(target, seen.serving))


def _standing(target: Target, seen: ServingView) -> ServingView:
    """The view with the rollouts that are open, as far as anything can be read of them."""
    try:
        histories = history_of(target)
        models = [model.name for model in ModelServerConfig.parse(seen.model_config).models]
        found = [histories.read(model).open for model in models]
        return replace(seen, rollouts=tuple(one for one in found if one is not None), at_work=histories.holder())
    except (ConfigError, TargetError):
        return seen


def _dead(target: LocalTarget) -> Iterator[Finding]:
    if not target.gateways():
        yield Finding(
            cause="no gateway runs",
            subjects=(target.layout.directory.name,),
            evidence="the release has replicas and no gateway: its start was cut off",
            remedy="`deployer local up` starts what is missing",
        )
    processes: tuple[Replica | GatewayReplica, ...] = (*target.replicas(), *target.gateways())
    for process in processes:
        if not process.alive:
            yield Finding(
                cause="a process has ended",
                subjects=(process.name,),
                evidence=local_process.log_tail(target.layout, process.name),
                remedy=f"the whole log is {target.layout.log(process.name)}; `deployer local up` starts it again",
            )
