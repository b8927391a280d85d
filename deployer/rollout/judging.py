"""Judges a step of a rollout: its gates on the stored version, on the loaded one, and on a window of live traffic."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from deployer.domain.gate import BEFORE_LOAD, BEFORE_TRAFFIC, Gate, Metric, parse_gate
from deployer.domain.rollout import CANARY, Event, Rollout
from deployer.domain.serving import STABLE
from deployer.domain.verdict import Judgement, Verdict
from deployer.release import gateway_metrics
from deployer.release.window import LabelWindow
from deployer.rollout import files
from deployer.rollout.facts import VersionFacts
from deployer.rollout.files import ReleaseConfig
from deployer.rollout.gates import before_traffic
from deployer.rollout.gates.before_traffic import observations
from deployer.rollout.gates.drift import drift_seen
from deployer.rollout.gates.judge import ALPHA, EARLY_ALPHA, judge, overall
from deployer.rollout.proof import Clock
from deployer.rollout.steps import Kind, Step
from deployer.rollout.synthetic import synthetic_load
from deployer.rollout.transitions import drift
from deployer.targets.base import Progress, Target

WINDOW_POLL_SECONDS = 1.0
"""Between two evaluations of the gates of an open window."""

COMMAND_POLL_SECONDS = 0.25
"""Between two reads of commands while a window is open."""


@dataclass(frozen=True, kw_only=True)
class StepResult:
    """The event that a step ended with; `reason` may be empty."""

    event: Event
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Judging:
    """Judges the gates of a rollout. `facts` are those of the new version.

    `take_command` raises when another deployer has sent a command; `persist` writes the live configuration into the
    Helm values; `record` adds an event of a step, with a text and the judgements, to the history.
    """

    target: Target
    facts: VersionFacts
    progress: Progress
    clock: Clock
    take_command: Callable[[], None]
    persist: Callable[[Rollout], None]
    record: Callable[[Rollout, Step | None, str, str, Sequence[Judgement]], None]

    def judge(self, rollout: Rollout, step: Step) -> StepResult:
        """Judge the gates that apply to a step; a step with a share of the traffic is watched for the soak time.

        Errors: those of the target, and what `take_command` raises.
        """
        gates = [parse_gate(text) for text in rollout.request.gates]
        if step.kind is Kind.CHECK:
            first = [g for g in gates if g.metric in BEFORE_LOAD]
            return self._verdict(step, *before_traffic.judge_stored(self.target, self.facts, rollout, first))
        if step.kind is Kind.TRY:
            self.persist(rollout)
            tried = [g for g in gates if g.metric in BEFORE_TRAFFIC]
            judged = before_traffic.judge_loaded(self.target, rollout, tried, clock=self.clock, progress=self.progress)
            return self._verdict(step, *judged)
        later = [g for g in gates if g.metric not in BEFORE_LOAD | BEFORE_TRAFFIC]
        # A share of 0 only mirrors: there are no responses of canary.
        return self._watch(rollout, step, [g for g in later if step.share or g.metric is Metric.DISAGREEMENT])

    def _watch(self, rollout: Rollout, step: Step, gates: Sequence[Gate]) -> StepResult:
        """Watch a window: all gates are judged at its end; before, only clear failures end it."""
        request = rollout.request
        self.progress(f"canary gets {step.share:g} % of the traffic of {rollout.model} for {request.soak:g} s")
        began, persisted = self.clock.now(), False
        with ExitStack() as stack:
            if request.load:
                mirrored = any(gate.metric is Metric.DISAGREEMENT for gate in gates)
                load = synthetic_load(
                    self.target, rollout.model, Path(request.labelled), request.load, mirrored=mirrored
                )
                stack.enter_context(load)
            opened = gateway_metrics.read(self.target, rollout.model)
            while True:
                passed = self.clock.now() - began
                verdicts = self._judge_window(rollout, opened, gates, EARLY_ALPHA if passed < request.soak else ALPHA)
                verdict = overall(verdicts)
                over = passed >= request.soak * (request.patience if verdict is Verdict.INCONCLUSIVE else 1.0)
                if verdict is Verdict.FAIL or over:
                    # If another party changed the traffic, the figures of the window mean nothing.
                    return drifted(rollout, files.current_config(self.target)) or self._verdict(step, rollout, verdicts)
                if (
                    not persisted and passed >= request.soak / 2
                ):  # Takes seconds without a check of the gates: not at the start.
                    self.persist(rollout)
                    persisted = True
                left = request.soak - passed if passed < request.soak else request.soak * request.patience - passed
                self._sleep(min(WINDOW_POLL_SECONDS, max(left, 0.01)))

    def _sleep(self, seconds: float) -> None:
        """Sleep; a command interrupts it."""
        until = self.clock.now() + seconds
        while True:
            self.take_command()
            left = until - self.clock.now()
            if left <= 0:
                return
            self.clock.sleep(min(COMMAND_POLL_SECONDS, left))

    def _judge_window(
        self, rollout: Rollout, opened: gateway_metrics.Reading, gates: Sequence[Gate], alpha: float
    ) -> tuple[Judgement, ...]:
        reading = gateway_metrics.read(self.target, rollout.model)
        window = gateway_metrics.between(opened, reading)
        found = replace(
            observations(rollout),
            canary=window.labels.get(CANARY, LabelWindow()),
            stable=window.labels.get(STABLE, LabelWindow()),
            compared=window.compared,
            disagreed=window.disagreed,
            drift=drift_seen(rollout, self.facts.features, opened, reading, gates),
        )
        return judge(gates, found, min_samples=rollout.request.min_samples, alpha=alpha)

    def _verdict(self, step: Step, rollout: Rollout, verdicts: Sequence[Judgement]) -> StepResult:
        rollout = replace(rollout, verdicts=tuple(verdicts))
        verdict = overall(verdicts)
        if verdict is Verdict.NOT_JUDGED:
            self.record(rollout, step, str(verdict), "no gate applies to this step", ())
            return StepResult(event=Event.PROVEN)
        self.record(rollout, step, f"judged: {verdict}", "; ".join(map(str, verdicts)), verdicts)
        decisive = "; ".join(str(v) for v in verdicts if v.verdict is verdict)
        if verdict is Verdict.PASS:
            return StepResult(event=Event.PROVEN)
        event = Event.GATE_FAILED if verdict is Verdict.FAIL else Event.INCONCLUSIVE
        return StepResult(event=event, reason=f"{step}: {decisive}")


def drifted(rollout: Rollout, config: ReleaseConfig) -> StepResult | None:
    """The result of a step whose model was changed by another party; None when it was not."""
    if found := drift(rollout, files.state(config, rollout.model)):
        return StepResult(event=Event.DRIFTED, reason=f"changed by somebody else: {found}")
    return None
