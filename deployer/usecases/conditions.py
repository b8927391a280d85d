"""What an experiment is asked to do, and under which conditions it does it."""

from __future__ import annotations

from deployer.domain.experiment import Environment, Settings
from deployer.loadgen import machine
from deployer.targets.base import Target

_VERSIONS = ("tfserving-deployer", "numpy", "grpcio", "hdrhistogram", "uvloop", "tensorflow")


def settings(request: ExperimentRequest, *, through: str, records: int) -> Settings:
    """What the experiment will say it was asked to do."""
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


def environment(target: Target) -> Environment:
    """Where the figures will come from: this machine, and the limits of the replicas that run now."""
    here = machine.describe(_VERSIONS)
    shares = {replica.cpus for replica in target.replicas()}
    return Environment(
        target=target.kind,
        description=target.describe(),
        cpu_model=here.cpu_model,
        cores=here.cores,
        memory_gib=here.memory_gib,
        system=here.system,
        versions=here.versions,
        load_average=machine.load_average(),
        cpu_limit=target.cpu_limit(),
        cpus_per_replica=shares.pop() if len(shares) == 1 else None,
    )
