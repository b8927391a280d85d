"""What a rollout or a rollback would do, found without touching the release."""

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
    """A step, and what of the model would be in force once it is made."""

    step: str
    after: ModelState


@dataclass(frozen=True, kw_only=True)
class Preview:
    """What would be done. `at_work` names the deployer that holds the lease, which would be refused or asked; empty
    when none does. `verdicts` are on what is judged before a replica loads the version, `later` are the other gates."""

    rollout: Rollout
    at_work: str
    steps: tuple[PlannedStep, ...]
    verdicts: tuple[Judgement, ...] = ()
    later: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 when the first step would be passed, 7 when it would not."""
        return 0 if overall(self.verdicts) is Verdict.PASS else GateFailed.exit_code


def preview_start(rollouts: Rollouts, request: RolloutRequest) -> Preview:
    """What `start` would do. Errors: as of it; another deployer at work is none."""
    rollout, facts = rollouts.prepared(request)
    gates = [parse_gate(text) for text in request.gates]
    first = [gate for gate in gates if gate.metric in BEFORE_LOAD]
    verdicts: tuple[Judgement, ...] = ()
    if any(step.kind is Kind.CHECK for step in plan(rollout)):
        rollout, verdicts = before_traffic.of_the_store(rollouts.target, facts, rollout, first)
    return Preview(
        rollout=rollout,
        at_work=rollouts.histories.holder(),
        steps=_steps(rollout, rollout.base),
        verdicts=verdicts,
        later=tuple(gate.text for gate in gates if gate not in first),
    )


def preview_rollback(rollouts: Rollouts, to: int | None, *, timeout: float) -> Preview:
    """What `rollback` would do. Errors: as of it; another deployer at work is none."""
    request = rollouts.rollback_request(to, timeout=timeout)
    if request is not None:
        return preview_start(rollouts, request)
    found = rollouts.histories.read(rollouts.model).open
    if found is None:
        raise TargetError(f"the rollout of {rollouts.model} has ended in this moment", hint="ask again")
    now = files.state(files.in_force(rollouts.target), rollouts.model)
    back = advance(found, Event.ABORT, reason="", now=rollouts.clock.now())
    return Preview(rollout=back, at_work=rollouts.histories.holder(), steps=_steps(back, now))


def _steps(rollout: Rollout, now: ModelState) -> tuple[PlannedStep, ...]:
    steps = []
    for step in plan(rollout)[rollout.position :]:
        now = wanted(rollout, step, now)
        steps.append(PlannedStep(step=str(step), after=now))
    return tuple(steps)
