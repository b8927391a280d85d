"""The request, settings and environment of an experiment."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path

from deployer.domain.pods import Pods
from deployer.experiment.loadgen import machine
from deployer.experiment.results import Environment, LagBounds, Machine, Objective, Settings
from deployer.targets.base import Target

TOOL = "tfserving-deployer"

CEILING_TRIALS = 2
"""Closed-loop trials that a sweep has at least."""


@dataclass(frozen=True, kw_only=True)
class ExperimentRequest:
    """What to measure. Times in seconds, rates in requests a second.

    `rates`, or without them `fractions` of the closed-loop ceiling, are tried as open-loop rates in random order, then
    `refine` more rates that narrow down the capacity. A window lasts `seconds`, longer at low rates so that p99 has
    enough responses: up to `max_seconds` for the usual number, longer for the minimum that can be judged. Each of
    `rounds` measures all of `replicas`, every second round in reverse order, so that drift of the machine does not look
    like an effect of replicas. `target_rate` is the rate to size for (0: the highest sustained rate). `load_image` is
    the image of the load generator in a cluster, empty for the deployer's image, and `pods` what the cluster demands of
    its pod. `direct` sends by gRPC through one
    plain channel that bypasses the gateways: to one replica, or to the Service in a cluster. `direct_records` adds a
    second sweep of that kind, with these records.
    """

    model: str
    records: Path
    out: Path
    label: str = "stable"
    direct: bool = False
    direct_records: Path | None = None
    replicas: tuple[int, ...] = (1, 2)
    rates: tuple[float, ...] = ()
    fractions: tuple[float, ...] = (0.5, 0.7, 0.8, 0.9)
    refine: int = 2
    rounds: int = 1
    warmup: float = 1.0
    seconds: float = 5.0
    max_seconds: float = 30.0
    ceiling_seconds: float = 2.0
    objective: Objective = field(default_factory=Objective)
    bounds: LagBounds | None = None
    batch: int = 1
    processes: int = 1
    seed: int = 1
    timeout: float = 10.0
    scale_timeout: float = 300.0
    target_rate: float = 0.0
    load_image: str = ""
    pods: Pods = field(default_factory=Pods)


def settings(request: ExperimentRequest, *, through: str, records: int) -> Settings:
    """The settings for the result of the experiment."""
    return Settings(
        model=request.model,
        label=request.label,
        through=through,
        records=records,
        replicas=request.replicas,
        fractions=request.fractions,
        refine=request.refine,
        rounds=request.rounds,
        warmup=request.warmup,
        seconds=request.seconds,
        max_seconds=request.max_seconds,
        batch=request.batch,
        processes=request.processes,
        seed=request.seed,
        timeout=request.timeout,
    )


@dataclass(frozen=True, kw_only=True)
class Outline:
    """The plan of an experiment: empty `rates` are shares of the ceiling; `seconds` is the minimum duration."""

    settings: Settings
    rates: tuple[float, ...]
    trials: int
    seconds: float


def outline(request: ExperimentRequest, *, through: str, records: int) -> Outline:
    """The plan of an experiment, without the trials that narrow down the capacity."""
    endpoints = 1 if request.direct_records is None else 2
    sweeps = request.rounds * len(request.replicas) * endpoints
    rates = len(request.rates or request.fractions)
    seconds = sweeps * (
        CEILING_TRIALS * (request.warmup + request.ceiling_seconds) + rates * (request.warmup + request.seconds)
    )
    return Outline(
        settings=settings(request, through=through, records=records),
        rates=request.rates,
        trials=sweeps * rates,
        seconds=seconds,
    )


def environment(target: Target, generator: Machine) -> Environment:
    """The environment of the figures: the machine of the load generator, and the limits of the current replicas."""
    shares = {replica.cpus for replica in target.replicas()}
    known = {TOOL: machine.versions().get(TOOL, "unknown"), **generator.versions}
    return Environment(
        **{**asdict(generator), "versions": known},
        target=target.kind,
        description=target.describe(),
        cpu_limit=target.cpu_limit(),
        cpus_per_replica=shares.pop() if len(shares) == 1 else None,
    )
