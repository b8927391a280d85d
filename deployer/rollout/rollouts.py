"""The operations on a rollout: start, pause, resume, promote, abort, and rollback."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from deployer.domain.gate import BEFORE_LOAD, BEFORE_TRAFFIC, COUNTS_ONLY, Metric, parse_gate
from deployer.domain.history import Entry
from deployer.domain.notify import Occasion
from deployer.domain.rollout import Course, Event, Policy, Rollout, RolloutRequest, refusal
from deployer.domain.serving import STABLE
from deployer.errors import TargetError, UsageError, WaitTimeout
from deployer.release.where import Where, open_release
from deployer.rollout import files
from deployer.rollout.facts import VersionFacts, version_facts
from deployer.rollout.notify import Send, nobody, sender
from deployer.rollout.proof import Clock, alive
from deployer.rollout.runner import Runner, notice
from deployer.targets.base import Progress, Target
from deployer.targets.history import HistoryStore, identity

Facts = Callable[[int], VersionFacts]
"""Returns the facts of a version of the model from the store. Errors: SpecError if the version is missing."""

RECOMMENDED_GATES = ("error_rate<1%", "p99<1.5*stable")
"""What a refusal without gates proposes; they need no figure of the user's own."""

COMMAND_RESULT_POLL_SECONDS = 0.2
"""Between two checks whether the deployer at work has executed a command."""


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """The rollouts of one model of a release. Clock and identity can be replaced in tests."""

    target: Target
    histories: HistoryStore
    model: str
    facts: Facts
    progress: Progress
    clock: Clock = field(default_factory=lambda: Clock(now=time.time, sleep=time.sleep))
    who: str = field(default_factory=identity)
    at_point: Callable[[str], None] = lambda _: None
    gates: tuple[str, ...] = ()
    """Gates of deployer.yaml, for a request without gates."""
    policy: Policy = Policy.AVAILABILITY
    """Policy of deployer.yaml, for a request without a policy."""
    notify: Send = nobody
    """Is told what happens to a rollout."""

    def start(self, request: RolloutRequest) -> Rollout:
        """Roll out a version; returns when it is promoted, aborted or paused.

        Errors: UsageError for an invalid gate, TargetError when another rollout is open, another deployer is at work,
        or no rollout can start from the current state; SpecError for a missing version.
        """
        check(request)
        with self.histories.locked(self.who):
            rollout, facts = self.prepared(request)
            if not request.rollback:
                self.target.record()  # detects drift, or another chart version, before the rollout starts
            entry = Entry(at=rollout.started, who=self.who, step="start", event="started", text=description(rollout))
            self.histories.write(self.model, self.histories.read(self.model).start(rollout).record(rollout, entry))
            self.progress(f"{self.model}: {description(rollout)}")
            self.notify(notice(rollout, Occasion.STARTED, None, "", who=self.who, at=rollout.started))
            return self._runner(facts).run(rollout)

    def prepared(self, request: RolloutRequest) -> tuple[Rollout, VersionFacts]:
        """The rollout that `start` would begin, and the facts of its version; changes nothing.

        Errors: as for `start`.
        """
        check(request)
        open_ = self.histories.read(self.model).open
        if open_ is not None:
            raise TargetError(
                f"the rollout of {self.model} to version {open_.request.to} is {open_.phase}",
                cause=open_.reason,
                hint="finish it with `deployer rollout resume`, `promote` or `abort`",
            )
        facts = self._facts(request)
        base = files.state(files.current_config(self.target), self.model)
        if problem := refusal(base, request):
            raise TargetError(f"{self.model} cannot be rolled out to version {request.to}", cause=problem)
        replicas, now = self._replicas(request), self.clock.now()
        rollout = Rollout(
            id=time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(now)),
            model=self.model,
            base=base,
            request=request,
            who=self.who,
            started=now,
            counted_from=now,
            left=base,
            replicas=replicas,
            course=Course.ROLLBACK if request.rollback else Course.FORWARD,
        )
        return rollout, facts

    def resume(self, timeout: float | None = None) -> Rollout:
        """Continue the rollout: after a pause, a failed abort, or a deployer that was killed.

        `timeout` limits each verification from now on, in seconds, and replaces that of the start; also below.
        """
        return self._continue(Event.RESUME, timeout)

    def promote(self, timeout: float | None = None) -> Rollout:
        """Skip the remaining steps and gates. If a deployer is at work, it gets a command."""
        return (
            self._command(Event.PROMOTE, timeout) if self.histories.holder() else self._continue(Event.PROMOTE, timeout)
        )

    def abort(self, timeout: float | None = None) -> Rollout:
        """Abort the rollout. If a deployer is at work, it gets a command."""
        return self._command(Event.ABORT, timeout) if self.histories.holder() else self._continue(Event.ABORT, timeout)

    def pause(self) -> Rollout:
        """Pause before the next step. The current state stays."""
        if self.histories.holder():
            return self._command(Event.PAUSE, None)
        with self.histories.locked(self.who):
            return self._runner(VersionFacts()).apply(self._open(), Event.PAUSE, f"paused by {self.who}")

    def rollback(self, to: int | None = None, *, timeout: float = 120.0, keep_previous: bool = False) -> Rollout:
        """Go back to the previous stable version at once: an open rollout is aborted, a finished one reversed.

        `to` selects another version. Errors: TargetError when the history has no previous version; as for `start`.
        """
        request = self.rollback_request(to, timeout=timeout, keep_previous=keep_previous)
        return self.abort(timeout) if request is None else self.start(request)

    def rollback_request(
        self, to: int | None = None, *, timeout: float = 120.0, keep_previous: bool = False
    ) -> RolloutRequest | None:
        """The request that `rollback` would start; None if it would abort an open rollout. Errors: as `rollback`."""
        is_open = self.histories.read(self.model).open
        if is_open is not None and (to is None or to == is_open.previous):
            return None
        if to is None:
            stable = files.state(files.current_config(self.target), self.model).labels.get(STABLE)
            to = self.histories.read(self.model).before(stable) if stable is not None else None
            if to is None:
                raise TargetError(
                    f"the history has no version of {self.model} before the stable one",
                    hint="name the version with --to",
                )
        request = RolloutRequest(to=to, shares=(), rollback=True, keep_previous=keep_previous)
        return self._with_last_policy(bounded(request, timeout))

    # -- helpers

    def _with_last_policy(self, request: RolloutRequest) -> RolloutRequest:
        """A rollback uses the policy of the last rollout, unless both versions are already loaded."""
        last = self.histories.read(self.model).rollout
        loaded = files.state(files.current_config(self.target), self.model).versions
        policy = last.request.policy if last is not None else self.policy
        if policy is not Policy.RESOURCES or len(loaded) > 1:
            return request
        accepted = last is not None and last.request.accept_downtime
        return replace(request, policy=policy, accept_downtime=accepted, keep_previous=False)

    def _facts(self, request: RolloutRequest) -> VersionFacts:
        """A rollback to a version that the gateways know does not read the store: it must work without the store."""
        known = files.versions_with_spec(self.target, self.model) if request.rollback else frozenset()
        return VersionFacts() if request.to in known else self.facts(request.to)

    def _replicas(self, request: RolloutRequest) -> int:
        """The number of running replicas. Errors: TargetError if the policy would empty the only one."""
        count = len(alive(self.target))
        if not count and not request.rollback:
            raise TargetError(
                "no replica is running, so nothing can be rolled out",
                hint="scale to 1 or more; with autoscaling from zero, a request to the gateways starts the first",
            )
        if request.policy is Policy.RESOURCES:
            self.target.require_own_configs()
            if count < 2 and not request.accept_downtime:
                raise TargetError(
                    f"the {request.policy} policy empties one replica while others serve, but only {count} is running",
                    hint="scale to 2 or more, or use --accept-downtime",
                )
        return count

    def _continue(self, event: Event, timeout: float | None) -> Rollout:
        with self.histories.locked(self.who):
            rollout = self._open()
            rollout = replace(rollout, request=bounded(rollout.request, timeout))
            aborting = event is Event.ABORT or rollout.course is Course.ABORT
            facts = VersionFacts() if aborting else self._facts(rollout.request)
            runner = self._runner(facts)
            try:
                return runner.run(runner.apply(rollout, event, f"{event.value} by {self.who}"))
            except ValueError as error:
                raise TargetError(
                    f"{event.value} is not possible now",
                    cause=str(error),
                    hint="`deployer rollout status` shows the rollout",
                ) from None

    def _command(self, event: Event, timeout: float | None) -> Rollout:
        """Send a command to the deployer at work, and wait until it has executed it."""
        before = self._open()
        patience = bounded(before.request, timeout).timeout
        self.progress(f"sending {event.value} to {self.histories.holder()}; waiting at most {patience:g} s for it")
        self.histories.send_command(self.model, event)
        deadline = self.clock.now() + patience
        while self.clock.now() < deadline:
            self.clock.sleep(COMMAND_RESULT_POLL_SECONDS)
            now = self.histories.read(self.model).rollout or before
            if not self.histories.holder():
                # If it died before it read the command, execute it here.
                return self._continue(event, timeout) if self.histories.take_command(self.model) is event else now
            if event is Event.PROMOTE and now.position > before.position:
                return now
        raise WaitTimeout(f"the deployer that runs the rollout did not {event.value} within {patience:g} s")

    def _open(self) -> Rollout:
        found = self.histories.read(self.model).open
        if found is None:
            raise TargetError(f"no rollout of {self.model} is open", hint="`deployer rollout history` shows past ones")
        return found

    def _runner(self, facts: VersionFacts) -> Runner:
        return Runner(
            target=self.target,
            histories=self.histories,
            facts=facts,
            who=self.who,
            progress=self.progress,
            clock=self.clock,
            at_point=self.at_point,
            notify=self.notify,
        )


def rollouts_of(where: Where, model: str, progress: Progress) -> Rollouts:
    """The rollouts of a model of a release. Errors: SpecError, UsageError, TargetError."""
    release, target = open_release(where)
    return Rollouts(
        target=target,
        histories=target.history(),
        model=model,
        facts=lambda version: version_facts(target, release, model, version, progress),
        progress=progress,
        gates=tuple(gate.text for gate in release.gates),
        policy=release.serving.rollout_policy,
        notify=sender(release.notify, release.name, target, progress),
    )


def check(request: RolloutRequest) -> None:
    """Validate a request. Errors: UsageError."""
    for text in request.gates:
        try:
            gate = parse_gate(text)
        except ValueError as error:
            raise UsageError(str(error), hint="docs/reference/gates.md lists metrics and units") from None
        if gate.metric is Metric.ACCURACY and not request.labelled:
            raise UsageError(
                f"gate {text!r} needs records with expected values", hint="name their file with --labelled"
            )
    if not (request.rollback or request.no_gates or _judged(request)):
        early = ", ".join(request.gates)
        raise UsageError(
            "no gate would judge the version by its traffic",
            cause=f"{early} judges none of it" if early else "neither --gate nor `gates` in deployer.yaml names one",
            hint=f"add {' '.join(f'--gate {gate!r}' for gate in RECOMMENDED_GATES)}, or --no-gates to promote unjudged",
        )
    if request.load and not request.labelled:
        raise UsageError("synthetic load needs records", hint="name a JSONL file with --labelled")


def _judged(request: RolloutRequest) -> bool:
    """Whether a gate judges the responses of the new version, at each share of traffic that it gets."""
    metrics = {parse_gate(text).metric for text in request.gates}
    by_traffic = metrics - BEFORE_LOAD - BEFORE_TRAFFIC - COUNTS_ONLY
    if request.shares == (0.0,):  # the version only gets mirrored requests
        return Metric.DISAGREEMENT in metrics
    return bool(by_traffic if request.shares else metrics)


def bounded(request: RolloutRequest, timeout: float | None) -> RolloutRequest:
    """The request with another timeout of each verification, in seconds; None keeps its own. Errors: UsageError."""
    try:
        return request if timeout is None else replace(request, timeout=timeout)
    except ValueError as error:
        raise UsageError(str(error), hint="--timeout 2m") from None


def description(rollout: Rollout) -> str:
    """A rollout in one line: versions, steps and policy."""
    change = f"from version {rollout.previous} to version {rollout.request.to}"
    if rollout.request.rollback:
        return f"rollback {change}"
    ungated = ", without gates" if rollout.request.no_gates else ""
    steps = ", ".join(f"{share:g} %" for share in rollout.request.shares)
    policy = "" if rollout.request.policy is Policy.AVAILABILITY else f", {rollout.request.policy}"
    return f"rollout {change}" + (f" in steps of {steps}" if steps else "") + policy + ungated
