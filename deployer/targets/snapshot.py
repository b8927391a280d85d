"""The state that `deployer doctor` checks, at one moment; a different type for each kind of target."""

from __future__ import annotations

from dataclasses import dataclass

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

    `before` is what replicas and gateways reported a few seconds earlier, None when they were queried only once.
    """

    release: str
    gateways: int
    ended: tuple[EndedProcess, ...]
    serving: ServingView
    before: ServingView | None = None


Snapshot = LocalSnapshot | ClusterSnapshot
