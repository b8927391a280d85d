"""What is judged before a version gets traffic: what the store knows of it, and its first answers."""

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
"""A rollout with what was measured, and the verdicts on it."""


def of_the_store(target: Target, facts: VersionFacts, rollout: Rollout, gates: Sequence[Gate]) -> Judged:
    """Before anything is touched: feature spec, size and parity, and whether memory has room for the version."""
    size = float(facts.size) if facts.size is not None else None
    rollout = rollout.with_found(size=size, parity=facts.parity)
    verdicts = judge(gates, observations(rollout), min_samples=0)
    others = (_spec(target, facts, rollout), _memory(target, facts, rollout))
    return rollout, (*verdicts, *(one for one in others if one is not None))


def of_itself(target: Target, rollout: Rollout, gates: Sequence[Gate], *, clock: Clock, progress: Progress) -> Judged:
    """A smoke request to every replica, labelled records to the version, and what it takes.

    Errors: as of `rollout_trial`.
    """
    model, request = rollout.model, rollout.request
    signature = files.signature(target, model)
    smoked = smoke.smoke(target, model, version=request.to, stable=rollout.previous, signature=signature, clock=clock)
    progress(str(smoked))
    if smoked.verdict is Verdict.FAIL:
        return rollout, (smoked,)
    silent = ""
    if request.labelled:
        right, silent = smoke.accuracy(target, model, Path(request.labelled))
        rollout = rollout.with_found(accuracy=right)
    rollout = rollout.with_found(memory=_in_use(target, rollout, gates, clock))
    verdicts = [smoked]
    for verdict in judge(gates, observations(rollout), min_samples=0):
        unanswered = silent and verdict.gate.startswith(Metric.ACCURACY)
        verdicts.append(replace(verdict, verdict=Verdict.FAIL, numbers=silent) if unanswered else verdict)
    return rollout, tuple(verdicts)


def observations(rollout: Rollout) -> Observations:
    """What a rollout has found so far, as gates take it."""
    found = rollout.found
    return Observations(
        size=found.size,
        parity=found.parity,
        load_time=found.load_time,
        memory=found.memory,
        accuracy=found.accuracy,
    )


def _spec(target: Target, facts: VersionFacts, rollout: Rollout) -> Judgement | None:
    if facts.features is not None or rollout.previous not in files.versions_with_spec(target, rollout.model):
        return None
    numbers = f"version {rollout.request.to} has none, and version {rollout.previous} has one"
    return Judgement(
        gate="feature spec",
        verdict=Verdict.FAIL,
        numbers=f"{numbers}: requests with records could not be answered",
    )


def _memory(target: Target, facts: VersionFacts, rollout: Rollout) -> Judgement | None:
    """Whether the version can be loaded, beside the first or in its place, where limit and size are known."""
    limits = [replica.memory_limit for replica in alive(target) if replica.memory_limit is not None]
    limit, size = min(limits, default=facts.memory_limit), facts.size
    if limit is None or size is None or rollout.request.to in rollout.base.versions:
        return None
    beside = rollout.request.policy is Policy.AVAILABILITY
    fits, numbers = loading(limit, size, smoke.memory(target), beside=beside)
    gate = f"{'two versions fit' if beside else 'the version fits'} in memory"
    return Judgement(gate=gate, verdict=Verdict.PASS if fits else Verdict.FAIL, numbers=numbers)


def _in_use(target: Target, rollout: Rollout, gates: Sequence[Gate], clock: Clock) -> float | None:
    """With both versions loaded, which is so since this step began. Only a gate on it is waited for."""
    since = rollout.step_started
    if not any(gate.metric is Metric.MEMORY for gate in gates):
        return smoke.memory(target, since=since)
    return smoke.settled_memory(target, since=since, clock=clock, timeout=rollout.request.timeout)
