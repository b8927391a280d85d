"""Sizing from measured capacity: replicas for a target rate, and values for an autoscaler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

from deployer.experiment.usl import Fit

if TYPE_CHECKING:
    from deployer.experiment.results import Capacity

_CPU_TARGET = 0.7
"""The autoscaler's target, as a share of a replica's CPU at capacity, so that it scales before latency rises."""

_MAX_REPLICAS_FACTOR = 1.25
"""The autoscaler's maximum, relative to the replicas for the target rate."""


@dataclass(frozen=True, kw_only=True)
class Sizing:
    """Replicas for a target rate, and values for a HorizontalPodAutoscaler.

    `replicas` is None if no number suffices. `target_millicores` is the target of the average CPU per replica,
    `target_percent` the same relative to the CPU limit, None without a limit. `extrapolated`: more replicas are needed
    than were measured.
    """

    rate: float
    replicas: int | None
    extrapolated: bool
    min_replicas: int
    max_replicas: int
    target_millicores: int | None
    target_percent: int | None
    basis: str


def size(
    capacities: Sequence[Capacity], fit: Fit | None, *, rate: float | None, cpus_per_replica: float | None
) -> Sizing | None:
    """Replicas and autoscaler values for a target rate (default: the highest capacity); None without a capacity."""
    sustained = [c for c in capacities if c.rate > 0]
    if not sustained:
        return None
    best = max(sustained, key=lambda c: c.rate)
    target = rate or best.rate
    needed: int | None
    measured = min((c.replicas for c in sustained if c.rate >= target), default=None)
    if measured is not None:
        needed, basis = measured, "measured"
    elif fit is not None:
        needed, basis = fit.replicas_for(target), "scaling law"
    else:
        needed, basis = ceil(target / (best.rate / best.replicas)), f"{best.replicas} replicas, scaled linearly"
    cores = next((c.cores_per_replica for c in reversed(sustained) if c.cores_per_replica), None)
    top = ceil((needed or best.replicas) * _MAX_REPLICAS_FACTOR)
    return Sizing(
        rate=target,
        replicas=needed,
        extrapolated=measured is None,
        min_replicas=min(2, top),
        max_replicas=max(2, top),
        target_millicores=round(cores * _CPU_TARGET * 1000) if cores else None,
        target_percent=round(100 * cores * _CPU_TARGET / cpus_per_replica) if cores and cpus_per_replica else None,
        basis=basis,
    )
