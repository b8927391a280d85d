"""Why a release is unhealthy, by cause."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec

from deployer.errors import UsageError
from deployer.files import replace_file
from deployer.release.doctor import cluster, local
from deployer.release.doctor.finding import Diagnosis
from deployer.release.doctor.serving import diagnose_serving
from deployer.targets.base import Target
from deployer.targets.cluster.state.snapshot import ClusterSnapshot
from deployer.targets.serving_view import ServingView
from deployer.targets.snapshot import LocalSnapshot, Snapshot

AGAIN_SECONDS = 3.0
"""Before a second look: replicas and gateways have read by then what was written just before the first one."""

Rollouts = Callable[[Target, ServingView], ServingView]
"""Adds the rollouts that are open to a view."""


def doctor(
    target: Target, *, rollouts: Rollouts, keep: Path | None = None, sleep: Callable[[float], None] = time.sleep
) -> Diagnosis:
    """Look at a release and explain it; when replicas or gateways seem to be wrong, look again and believe only what is
    still so. In a cluster, `keep` is a file for all that was looked at.

    Errors: TargetError when the release is not there, or its place cannot be reached; UsageError for `keep`.
    """

    def look() -> Snapshot:
        seen = target.snapshot()
        return replace(seen, serving=rollouts(target, seen.serving))

    seen = look()
    if [*diagnose_serving(seen.serving)]:
        sleep(AGAIN_SECONDS)
        seen = replace(look(), before=seen.serving)
    match seen:
        case ClusterSnapshot():
            if keep is not None:
                _write(keep, seen)
            return cluster.diagnose(seen, target=target.describe())
        case LocalSnapshot():
            if keep is not None:
                raise UsageError("--keep is for a release in a cluster", hint="add --target cluster")
            return local.diagnose(seen, target=target.describe())


def read(path: Path) -> ClusterSnapshot:
    """What `keep` wrote. Errors: UsageError."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=ClusterSnapshot)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"{path} is no snapshot of a release", hint="`deployer doctor --keep FILE` writes one"
        ) from error


def _write(path: Path, seen: ClusterSnapshot) -> None:
    try:
        replace_file(path, msgspec.json.format(msgspec.json.encode(seen)))
    except OSError as error:
        raise UsageError(f"{path} cannot be written", hint="--keep names another file") from error
