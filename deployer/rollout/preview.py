"""Dry runs: what a rollout or a rollback would do, without changing the release."""

from __future__ import annotations

from dataclasses import dataclass

from deployer.domain.gate import BEFORE_LOAD, parse_gate
from deployer.domain.rollout import Event, Rollout, RolloutRequest
from deployer.domain.serving import ModelState
from deployer.domain.verdict import Judgement, Verdict
from deployer.errors import GateFailed, TargetError
from deployer.rollout import files
from deployer.rollout.gates import before_traffic
from deployer.rollout.gates.judge import overall
from deployer.rollout.rollouts import Rollouts
from deployer.rollout.steps import Kind, plan, wanted
from deployer.rollout.transitions import advance


@dataclass(frozen=True, kw_only=True)
class PlannedStep:
    """A step, and the state of the model after it."""

    step: str
    after: ModelState


@dataclass(frozen=True, kw_only=True)
class Preview:
    """The planned steps. `at_work` names the deployer that holds the lease, empty if none does. `verdicts` are those of
    the gates before the version is loaded, `later` are the other gates."""

    rollout: Rollout
    at_work: str
    steps: tuple[PlannedStep, ...]
    verdicts: tuple[Judgement, ...] = ()
    later: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 if the first step would pass, else 7."""
        return 0 if overall(self.verdicts) in (Verdict.PASS, Verdict.NOT_JUDGED) else GateFailed.exit_code


def preview_start(rollouts: Rollouts, request: RolloutRequest) -> Preview:
    """What `start` would do. Errors: as for `start`, except that another deployer at work is not an error."""
    rollout, facts = rollouts.prepared(request)
    gates = [parse_gate(text) for text in request.gates]
    first = [gate for gate in gates if gate.metric in BEFORE_LOAD]
    verdicts: tuple[Judgement, ...] = ()
    if any(step.kind is Kind.CHECK for step in plan(rollout)):
        rollout, verdicts = before_traffic.judge_stored(rollouts.target, facts, rollout, first)
    return Preview(
        rollout=rollout,
        at_work=rollouts.histories.holder(),
        steps=_steps(rollout, rollout.base),
        verdicts=verdicts,
        later=tuple(gate.text for gate in gates if gate not in first),
    )


def preview_rollback(rollouts: Rollouts, to: int | None, *, timeout: float) -> Preview:
    """What `rollback` would do. Errors: as for `rollback`, except that another deployer at work is not an error."""
    request = rollouts.rollback_request(to, timeout=timeout)
    if request is not None:
        return preview_start(rollouts, request)
    found = rollouts.histories.read(rollouts.model).open
    if found is None:
        raise TargetError(f"the rollout of {rollouts.model} has just ended", hint="try again")
    now = files.state(files.current_config(rollouts.target), rollouts.model)
    aborted = advance(found, Event.ABORT, reason="", now=rollouts.clock.now())
    return Preview(rollout=aborted, at_work=rollouts.histories.holder(), steps=_steps(aborted, now))


def _steps(rollout: Rollout, now: ModelState) -> tuple[PlannedStep, ...]:
    steps = []
    for step in plan(rollout)[rollout.position :]:
        now = wanted(rollout, step, now)
        steps.append(PlannedStep(step=str(step), after=now))
    return tuple(steps)
