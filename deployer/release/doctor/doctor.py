"""`deployer doctor`: why a release is unhealthy."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from deployer.decode import json_as
from deployer.errors import UsageError
from deployer.files import replace_file
from deployer.release.doctor import cluster, local
from deployer.release.doctor.finding import Diagnosis
from deployer.release.doctor.requests import failed_requests
from deployer.release.doctor.serving import diagnose_serving
from deployer.targets.base import Target
from deployer.targets.cluster.state.snapshot import ClusterSnapshot
from deployer.targets.serving_view import ServingView
from deployer.targets.snapshot import LocalSnapshot, Snapshot

RECHECK_SECONDS = 3.0
"""Before the second check, so that replicas and gateways can read a configuration that was just written."""

Rollouts = Callable[[Target, ServingView], ServingView]
"""Adds the open rollouts to a view."""


def doctor(
    target: Target, *, rollouts: Rollouts, keep: Path | None = None, sleep: Callable[[float], None] = time.sleep
) -> Diagnosis:
    """Check a release, also by one request for each label.

    If replicas or gateways have problems, check again and report only those that persist. In a cluster, `keep` is a
    file for the snapshot.

    Errors: TargetError when the release does not exist or is unreachable; UsageError for `keep`.
    """

    def take_snapshot() -> Snapshot:
        snapshot = target.snapshot()
        serving = replace(snapshot.serving, failed=failed_requests(target, snapshot.serving))
        return replace(snapshot, serving=rollouts(target, serving))

    snapshot = take_snapshot()
    if [*diagnose_serving(snapshot.serving)]:
        sleep(RECHECK_SECONDS)
        snapshot = replace(take_snapshot(), before=snapshot.serving)
    match snapshot:
        case ClusterSnapshot():
            if keep is not None:
                _write(keep, snapshot)
            return cluster.diagnose(snapshot, target=target.describe())
        case LocalSnapshot():
            if keep is not None:
                raise UsageError("--keep needs a release in a cluster", hint="add --target cluster")
            return local.diagnose(snapshot, target=target.describe())


def read(path: Path) -> ClusterSnapshot:
    """Read a snapshot that `keep` wrote. Errors: UsageError."""
    try:
        return json_as(path.read_bytes(), ClusterSnapshot)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"{path} is not a snapshot of a release", hint="`deployer doctor --keep FILE` writes one"
        ) from error


def _write(path: Path, snapshot: ClusterSnapshot) -> None:
    try:
        replace_file(path, msgspec.json.format(msgspec.json.encode(snapshot)))
    except OSError as error:
        raise UsageError(f"{path} cannot be written", hint="choose another file with --keep") from error
