"""A program of the deployer that runs beside a release, seen by the part of the deployer that talks to it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

from deployer.targets.base import HttpReply


@dataclass(frozen=True, kw_only=True)
class AgentProgram:
    """What to run: `python -m MODULE ADDRESS PORT TOKEN_SHA256 IDLE_SECONDS` in `image`.

    `component` names the pod and its Job (`RELEASE-load` for suffix `load`), `what` is what a person calls it. A GET of
    `probe` answers 200 once it is ready. It ends by itself after `idle_seconds` without a question, because its
    deployer is dead then.
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


class Agent(Protocol):
    """A running program. Errors of `ask`: TargetError when nobody answers."""

    name: str
    """What it is called where it runs."""

    def ask(self, method: str, path: str, body: bytes | None = None) -> HttpReply:
        """One question."""
        ...

    def running(self) -> bool:
        """Whether it runs still."""
        ...

    def explain(self) -> str:
        """What is known of its state, for an error."""
        ...
