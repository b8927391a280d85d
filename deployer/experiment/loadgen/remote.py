"""The load generator in a pod beside the release, so that load is what any client in the cluster would send."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from deployer.errors import SpecError, TargetError, WaitTimeout
from deployer.experiment.loadgen.agent import ANSWERS_WITHIN, TOKEN_HEADER, Report
from deployer.experiment.loadgen.plan import Outcome, Plan, Reference
from deployer.experiment.loadgen.workers import Mark, error_type
from deployer.experiment.results import Machine
from deployer.targets.agents.agent import Agent, AgentProgram
from deployer.targets.base import HttpReply

CHUNK = 1 << 20
_REFERENCE_SECONDS = 600.0
_SLACK_SECONDS = 60.0
_TRIES = 5
"""Questions in a row that may stay unanswered: an API server on a busy machine is slow now and then."""

T = TypeVar("T")


def load_agent(image: str) -> AgentProgram:
    """The load generator as a program to run beside a release; `image` is the deployer's own."""
    return AgentProgram(
        module="deployer.experiment.loadgen.agent",
        image=image,
        component="load-generator",
        suffix="load",
        what="the load generator",
        probe="/machine",
        token_header=TOKEN_HEADER,
        answers_within=ANSWERS_WITHIN,
        # No CPU limit: a generator that is held back would measure itself.
        resources={"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
    )


class RemoteGenerator:
    """A Generator of experiments whose processes run elsewhere. Errors of every method: TargetError, and those that the
    generator itself reports."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._sent: Path | None = None

    def run(self, plan: Plan, on_mark: Callable[[Mark], None] | None = None) -> Outcome:
        """Run one plan; `plan.records` is a file on this machine, sent when it is another than before.

        `on_mark` is called when the measured window has opened and closed, as soon as word of it is here.
        """
        self._send_records(Path(plan.records))
        self._ask("POST", "/trial", msgspec.json.encode(plan))
        return self._follow(plan, on_mark or (lambda _: None))

    def machine(self) -> Machine:
        """The node that the generator runs on."""
        return self._decoded(self._ask("GET", "/machine"), Machine)

    def _send_records(self, path: Path) -> None:
        if path == self._sent:
            return
        try:
            content = path.read_bytes()
        except OSError as error:
            raise SpecError(f"records {path} cannot be read", hint="give a JSONL file with --records") from error
        for offset in range(0, max(len(content), 1), CHUNK):
            self._ask("PUT", f"/records?offset={offset}", content[offset : offset + CHUNK])
        self._sent = path

    def _follow(self, plan: Plan, on_mark: Callable[[Mark], None]) -> Outcome:
        lasts = plan.warmup + plan.seconds + plan.timeout
        allowed = _SLACK_SECONDS + (_REFERENCE_SECONDS if isinstance(plan.load, Reference) else lasts)
        deadline, seen = time.monotonic() + allowed, 0
        while True:
            report = self._decoded(self._ask("GET", f"/trial?seen={seen}"), Report)
            for mark in report.marks[seen:]:
                on_mark(mark)
            seen = len(report.marks)
            if report.outcome is not None:
                return report.outcome
            if report.over:
                raise error_type(report.kind)(report.message, cause=report.cause, hint=report.hint)
            if time.monotonic() > deadline:
                raise WaitTimeout(f"the load generator was silent for {allowed:.0f} s", cause=self._agent.explain())

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        reply = self._patiently(method, path, body)
        if reply.status == 200:
            return reply.body
        raise TargetError(
            f"the load generator answers {method} {path} with {reply.status}",
            cause=reply.body.decode(errors="replace")[:300],
            hint="is its image of another version than this deployer?",
        )

    def _patiently(self, method: str, path: str, body: bytes | None) -> HttpReply:
        """A question again when nobody answers it; a trial is started once at most."""
        for left in reversed(range(_TRIES)):
            try:
                return self._agent.ask(method, path, body)
            except TargetError as error:
                gone = not self._agent.running()
                if gone or not left or method == "POST":
                    raise TargetError(
                        f"pod {self._agent.name} with the load generator does not answer",
                        cause=self._agent.explain() if gone else error.cause or error.message,
                        hint="was it killed for lack of memory, or deleted?",
                    ) from error
            time.sleep(1.0)
        raise AssertionError("unreachable")

    def _decoded(self, body: bytes, shape: type[T]) -> T:
        try:
            return msgspec.json.decode(body, type=shape)
        except msgspec.MsgspecError as error:
            raise TargetError(
                "the response of the load generator cannot be read",
                hint="is its image of another version than this deployer?",
            ) from error
