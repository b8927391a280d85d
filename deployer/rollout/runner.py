"""Makes the steps of a rollout, one after the other, until it rests. Every step is recorded before and after."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from deployer.domain.gate import BEFORE_LOAD, BEFORE_TRAFFIC, Gate, Metric, parse_gate
from deployer.domain.history import Entry
from deployer.domain.rollout import CANARY, Course, Event, Phase, Policy, Rollout
from deployer.domain.serving import STABLE, ModelState
from deployer.domain.verdict import Judgement, Verdict
from deployer.errors import DeployerError
from deployer.release import gateway_metrics
from deployer.release.window import LabelWindow
from deployer.rollout import files, proof
from deployer.rollout.facts import VersionFacts
from deployer.rollout.files import InForce
from deployer.rollout.gates import before_traffic
from deployer.rollout.gates.before_traffic import observations
from deployer.rollout.gates.judge import ALPHA, EARLY_ALPHA, judge, overall
from deployer.rollout.proof import Clock, Ends, Unproven, Wanted, alive
from deployer.rollout.steps import (
    AT_GATEWAYS,
    JUDGING,
    Kind,
    Step,
    arriving,
    gone,
    plan,
    remembered,
    required,
    taught,
    unloaded,
    wanted,
)
from deployer.rollout.swap import Swap
from deployer.rollout.synthetic import synthetic_load
from deployer.rollout.transitions import Reaction, advance, begin, current, drift, reaction
from deployer.targets.base import Progress, Target, WriteConflict
from deployer.targets.history import HistoryStore

LOOK_SECONDS = 1.0
"""Between two looks at an open window."""

ORDER_SECONDS = 0.25
"""Between two looks for orders while a window is open."""

ATTEMPTS = 3
"""At a step, when somebody else writes at the moment when it does."""


class Ordered(Exception):
    """Somebody asked the deployer at work for something."""

    def __init__(self, event: Event) -> None:
        super().__init__(event.value)
        self.event = event


@dataclass(frozen=True, kw_only=True)
class Happened:
    """What a step led to; `reason` is empty when there is nothing to explain."""

    event: Event
    reason: str = ""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Everything a rollout is run with. `facts` are those of the version that it goes to.

    `at_point` is called after each record and each write with the name of that point; tests kill the process there.
    """

    target: Target
    histories: HistoryStore
    facts: VersionFacts
    who: str
    progress: Progress
    clock: Clock
    at_point: Callable[[str], None] = lambda _: None

    def run(self, rollout: Rollout) -> Rollout:
        """Go on until the rollout is over or rests. Errors: those of the target, after which it is paused."""
        self.histories.take_command(rollout.model)
        while rollout.phase in (Phase.PENDING, Phase.PROGRESSING):
            rollout = self._step(rollout)
        if rollout.phase is not Phase.HEALTHY:
            self._keep_if_possible(rollout)
        return rollout

    def apply(self, rollout: Rollout, event: Event, reason: str = "") -> Rollout:
        """The rollout after an event, recorded. Errors: ValueError when the event cannot be meant there."""
        after = advance(rollout, event, reason=reason, now=self.clock.now())
        self._record(after, current(rollout), event.value, reason)
        return after

    # -- one step

    def _step(self, rollout: Rollout) -> Rollout:
        step = current(rollout)
        assert step is not None  # a rollout at its end is healthy
        try:
            happened = self._tried(rollout, step)
        except Ordered as order:
            happened = Happened(event=order.event, reason=f"{order.event.value} was asked for")
        except Unproven as error:
            happened = Happened(event=Event.UNPROVEN, reason=f"{step}: {error}")
        except KeyboardInterrupt:
            self.apply(self._latest(rollout), Event.PAUSE, "interrupted")
            raise
        except DeployerError as error:
            happened = Happened(event=Event.UNPROVEN, reason=f"{step}: {error.message}" + _because(error))
        rollout = self._latest(rollout)
        try:
            return self.apply(rollout, happened.event, happened.reason)
        except ValueError as error:
            self.progress(f"{happened.event.value}: {error}")
            return rollout

    def _tried(self, rollout: Rollout, step: Step) -> Happened:
        """Begin the step, and begin it again when somebody wrote in the same moment: that may be drift, or nothing."""
        for _ in range(ATTEMPTS - 1):
            try:
                return self._once(rollout, step)
            except WriteConflict:
                continue
        return self._once(rollout, step)

    def _once(self, rollout: Rollout, step: Step) -> Happened:
        """One try, by one look at what is in force."""
        self._take_command(rollout.model)
        seen = files.in_force(self.target)
        return self._before(rollout, seen) or self._make(rollout, step, seen)

    def _before(self, rollout: Rollout, seen: InForce) -> Happened | None:
        """Reasons not to begin the step."""
        if reaction(rollout, Event.EXPIRED) is not Reaction.GO:
            past = self.clock.now() - rollout.counted_from
            if past > rollout.request.max_duration:
                text = f"{past:.0f} s have passed, more than --max-duration {rollout.request.max_duration:g} s"
                return Happened(event=Event.EXPIRED, reason=text)
        return _drift(rollout, seen)

    def _make(self, rollout: Rollout, step: Step, seen: InForce) -> Happened:
        now = files.state(seen, rollout.model)
        after = wanted(rollout, step, now)
        rollout = begin(rollout, now, after, now=self.clock.now())
        self._record(rollout, step, "begun", "")
        if step.kind in JUDGING:
            return self._judge(rollout, step)
        if step.kind in AT_GATEWAYS:
            self._change_gateways(rollout, step, after, seen)
        else:
            self._change_replicas(rollout, step, now, after, seen)
        if rollout.position == len(plan(rollout)) - 1:
            self.at_point(f"{step}: proven")
            self._keep(rollout)
        return Happened(event=Event.PROVEN)

    def _change_gateways(self, rollout: Rollout, step: Step, after: ModelState, seen: InForce) -> None:
        # Replicas that came since the last step get no traffic for a label that they have not proven.
        if step.kind is Kind.SHIFT:
            self._prove_replicas(rollout, step, after, fresh=False)
            seen = files.in_force(self.target)  # that took its time
        facts = self.facts.features
        specs = {rollout.request.to: facts} if facts is not None and rollout.course is not Course.ABORT else {}
        labels = taught(rollout, step, after)
        before = self.histories.read(rollout.model).before(rollout.previous)
        helpers = _helpers(rollout) if step.kind is Kind.SHIFT else {}
        files.put_gateways(
            self.target,
            rollout.model,
            labels=labels,
            weights=after.weights,
            specs=specs,
            remembered=remembered(rollout, step, after, before=before),
            helpers=helpers,
            seen=seen,
            before_write=self.histories.assert_held,
        )
        self.at_point(f"{step}: written")
        self._prove_gateways(rollout)

    def _change_replicas(self, rollout: Rollout, step: Step, now: ModelState, after: ModelState, seen: InForce) -> None:
        if rollout.request.policy is Policy.RESOURCES:
            if (seconds := self._swap(rollout).make(step, after, seen)) is not None and step.kind is Kind.LOAD:
                self._record_load_time(rollout, step, seconds)
            return
        if versions := arriving(now, after):
            nobody = Wanted(model=rollout.model, versions=frozenset(), labels={}, unloaded=versions)
            self._shown(rollout, lambda _: nobody, fresh=False)
        if step.kind is Kind.LOAD:
            seconds = self._load(rollout, step, after, seen)
            if rollout.request.to not in now.versions:
                self._record_load_time(rollout, step, seconds)
            return
        files.put_replicas(self.target, rollout.model, after, seen=seen, before_write=self.histories.assert_held)
        self.at_point(f"{step}: written")
        self._prove_replicas(rollout, step, after, fresh=True)

    def _load(self, rollout: Rollout, step: Step, after: ModelState, seen: InForce) -> float:
        """The seconds that the slowest replica took. A version that ends the server that loads it shall not end all:
        one replica goes first, where that can be arranged."""
        before, running = proof.ends(self.target), alive(self.target)
        apart = len(running) > 1 and rollout.course is Course.FORWARD
        staggered = apart and self.target.needs_refresh
        put = self.target.put_model_config_without_refresh if staggered else self.target.put_model_config
        files.put_replicas(
            self.target, rollout.model, after, seen=seen, before_write=self.histories.assert_held, put=put
        )
        self.at_point(f"{step}: written")
        shown = Wanted(model=rollout.model, versions=required(rollout, after), labels=after.labels)
        fatal = before if rollout.course is Course.FORWARD else None
        first = 0.0
        if staggered:
            began, name = self.clock.now(), running[0].name
            self.target.refresh([name])
            nothing = replace(shown, versions=frozenset(), labels={})
            self._shown(rollout, lambda one: shown if one == name else nothing, fresh=True, fatal=fatal)
            first = self.clock.now() - began
            self.target.refresh([replica.name for replica in running[1:]])
        began = self.clock.now()
        self._shown(rollout, lambda _: shown, fresh=True, fatal=fatal)
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
            gone=gone(step, after),
            unloaded=unloaded(rollout, step, after),
        )
        self._shown(rollout, lambda _: shown, fresh=fresh)

    def _prove_gateways(self, rollout: Rollout) -> None:
        proof.gateways(
            self.target, clock=self.clock, timeout=rollout.request.timeout, interrupted=self._interruption(rollout)
        )

    def _keep(self, rollout: Rollout) -> None:
        """What is in force is also what a `helm upgrade` by hand would bring. It is late on purpose: traffic first."""
        self.histories.assert_held()
        self.target.record()
        proof.gateways(self.target, clock=self.clock, timeout=rollout.request.timeout, interrupted=lambda: None)

    def _keep_if_possible(self, rollout: Rollout) -> None:
        """The same where the rollout goes on without it; its last step insists."""
        try:
            self._keep(rollout)
        except (DeployerError, Unproven) as error:
            self.progress(f"what is in force is not in the values of the Helm releases yet: {error}")

    def _shown(
        self, rollout: Rollout, shown: Callable[[str], Wanted], *, fresh: bool, fatal: Ends | None = None
    ) -> None:
        proof.replicas(
            self.target,
            shown,
            clock=self.clock,
            timeout=rollout.request.timeout,
            interrupted=self._interruption(rollout),
            fresh=fresh,
            fatal=fatal,
        )

    def _interruption(self, rollout: Rollout) -> Callable[[], None]:
        return lambda: self._take_command(rollout.model)

    def _take_command(self, model: str) -> None:
        event = self.histories.take_command(model)
        if event is not None:
            raise Ordered(event)

    # -- judging

    def _judge(self, rollout: Rollout, step: Step) -> Happened:
        gates = [parse_gate(text) for text in rollout.request.gates]
        if step.kind is Kind.CHECK:
            first = [g for g in gates if g.metric in BEFORE_LOAD]
            return self._verdict(step, *before_traffic.of_the_store(self.target, self.facts, rollout, first))
        if step.kind is Kind.TRY:
            self._keep_if_possible(rollout)
            tried = [g for g in gates if g.metric in BEFORE_TRAFFIC]
            judged = before_traffic.of_itself(self.target, rollout, tried, clock=self.clock, progress=self.progress)
            return self._verdict(step, *judged)
        later = [g for g in gates if g.metric not in BEFORE_LOAD | BEFORE_TRAFFIC]
        # A share of 0 only mirrors: there are no answers of canary to judge by.
        return self._watch(rollout, step, [g for g in later if step.share or g.metric is Metric.DISAGREEMENT])

    def _watch(self, rollout: Rollout, step: Step, gates: Sequence[Gate]) -> Happened:
        """An open window: at its end all gates are judged; before, only what is blatant ends it."""
        request = rollout.request
        self.progress(f"canary has {step.share:g} % of {rollout.model} for {request.soak:g} s")
        began, kept = self.clock.now(), False
        with ExitStack() as stack:
            if request.load:
                stack.enter_context(synthetic_load(self.target, rollout.model, Path(request.labelled), request.load))
            opened = gateway_metrics.read(self.target, rollout.model)
            while True:
                passed = self.clock.now() - began
                verdicts = self._look(rollout, opened, gates, EARLY_ALPHA if passed < request.soak else ALPHA)
                verdict = overall(verdicts)
                over = passed >= request.soak * (request.patience if verdict is Verdict.INCONCLUSIVE else 1.0)
                if verdict is Verdict.FAIL or over:
                    # Figures of a window in which somebody moved the traffic would be about something else.
                    return _drift(rollout, files.in_force(self.target)) or self._verdict(step, rollout, verdicts)
                if not kept and passed >= request.soak / 2:  # Nobody looks for seconds: not while it is all new.
                    self._keep_if_possible(rollout)
                    kept = True
                left = request.soak - passed if passed < request.soak else request.soak * request.patience - passed
                self._rest(rollout, min(LOOK_SECONDS, max(left, 0.01)))

    def _rest(self, rollout: Rollout, seconds: float) -> None:
        """Sleep, but not through an order."""
        until = self.clock.now() + seconds
        while True:
            self._take_command(rollout.model)
            left = until - self.clock.now()
            if left <= 0:
                return
            self.clock.sleep(min(ORDER_SECONDS, left))

    def _look(
        self, rollout: Rollout, opened: gateway_metrics.Reading, gates: Sequence[Gate], alpha: float
    ) -> tuple[Judgement, ...]:
        seen = gateway_metrics.between(opened, gateway_metrics.read(self.target, rollout.model))
        found = replace(
            observations(rollout),
            canary=seen.labels.get(CANARY, LabelWindow()),
            stable=seen.labels.get(STABLE, LabelWindow()),
            compared=seen.compared,
            disagreed=seen.disagreed,
        )
        return judge(gates, found, min_samples=rollout.request.min_samples, alpha=alpha)

    def _verdict(self, step: Step, rollout: Rollout, verdicts: Sequence[Judgement]) -> Happened:
        rollout = replace(rollout, verdicts=tuple(verdicts))
        verdict = overall(verdicts)
        self._record(rollout, step, f"judged: {verdict}", "; ".join(map(str, verdicts)))
        decisive = "; ".join(str(v) for v in verdicts if v.verdict is verdict)
        if verdict is Verdict.PASS:
            return Happened(event=Event.PROVEN)
        event = Event.GATE_FAILED if verdict is Verdict.FAIL else Event.INCONCLUSIVE
        return Happened(event=event, reason=f"{step}: {decisive}")

    # -- the record

    def _latest(self, rollout: Rollout) -> Rollout:
        """As it was recorded last: a step records what it finds."""
        return self.histories.read(rollout.model).rollout or rollout

    def _record(self, rollout: Rollout, step: Step | None, event: str, text: str) -> None:
        name = str(step) if step is not None else "end"
        entry = Entry(at=self.clock.now(), who=self.who, step=f"{rollout.course}: {name}", event=event, text=text)
        self.histories.write(rollout.model, self.histories.read(rollout.model).record(rollout, entry))
        if event not in ("begun", "measured"):
            verdict = text if text.startswith(event) else event + (f" ({text})" if text else "")
            self.progress(f"{rollout.model} {name}: {verdict}")
        self.at_point(f"{name}: {event} recorded")


def _drift(rollout: Rollout, seen: InForce) -> Happened | None:
    if found := drift(rollout, files.state(seen, rollout.model)):
        return Happened(event=Event.DRIFTED, reason=f"changed by somebody else: {found}")
    return None


def _helpers(rollout: Rollout) -> dict[str, str]:
    """While canary has traffic, stable answers what it fails to; it is mirrored to if a gate asks for that."""
    mirrored = any(parse_gate(text).metric is Metric.DISAGREEMENT for text in rollout.request.gates)
    return {files.FALLBACK: STABLE, **({files.SHADOW: CANARY} if mirrored else {})}


def _because(error: DeployerError) -> str:
    return f" ({error.cause})" if error.cause else ""
