"""The load generator in a pod next to the release; load comes from inside the cluster, like that of other clients."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import msgspec

from deployer.decode import json_as
from deployer.domain.pods import Pods
from deployer.errors import SpecError, TargetError, WaitTimeout
from deployer.experiment.loadgen.agent import LONG_POLL_SECONDS, TOKEN_HEADER, Report
from deployer.experiment.loadgen.plan import Outcome, Plan, Reference
from deployer.experiment.loadgen.workers import Mark, error_type
from deployer.experiment.results import Machine
from deployer.targets.agents.agent import Agent, AgentProgram
from deployer.targets.base import HttpReply

RECORDS_CHUNK_BYTES = 1 << 20
_REFERENCE_SECONDS = 600.0
_REPORT_MARGIN_SECONDS = 60.0
_REQUEST_ATTEMPTS = 5
"""Attempts of one request: an API server on a busy machine is slow from time to time."""

T = TypeVar("T")


def load_agent(image: str, pods: Pods) -> AgentProgram:
    """The load generator as an agent; `image` is the deployer's image, `pods` what a cluster demands of its pod."""
    return AgentProgram(
        module="deployer.experiment.loadgen.agent",
        image=image,
        component="load-generator",
        suffix="load",
        what="the load generator",
        probe="/machine",
        token_header=TOKEN_HEADER,
        answers_within=LONG_POLL_SECONDS,
        # No CPU limit unless the cluster demands one: a throttled load generator would measure itself.
        resources={"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "1Gi"}},
        pods=pods,
    )


class RemoteGenerator:
    """The `Generator` in a pod. Errors of every method: TargetError, and those that the generator reports."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self._sent: Path | None = None

    def run(self, plan: Plan, on_mark: Callable[[Mark], None] | None = None) -> Outcome:
        """Run one plan; `plan.records` is a local file, uploaded if it is not the same as before.

        `on_mark` is called when the deployer learns that the measured window has opened or closed.
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
            raise SpecError(f"records {path} cannot be read", hint="name a JSONL file with --records") from error
        for offset in range(0, max(len(content), 1), RECORDS_CHUNK_BYTES):
            self._ask("PUT", f"/records?offset={offset}", content[offset : offset + RECORDS_CHUNK_BYTES])
        self._sent = path

    def _follow(self, plan: Plan, on_mark: Callable[[Mark], None]) -> Outcome:
        duration = plan.warmup + plan.seconds + plan.timeout
        allowed = _REPORT_MARGIN_SECONDS + (_REFERENCE_SECONDS if isinstance(plan.load, Reference) else duration)
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
                raise WaitTimeout(
                    f"the load generator did not respond for {allowed:.0f} s", cause=self._agent.explain()
                )

    def _ask(self, method: str, path: str, body: bytes | None = None) -> bytes:
        reply = self._retried(method, path, body)
        if reply.status == 200:
            return reply.body
        raise TargetError(
            f"the load generator returned {reply.status} for {method} {path}",
            cause=reply.body.decode(errors="replace")[:300],
            hint="check that its image has the version of this deployer",
        )

    def _retried(self, method: str, path: str, body: bytes | None) -> HttpReply:
        """Send a request, and retry it without a response; POST (start a trial) is not retried."""
        for left in reversed(range(_REQUEST_ATTEMPTS)):
            try:
                return self._agent.ask(method, path, body)
            except TargetError as error:
                gone = not self._agent.running()
                if gone or not left or method == "POST":
                    raise TargetError(
                        f"pod {self._agent.name} with the load generator does not respond",
                        cause=self._agent.explain() if gone else error.cause or error.message,
                        hint="it may have been killed (out of memory) or deleted",
                    ) from error
            time.sleep(1.0)
        raise AssertionError("unreachable")

    def _decoded(self, body: bytes, shape: type[T]) -> T:
        try:
            return json_as(body, shape)
        except msgspec.MsgspecError as error:
            raise TargetError(
                "the response of the load generator cannot be decoded",
                hint="check that its image has the version of this deployer",
            ) from error
