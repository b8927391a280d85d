"""The state that `deployer doctor` checks, at one moment; a different type for each kind of target."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployer.targets.cluster.state.snapshot import ClusterSnapshot
from deployer.targets.serving_view import ServingView


@dataclass(frozen=True, kw_only=True)
class EndedProcess:
    """A process that has ended by itself: the path of its log, and the last lines of it."""

    name: str
    log: str
    log_tail: str


@dataclass(frozen=True, kw_only=True)
class LocalSnapshot:
    """A local release: how many gateways it has, which processes have ended, and what the others report.

    `absent` are the configured versions whose directory does not exist: model, version, path. `addresses` are those of
    the replicas, `logs` the path of the log of each process that runs.

    `before` is what replicas and gateways reported a few seconds earlier, None when they were queried only once.
    """

    release: str
    gateways: int
    ended: tuple[EndedProcess, ...]
    serving: ServingView
    absent: tuple[tuple[str, int, str], ...] = ()
    addresses: tuple[str, ...] = ()
    logs: Mapping[str, str] = field(default_factory=dict)
    before: ServingView | None = None


Snapshot = LocalSnapshot | ClusterSnapshot
