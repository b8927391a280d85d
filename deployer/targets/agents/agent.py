"""An agent: a program of the deployer that runs next to a release. Here is the deployer's side of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from deployer.domain.pods import Pods
from deployer.targets.base import HttpReply


@dataclass(frozen=True, kw_only=True)
class AgentProgram:
    """What to run: `python -m MODULE ADDRESS PORT TOKEN_SHA256 IDLE_SECONDS` in `image`.

    `component` is the pod's component label; the Job is named `RELEASE-SUFFIX`; `what` is the name in messages. A GET
    of `probe` returns 200 once the agent is ready; responses take at most `answers_within` seconds. The agent exits
    after `idle_seconds` without a request, because its deployer is dead then. In a cluster its pod is as `pods` say.
    """

    module: str
    image: str
    component: str
    suffix: str
    what: str
    probe: str
    token_header: str
    answers_within: float
    idle_seconds: int = 60
    resources: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pods: Pods = field(default_factory=Pods)


class Agent(Protocol):
    """A running agent. Errors of `ask`: TargetError when the agent does not respond."""

    name: str
    """The name of its pod."""

    def ask(self, method: str, path: str, body: bytes | None = None) -> HttpReply:
        """Send one request."""
        ...

    def running(self) -> bool:
        """Whether it is still running."""
        ...

    def explain(self) -> str:
        """Its state as text, for an error message."""
        ...
