"""Trials and experiments that are written down, not measured."""

from __future__ import annotations

from deployer.experiment import sizing
from deployer.experiment.latency import PERCENTILES, Latency, latency
from deployer.experiment.results import (
    Capacity,
    CpuUse,
    Environment,
    Experiment,
    Kind,
    LagBounds,
    Objective,
    Settings,
    Trial,
)

OBJECTIVE = Objective(p99_ms=100, error_rate=0.01)
BOUNDS = LagBounds.for_objective(OBJECTIVE)


def spread(p99: float, count: int = 2000) -> Latency:
    """A distribution whose p99 is given; the slowest answer took half as long again."""
    values = {q: p99 * q / 99 for q in PERCENTILES}
    return latency(count=count, mean_ms=p99 / 3, max_ms=p99 * 1.5, values_ms=values)


def trial(
    offered: float, p99: float, *, replicas: int = 1, number: int = 1, round_number: int = 1, count: int = 2000
) -> Trial:
    """An open-loop trial, or one of the ceiling when `offered` is 0."""
    return Trial(
        number=number,
        round=round_number,
        replicas=replicas,
        kind=Kind.OPEN if offered else Kind.CEILING,
        offered=offered,
        concurrency=0 if offered else 8,
        batch=1,
        started=1_700_000_000.0,
        seconds=10.0,
        sent=count,
        answered=count,
        throughput=offered or 110.0 * replicas,
        late=0,
        errors={},
        first_error="",
        latency=spread(p99, count),
        lag=spread(0.5, count),
        cpu=(CpuUse(name="replica-0", role="replica", cores=0.2), CpuUse(name="gateway-0", role="gateway", cores=0.1)),
        generator_cores=0.05,
        machine_busy=0.4,
        load_average=0.3,
        histogram=f"trial-{number:02d}.hlog",
    )


def experiment(capacities: tuple[Capacity, ...], trials: tuple[Trial, ...], headline: str = "H") -> Experiment:
    counts = tuple(sorted({t.replicas for t in trials}))
    return Experiment(
        settings=Settings(
            model="digits", label="stable", through="gateway-0", records=10, replicas=counts, fractions=(0.5,),
            refine=0, rounds=1, warmup=1, seconds=10, max_seconds=30, batch=1, processes=1, seed=1, timeout=10,
        ),
        objective=OBJECTIVE,
        bounds=BOUNDS,
        environment=Environment(
            target="local", description="here", cpu_model="a CPU", cores=2, memory_gib=8, system="an OS", versions={},
            load_average=0.1, cpu_limit="none", cpus_per_replica=None,
        ),
        started=1_700_000_000.0,
        finished=1_700_000_100.0,
        interrupted=False,
        accuracy=None,
        headline=headline,
        notes=("<b>a note</b>",),
        capacities=capacities,
        fit=None,
        sizing=sizing.size(capacities, None, rate=None, cpus_per_replica=0.25),
        trials=trials,
    )  # fmt: skip
