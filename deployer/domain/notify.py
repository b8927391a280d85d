"""Who is told of a rollout, as deployer.yaml describes it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Occasion(StrEnum):
    """What can happen to a rollout that somebody may want to know."""

    STARTED = "started"
    JUDGED = "judged"
    """The gates of a step were judged, whatever the verdict."""
    PAUSED = "paused"
    """It waits for somebody, or could not be finished."""
    PROMOTED = "promoted"
    ABORTED = "aborted"
    """The version was taken out of traffic: by a gate, a command, or a rollback."""


@dataclass(frozen=True, kw_only=True)
class Notify:
    """A webhook, Kubernetes Events, or both. `$NAME` in the URL is an environment variable, so that the file holds no
    secret.

    `template` is a Jinja2 template of the JSON body; empty sends `{"text": …}`, which Slack and its likes accept.
    `kubernetes_events` are created on the Deployment of the model servers; a local release has none.
    """

    webhook: str = ""
    kubernetes_events: bool = False
    template: str = ""
    events: tuple[Occasion, ...] = tuple(Occasion)

    def __post_init__(self) -> None:
        if not self.webhook and not self.kubernetes_events:
            raise ValueError("it needs webhook, kubernetes_events: true, or both")
        if self.template and not self.webhook:
            raise ValueError("template is the body of a POST to webhook, which is missing")
        if self.webhook and not self.webhook.startswith(("http://", "https://", "$")):
            raise ValueError(f"webhook {self.webhook!r} must be an http or https URL, or a variable, $NAME")
        if not self.events:
            raise ValueError(f"events is empty; name at least one of {', '.join(Occasion)}")


@dataclass(frozen=True, kw_only=True)
class Notice:
    """One message: `text` is a sentence for people, `at` in seconds since 1970."""

    event: Occasion
    model: str
    previous: int
    to: int
    step: str
    text: str
    who: str
    at: float
