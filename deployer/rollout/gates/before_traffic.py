"""Gates before traffic: facts from the store, and the first responses of the loaded version."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from deployer.domain.gate import Gate, Metric
from deployer.domain.rollout import Policy, Rollout
from deployer.domain.verdict import Judgement, Verdict
from deployer.release.memory import loading
from deployer.release.window import Observations
from deployer.rollout import files, smoke
from deployer.rollout.facts import VersionFacts
from deployer.rollout.gates.judge import judge
from deployer.rollout.proof import Clock, alive
from deployer.targets.base import Progress, Target

Judged = tuple[Rollout, tuple[Judgement, ...]]
"""A rollout with its measurements, and the verdicts."""


def judge_stored(target: Target, facts: VersionFacts, rollout: Rollout, gates: Sequence[Gate]) -> Judged:
    """Judge before anything changes: feature spec, size, parity, skew, and whether the version fits in memory."""
    size = float(facts.size) if facts.size is not None else None
    rollout = rollout.with_found(size=size, parity=facts.parity, skew=facts.skew)
    verdicts = judge(gates, observations(rollout), min_samples=0)
    others = (_spec(target, facts, rollout), _memory(target, facts, rollout))
    return rollout, (*verdicts, *(judgement for judgement in others if judgement is not None))


def judge_loaded(
    target: Target, rollout: Rollout, gates: Sequence[Gate], *, clock: Clock, progress: Progress
) -> Judged:
    """Judge the loaded version: a smoke request to every replica, labelled records, load time and memory.

    Errors: as for `smoke`.
    """
    model, request = rollout.model, rollout.request
    signature = files.signature(target, model)
    smoke_verdict = smoke.smoke(
        target, model, version=request.to, stable=rollout.previous, signature=signature, clock=clock
    )
    progress(str(smoke_verdict))
    if smoke_verdict.verdict is Verdict.FAIL:
        return rollout, (smoke_verdict,)
    no_accuracy = ""
    if request.labelled:
        share, no_accuracy = smoke.accuracy(target, model, Path(request.labelled))
        rollout = rollout.with_found(accuracy=share)
    rollout = rollout.with_found(memory=_in_use(target, rollout, gates, clock))
    verdicts = [smoke_verdict]
    for verdict in judge(gates, observations(rollout), min_samples=0):
        failed = no_accuracy and verdict.gate.startswith(Metric.ACCURACY)
        verdicts.append(replace(verdict, verdict=Verdict.FAIL, numbers=no_accuracy) if failed else verdict)
    return rollout, tuple(verdicts)


def observations(rollout: Rollout) -> Observations:
    """The measurements of a rollout so far, for gates."""
    found = rollout.found
    return Observations(
        size=found.size,
        parity=found.parity,
        skew=found.skew,
        load_time=found.load_time,
        memory=found.memory,
        accuracy=found.accuracy,
    )


def _spec(target: Target, facts: VersionFacts, rollout: Rollout) -> Judgement | None:
    if facts.features is not None or rollout.previous not in files.versions_with_spec(target, rollout.model):
        return None
    numbers = f"version {rollout.request.to} has none, but version {rollout.previous} has one"
    return Judgement(
        gate="feature spec",
        verdict=Verdict.FAIL,
        numbers=f"{numbers}: requests with records would fail",
    )


def _memory(target: Target, facts: VersionFacts, rollout: Rollout) -> Judgement | None:
    """Whether the version fits in memory, next to the stable version or instead of it; None if unknown."""
    limits = [replica.memory_limit for replica in alive(target) if replica.memory_limit is not None]
    limit, size = min(limits, default=facts.memory_limit), facts.size
    if limit is None or size is None or rollout.request.to in rollout.base.versions:
        return None
    side_by_side = rollout.request.policy is Policy.AVAILABILITY
    fits, numbers = loading(limit, size, smoke.memory(target), side_by_side=side_by_side)
    gate = f"{'two versions fit' if side_by_side else 'the version fits'} in memory"
    return Judgement(gate=gate, verdict=Verdict.PASS if fits else Verdict.FAIL, numbers=numbers)


def _in_use(target: Target, rollout: Rollout, gates: Sequence[Gate], clock: Clock) -> float | None:
    """Memory in use since this step began, when both versions are loaded. Waits for it only if a gate needs it."""
    since = rollout.step_started
    if not any(gate.metric is Metric.MEMORY for gate in gates):
        return smoke.memory(target, since=since)
    return smoke.settled_memory(target, since=since, clock=clock, timeout=rollout.request.timeout)
