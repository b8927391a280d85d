"""Executes the steps of a rollout, one after the other, until it ends or pauses. Records each step before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from deployer.domain.gate import Metric, parse_gate
from deployer.domain.history import Entry
from deployer.domain.notify import Notice, Occasion
from deployer.domain.rollout import CANARY, Course, Event, Phase, Policy, Rollout
from deployer.domain.serving import STABLE, ModelState
from deployer.domain.verdict import Judgement, Verdict
from deployer.errors import DeployerError
from deployer.rollout import files, proof
from deployer.rollout.facts import VersionFacts
from deployer.rollout.files import ReleaseConfig
from deployer.rollout.judging import Judging, StepResult, drifted
from deployer.rollout.notify import Send, nobody
from deployer.rollout.proof import Clock, EndCounts, Unproven, Wanted, alive
from deployer.rollout.steps import (
    AT_GATEWAYS,
    JUDGING,
    Kind,
    Step,
    absent_labels,
    absent_versions,
    gateway_labels,
    kept_specs,
    new_versions,
    plan,
    required,
    wanted,
)
from deployer.rollout.swap import Swap
from deployer.rollout.transitions import Reaction, advance, begin, current, position, reaction, soak_left
from deployer.targets.base import Progress, Target, WriteConflict
from deployer.targets.history import HistoryStore

STEP_ATTEMPTS = 3
"""Attempts at a step, if another party writes the configuration at the same time."""


class CommandReceived(Exception):
    """Another deployer sent a command."""

    def __init__(self, event: Event) -> None:
        super().__init__(event.value)
        self.event = event


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Runs a rollout. `facts` are those of the new version.

    `notify` is told what happens. `at_point` is called after each record and each write with the name of that point;
    tests kill the process there.
    """

    target: Target
    histories: HistoryStore
    facts: VersionFacts
    who: str
    progress: Progress
    clock: Clock
    at_point: Callable[[str], None] = lambda _: None
    notify: Send = nobody

    def run(self, rollout: Rollout) -> Rollout:
        """Run until the rollout has ended or is paused. Errors: those of the target; the rollout is paused then."""
        self.histories.take_command(rollout.model)
        while rollout.phase in (Phase.PENDING, Phase.PROGRESSING):
            rollout = self._step(rollout)
        if rollout.phase is not Phase.HEALTHY:
            self._persist_if_possible(rollout)
        return rollout

    def apply(self, rollout: Rollout, event: Event, reason: str = "") -> Rollout:
        """Apply an event to the rollout, and record it. Errors: ValueError when the event is not allowed now."""
        after = advance(rollout, event, reason=reason, now=self.clock.now())
        self._record(after, current(rollout), event.value, reason)
        if after.phase is not rollout.phase and (occasion := _occasion(after)) is not None:
            self.notify(notice(after, occasion, current(rollout), reason, who=self.who, at=self.clock.now()))
        return after

    # -- one step

    def _step(self, rollout: Rollout) -> Rollout:
        step = current(rollout)
        assert step is not None  # a rollout at its end is healthy
        try:
            result = self._attempt(rollout, step)
        except CommandReceived as command:
            result = StepResult(event=command.event, reason=f"{command.event.value} was requested")
        except Unproven as error:
            result = StepResult(event=Event.UNPROVEN, reason=f"{step}: {error}")
        except KeyboardInterrupt:
            self.apply(self._latest(rollout), Event.PAUSE, "interrupted")
            raise
        except DeployerError as error:
            result = StepResult(event=Event.UNPROVEN, reason=f"{step}: {error.message}" + _cause_of(error))
        rollout = self._latest(rollout)
        try:
            return self.apply(rollout, result.event, result.reason)
        except ValueError as error:
            self.progress(f"{result.event.value}: {error}")
            return rollout

    def _attempt(self, rollout: Rollout, step: Step) -> StepResult:
        """Execute the step; try again after a write conflict, which may or may not be drift."""
        for _ in range(STEP_ATTEMPTS - 1):
            try:
                return self._attempt_once(rollout, step)
            except WriteConflict:
                continue
        return self._attempt_once(rollout, step)

    def _attempt_once(self, rollout: Rollout, step: Step) -> StepResult:
        """One attempt, based on one read of the configuration."""
        self._take_command(rollout.model)
        config = files.current_config(self.target)
        return self._blocked(rollout, config) or self._execute(rollout, step, config)

    def _blocked(self, rollout: Rollout, config: ReleaseConfig) -> StepResult | None:
        """A reason not to begin the step, if there is one."""
        if reaction(rollout, Event.EXPIRED) is not Reaction.GO:
            past = self.clock.now() - rollout.counted_from
            if past > rollout.request.max_duration:
                text = (
                    f"the rollout has taken {past:.0f} s, more than --max-duration {rollout.request.max_duration:g} s"
                )
                return StepResult(event=Event.EXPIRED, reason=text)
        return drifted(rollout, config)

    def _execute(self, rollout: Rollout, step: Step, config: ReleaseConfig) -> StepResult:
        now = files.state(config, rollout.model)
        after = wanted(rollout, step, now)
        rollout = begin(rollout, now, after, now=self.clock.now())
        self._record(rollout, step, "begun", "")
        if step.kind in JUDGING:
            return self._judging(rollout.model).judge(rollout, step)
        if step.kind in AT_GATEWAYS:
            self._change_gateways(rollout, step, after, config)
        else:
            self._change_replicas(rollout, step, now, after, config)
        if rollout.position == len(plan(rollout)) - 1:
            self.at_point(f"{step}: proven")
            self._persist(rollout)
        return StepResult(event=Event.PROVEN)

    def _change_gateways(self, rollout: Rollout, step: Step, after: ModelState, config: ReleaseConfig) -> None:
        # Replicas that started since the last step must serve the label before it gets traffic.
        if step.kind is Kind.SHIFT:
            self._prove_replicas(rollout, step, after, fresh=False)
            config = files.current_config(self.target)  # read again: the wait may have taken long
        spec = self.facts.features
        specs = {rollout.request.to: spec} if spec is not None and rollout.course is not Course.ABORT else {}
        labels = gateway_labels(rollout, step, after)
        before = self.histories.read(rollout.model).before(rollout.previous)
        helpers = _helpers(rollout) if step.kind is Kind.SHIFT else {}
        files.put_gateways(
            self.target,
            rollout.model,
            labels=labels,
            weights=after.weights,
            specs=specs,
            kept_specs=kept_specs(rollout, step, after, before=before),
            helpers=helpers,
            config=config,
            before_write=self.histories.assert_held,
        )
        self.at_point(f"{step}: written")
        self._prove_gateways(rollout)

    def _change_replicas(
        self, rollout: Rollout, step: Step, now: ModelState, after: ModelState, config: ReleaseConfig
    ) -> None:
        if rollout.request.policy is Policy.RESOURCES:
            if (seconds := self._swap(rollout).make(step, after, config)) is not None and step.kind is Kind.LOAD:
                self._record_load_time(rollout, step, seconds)
            return
        if versions := new_versions(now, after):
            not_loaded = Wanted(model=rollout.model, versions=frozenset(), labels={}, absent_versions=versions)
            self._wait_for(rollout, lambda _: not_loaded, fresh=False)
        if step.kind is Kind.LOAD:
            seconds = self._load(rollout, step, after, config)
            if rollout.request.to not in now.versions:
                self._record_load_time(rollout, step, seconds)
            return
        files.put_replicas(self.target, rollout.model, after, config=config, before_write=self.histories.assert_held)
        self.at_point(f"{step}: written")
        self._prove_replicas(rollout, step, after, fresh=True)

    def _load(self, rollout: Rollout, step: Step, after: ModelState, config: ReleaseConfig) -> float:
        """Load the version; returns the seconds of the slowest replica. If possible, one replica goes first, so that a
        version that crashes the server does not crash all of them."""
        before, running = proof.end_counts(self.target), alive(self.target)
        apart = len(running) > 1 and rollout.course is Course.FORWARD
        staggered = apart and self.target.needs_refresh
        put = self.target.put_model_config_without_refresh if staggered else self.target.put_model_config
        files.put_replicas(
            self.target, rollout.model, after, config=config, before_write=self.histories.assert_held, put=put
        )
        self.at_point(f"{step}: written")
        shown = Wanted(model=rollout.model, versions=required(rollout, after), labels=after.labels)
        fatal = before if rollout.course is Course.FORWARD else None
        first = 0.0
        if staggered:
            began, name = self.clock.now(), running[0].name
            self.target.refresh([name])
            nothing = replace(shown, versions=frozenset(), labels={})
            self._wait_for(rollout, lambda one: shown if one == name else nothing, fresh=True, fatal=fatal)
            first = self.clock.now() - began
            self.target.refresh([replica.name for replica in running[1:]])
        began = self.clock.now()
        self._wait_for(rollout, lambda _: shown, fresh=True, fatal=fatal)
        return max(first, self.clock.now() - began)

    def _record_load_time(self, rollout: Rollout, step: Step, seconds: float) -> None:
        self._record(rollout.with_found(load_time=seconds), step, "measured", f"loaded after {seconds:.1f} s")

    def _swap(self, rollout: Rollout) -> Swap:
        self.target.require_own_configs()
        return Swap(
            target=self.target,
            rollout=rollout,
            progress=self.progress,
            clock=self.clock,
            interrupted=self._interruption(rollout),
            before_write=self.histories.assert_held,
        )

    def _prove_replicas(self, rollout: Rollout, step: Step, after: ModelState, *, fresh: bool) -> None:
        if rollout.request.policy is Policy.RESOURCES:
            self._swap(rollout).prove(step, after, fresh=fresh)
            return
        shown = Wanted(
            model=rollout.model,
            versions=required(rollout, after),
            labels=after.labels,
            absent_labels=absent_labels(step, after),
            absent_versions=absent_versions(rollout, step, after),
        )
        self._wait_for(rollout, lambda _: shown, fresh=fresh)

    def _prove_gateways(self, rollout: Rollout) -> None:
        proof.wait_for_gateways(
            self.target,
            clock=self.clock,
            timeout=rollout.request.timeout,
            interrupted=self._interruption(rollout),
            progress=self.progress,
        )

    def _persist(self, rollout: Rollout) -> None:
        """Write the live configuration into the Helm values. It is slow, so it happens after the traffic moved."""
        self.histories.assert_held()
        self.target.record()
        proof.wait_for_gateways(
            self.target,
            clock=self.clock,
            timeout=rollout.request.timeout,
            interrupted=lambda: None,
            progress=self.progress,
        )

    def _persist_if_possible(self, rollout: Rollout) -> None:
        """As `_persist`, but a failure is only reported; the last step of the rollout requires it."""
        try:
            self._persist(rollout)
        except (DeployerError, Unproven) as error:
            self.progress(f"the Helm values are not updated yet: {error}")

    def _judging(self, model: str) -> Judging:
        return Judging(
            target=self.target,
            facts=self.facts,
            progress=self.progress,
            clock=self.clock,
            take_command=lambda: self._take_command(model),
            persist=self._persist_if_possible,
            record=self._record,
        )

    def _wait_for(
        self, rollout: Rollout, shown: Callable[[str], Wanted], *, fresh: bool, fatal: EndCounts | None = None
    ) -> None:
        proof.wait_for_replicas(
            self.target,
            shown,
            clock=self.clock,
            timeout=rollout.request.timeout,
            interrupted=self._interruption(rollout),
            progress=self.progress,
            fresh=fresh,
            fatal=fatal,
        )

    def _interruption(self, rollout: Rollout) -> Callable[[], None]:
        return lambda: self._take_command(rollout.model)

    def _take_command(self, model: str) -> None:
        event = self.histories.take_command(model)
        if event is not None:
            raise CommandReceived(event)

    # -- history

    def _latest(self, rollout: Rollout) -> Rollout:
        """The rollout as recorded last: a step records its measurements."""
        return self.histories.read(rollout.model).rollout or rollout

    def _record(
        self, rollout: Rollout, step: Step | None, event: str, text: str, judgements: Sequence[Judgement] = ()
    ) -> None:
        name = str(step) if step is not None else "end"
        entry = Entry(
            at=self.clock.now(),
            who=self.who,
            step=f"{rollout.course}: {name}",
            event=event,
            text=text,
            judgements=tuple(judgements),
        )
        self.histories.write(rollout.model, self.histories.read(rollout.model).record(rollout, entry))
        if event not in ("begun", "measured"):
            verdict = text if text.startswith(event) else event + (f" ({text})" if text else "")
            left = soak_left(rollout, entry.at) if rollout.phase is Phase.PROGRESSING else 0.0
            ahead = f"; at least {left:.0f} s left" if left else ""
            self.progress(f"{rollout.model} {name}{position(rollout, step)}: {verdict}{ahead}")
        if event.startswith("judged: ") or event == Verdict.NOT_JUDGED:
            self.notify(notice(rollout, Occasion.JUDGED, step, verdict, who=self.who, at=entry.at))
        self.at_point(f"{name}: {event} recorded")


def _helpers(rollout: Rollout) -> dict[str, str]:
    """While canary has traffic, stable is its fallback; requests are mirrored to canary if a gate needs it."""
    mirrored = any(parse_gate(text).metric is Metric.DISAGREEMENT for text in rollout.request.gates)
    return {files.FALLBACK: STABLE, **({files.SHADOW: CANARY} if mirrored else {})}


def notice(rollout: Rollout, event: Occasion, step: Step | None, text: str, *, who: str, at: float) -> Notice:
    """What is told of a rollout."""
    request = rollout.request
    return Notice(
        event=event,
        model=rollout.model,
        previous=rollout.previous,
        to=request.to,
        step=str(step) if step is not None else "",
        text=text,
        who=who,
        at=at,
    )


def _occasion(rollout: Rollout) -> Occasion | None:
    """What a rollout has come to, where that is worth a notice."""
    if rollout.phase in (Phase.PENDING, Phase.PROGRESSING):
        return None
    if rollout.phase is not Phase.HEALTHY:
        return Occasion.PAUSED
    return Occasion.PROMOTED if rollout.outcome == "promoted" else Occasion.ABORTED


def _cause_of(error: DeployerError) -> str:
    return f" ({error.cause})" if error.cause else ""
