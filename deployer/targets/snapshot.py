"""All that `deployer doctor` looks at, frozen at one moment. What a place has besides replicas and gateways differs."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.targets.cluster.state.snapshot import ClusterSnapshot
from deployer.targets.serving_view import ServingView


@dataclass(frozen=True, kw_only=True)
class EndedProcess:
    """A process that has ended by itself: the path of its log, and the end of that."""

    name: str
    log: str
    log_tail: str


@dataclass(frozen=True, kw_only=True)
class LocalSnapshot:
    """A release on this machine: how many gateways it has, which processes have ended, and what the others report.

    `before` is what replicas and gateways reported a few seconds earlier, None when they were asked once.
    """

    release: str
    gateways: int
    ended: tuple[EndedProcess, ...]
    serving: ServingView
    before: ServingView | None = None


Snapshot = LocalSnapshot | ClusterSnapshot
