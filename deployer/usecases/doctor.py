"""Why a release is sick, by cause."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec

from deployer.domain.diagnosis import Diagnosis, Finding, merged
from deployer.errors import UsageError
from deployer.files import replace_file
from deployer.targets import local_process
from deployer.targets.base import GatewayReplica, Replica, Target
from deployer.targets.cluster import ClusterTarget
from deployer.targets.cluster_snapshot import Snapshot, snapshot
from deployer.targets.local import LocalTarget
from deployer.targets.serving_view import view
from deployer.usecases.doctor_cluster import diagnose
from deployer.usecases.doctor_serving import diagnose_serving, silences


def doctor(target: Target, *, keep: Path | None = None) -> Diagnosis:
    """Look at a release once and explain it. In a cluster, `keep` is a file for all that was looked at.

    Errors: TargetError when the release is not there, or its place cannot be reached; UsageError for `keep`.
    """
    if isinstance(target, ClusterTarget):
        seen = snapshot(target)
        if keep is not None:
            _write(keep, seen)
        return diagnose(seen, target=target.describe())
    if keep is not None:
        raise UsageError("--keep is for a release in a cluster", hint="add --target cluster")
    found = view(target)
    dead = _dead(target) if isinstance(target, LocalTarget) else ()
    silent = silences(found, [*found.replicas, *found.gateways])
    return Diagnosis(target=target.describe(), findings=merged([*dead, *silent, *diagnose_serving(found)]))


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


def _dead(target: LocalTarget) -> Iterator[Finding]:
    processes: tuple[Replica | GatewayReplica, ...] = (*target.replicas(), *target.gateways())
    for process in processes:
        if not process.alive:
            yield Finding(
                cause="a process has ended",
                subjects=(process.name,),
                evidence=local_process.log_tail(target.layout, process.name),
                remedy=f"the whole log is {target.layout.log(process.name)}; `deployer local up` starts it again",
            )
