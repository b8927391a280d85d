"""The verbs of a rollout: start, pause, resume, promote, abort, and rollback without a plan."""

from __future__ import annotations

import getpass
import os
import platform
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from deployer.domain.gate import Metric, parse_gate
from deployer.domain.history import Entry
from deployer.domain.rollout import Course, Event, Policy, Rollout, RolloutRequest, refusal
from deployer.domain.serving import STABLE
from deployer.errors import TargetError, UsageError, WaitTimeout
from deployer.release.where import Where, open_release
from deployer.rollout import files
from deployer.rollout.facts import VersionFacts, version_facts
from deployer.rollout.proof import Clock, alive
from deployer.rollout.runner import Runner
from deployer.targets.base import Progress, Target
from deployer.targets.history import HistoryStore

Facts = Callable[[int], VersionFacts]
"""What the store knows of a version of the model. Errors: SpecError for one that it has not."""

ORDER_SECONDS = 0.2
"""Between two looks at whether the deployer at work has done what it was asked for."""


def whoever() -> str:
    """Who works here, as others are told: user, machine and process."""
    return f"{getpass.getuser()} on {platform.node()} (process {os.getpid()})"


@dataclass(frozen=True, kw_only=True)
class Rollouts:
    """The rollouts of one model of a release. Time and identity come in; tests bring their own."""

    target: Target
    histories: HistoryStore
    model: str
    facts: Facts
    progress: Progress
    clock: Clock = field(default_factory=lambda: Clock(now=time.time, sleep=time.sleep))
    who: str = field(default_factory=whoever)
    at_point: Callable[[str], None] = lambda _: None
    gates: tuple[str, ...] = ()
    """Those of deployer.yaml, for a request that names none."""
    policy: Policy = Policy.AVAILABILITY
    """That of deployer.yaml, for a request that names none."""

    def start(self, request: RolloutRequest) -> Rollout:
        """Roll out a version; returns when it is promoted, has been taken back, or waits for a person.

        Errors: UsageError for a gate that cannot be read or judged, TargetError when another rollout is open, another
        deployer is at work, or the release is in no state to start from; SpecError for a version that is not there.
        """
        check(request)
        with self.histories.locked(self.who):
            rollout, facts = self.prepared(request)
            if not request.rollback:
                self.target.record()  # what has drifted, or another chart, is better found before than halfway
            entry = Entry(at=rollout.started, who=self.who, step="start", event="started", text=asked(rollout))
            self.histories.write(self.model, self.histories.read(self.model).start(rollout).record(rollout, entry))
            self.progress(f"{self.model}: {asked(rollout)}")
            return self._runner(facts).run(rollout)

    def prepared(self, request: RolloutRequest) -> tuple[Rollout, VersionFacts]:
        """The rollout that `start` would begin, and what the store knows of its version; nothing is touched.

        Errors: as of `start`.
        """
        check(request)
        open_ = self.histories.read(self.model).open
        if open_ is not None:
            raise TargetError(
                f"the rollout of {self.model} to version {open_.request.to} is {open_.phase}",
                cause=open_.reason,
                hint="`deployer rollout resume`, `promote` or `abort` ends it",
            )
        facts = self._facts(request)
        base = files.state(files.in_force(self.target), self.model)
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
        """Go on where the rollout stands: after a pause, a way back that failed, or a deployer that was killed.

        `timeout` bounds each proof from here on, in seconds, and replaces that of the start; the same below.
        """
        return self._go_on(Event.RESUME, timeout)

    def promote(self, timeout: float | None = None) -> Rollout:
        """Skip what is left of steps and gates. The deployer at work is asked for it, if there is one."""
        return self._ask(Event.PROMOTE, timeout) if self.histories.holder() else self._go_on(Event.PROMOTE, timeout)

    def abort(self, timeout: float | None = None) -> Rollout:
        """Take the way back from wherever the rollout stands. The deployer at work is asked for it, if there is one."""
        return self._ask(Event.ABORT, timeout) if self.histories.holder() else self._go_on(Event.ABORT, timeout)

    def pause(self) -> Rollout:
        """Rest before the next step. What is in force stays."""
        if self.histories.holder():
            return self._ask(Event.PAUSE, None)
        with self.histories.locked(self.who):
            return self._runner(VersionFacts()).apply(self._open(), Event.PAUSE, f"paused by {self.who}")

    def rollback(self, to: int | None = None, *, timeout: float = 120.0, keep_previous: bool = False) -> Rollout:
        """Back to the version that was stable before, at once: an open rollout is aborted, a finished one reversed.

        `to` names another version. Errors: TargetError when the ledger knows of none before, and as of `start`.
        """
        request = self.rollback_request(to, timeout=timeout, keep_previous=keep_previous)
        return self.abort(timeout) if request is None else self.start(request)

    def rollback_request(
        self, to: int | None = None, *, timeout: float = 120.0, keep_previous: bool = False
    ) -> RolloutRequest | None:
        """What `rollback` would start; None when it would abort the open rollout. Errors: as of `rollback`."""
        is_open = self.histories.read(self.model).open
        if is_open is not None and (to is None or to == is_open.previous):
            return None
        if to is None:
            stable = files.state(files.in_force(self.target), self.model).labels.get(STABLE)
            to = self.histories.read(self.model).before(stable) if stable is not None else None
            if to is None:
                raise TargetError(
                    f"the ledger knows of no version of {self.model} before the one that is stable",
                    hint="--to names the version to go back to",
                )
        request = RolloutRequest(to=to, shares=(), rollback=True, keep_previous=keep_previous)
        return self._as_before(bounded(request, timeout))

    # -- helpers

    def _as_before(self, request: RolloutRequest) -> RolloutRequest:
        """The way back spares memory when the way there did, unless both versions are loaded already."""
        last = self.histories.read(self.model).rollout
        loaded = files.state(files.in_force(self.target), self.model).versions
        policy = last.request.policy if last is not None else self.policy
        if policy is not Policy.RESOURCES or len(loaded) > 1:
            return request
        accepted = last is not None and last.request.accept_downtime
        return replace(request, policy=policy, accept_downtime=accepted, keep_previous=False)

    def _facts(self, request: RolloutRequest) -> VersionFacts:
        """A way back to a version that the gateways know already asks nobody: it must work when the store does not."""
        known = files.versions_with_spec(self.target, self.model) if request.rollback else frozenset()
        return VersionFacts() if request.to in known else self.facts(request.to)

    def _replicas(self, request: RolloutRequest) -> int:
        """How many run; refuses to empty the only one. Errors: TargetError."""
        count = len(alive(self.target))
        if request.policy is Policy.RESOURCES:
            self.target.require_own_configs()
            if count < 2 and not request.accept_downtime:
                raise TargetError(
                    f"the {request.policy} policy empties a replica while the others serve, and {count} runs",
                    hint="scale to 2 or more, or say --accept-downtime",
                )
        return count

    def _go_on(self, event: Event, timeout: float | None) -> Rollout:
        with self.histories.locked(self.who):
            rollout = self._open()
            rollout = replace(rollout, request=bounded(rollout.request, timeout))
            back = event is Event.ABORT or rollout.course is Course.ABORT
            facts = VersionFacts() if back else self._facts(rollout.request)
            runner = self._runner(facts)
            try:
                return runner.run(runner.apply(rollout, event, f"{event.value} by {self.who}"))
            except ValueError as error:
                raise TargetError(
                    f"no {event.value} here", cause=str(error), hint="`deployer rollout status`"
                ) from None

    def _ask(self, event: Event, timeout: float | None) -> Rollout:
        """Leave an order to the deployer at work, and wait until it rests or goes on from there."""
        asked = self._open()
        patience = bounded(asked.request, timeout).timeout
        self.progress(f"asking {self.histories.holder()} to {event.value}")
        self.histories.send_command(self.model, event)
        deadline = self.clock.now() + patience
        while self.clock.now() < deadline:
            self.clock.sleep(ORDER_SECONDS)
            now = self.histories.read(self.model).rollout or asked
            if not self.histories.holder():
                # One that died before it took the order leaves it to us.
                return self._go_on(event, timeout) if self.histories.take_command(self.model) is event else now
            if event is Event.PROMOTE and now.position > asked.position:
                return now
        raise WaitTimeout(f"the deployer at work did not {event.value} within {patience:g} s")

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
        )


def rollouts_of(where: Where, model: str, progress: Progress) -> Rollouts:
    """The rollouts of a model of a release, wherever it runs. Errors: SpecError, UsageError, TargetError."""
    release, target = open_release(where)
    return Rollouts(
        target=target,
        histories=target.history(),
        model=model,
        facts=lambda version: version_facts(target, release, model, version, progress),
        progress=progress,
        gates=tuple(gate.text for gate in release.gates),
        policy=release.serving.rollout_policy,
    )


def check(request: RolloutRequest) -> None:
    """Refuse what cannot be meant. Errors: UsageError."""
    for text in request.gates:
        try:
            gate = parse_gate(text)
        except ValueError as error:
            raise UsageError(str(error), hint="docs/reference/gates.md lists metrics and units") from None
        if gate.metric is Metric.ACCURACY and not request.labelled:
            raise UsageError(f"gate {text!r} needs records with right answers", hint="--labelled names their file")
    if request.load and not request.labelled:
        raise UsageError("synthetic load needs records to send", hint="--labelled names a JSONL file of them")


def bounded(request: RolloutRequest, timeout: float | None) -> RolloutRequest:
    """The request with another bound on each proof, in seconds; None leaves its own. Errors: UsageError."""
    try:
        return request if timeout is None else replace(request, timeout=timeout)
    except ValueError as error:
        raise UsageError(str(error), hint="--timeout 2m") from None


def asked(rollout: Rollout) -> str:
    """What a rollout is meant to do, in one sentence."""
    way = f"from version {rollout.previous} to version {rollout.request.to}"
    if rollout.request.rollback:
        return f"back {way}"
    steps = ", ".join(f"{share:g} %" for share in rollout.request.shares)
    how = "" if rollout.request.policy is Policy.AVAILABILITY else f", {rollout.request.policy}"
    return f"{way}" + (f" in steps of {steps}" if steps else "") + how
