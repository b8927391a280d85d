"""Sends notices of a rollout, to a webhook and as Kubernetes Events. A rollout never waits for them."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict
from queue import Queue

import jinja2
import msgspec
import requests

from deployer.domain.notify import Notice, Notify, Occasion
from deployer.errors import DeployerError, SpecError
from deployer.targets.base import Progress, Target

TIMEOUT = 5.0
"""Seconds for one request, and for all that is still to be sent when the rollout has ended."""

Send = Callable[[Notice], None]


def nobody(notice: Notice) -> None:
    """Where nobody wants notices."""


def everybody(senders: Sequence[Send]) -> Send:
    """Sends each notice by all senders."""

    def send(notice: Notice) -> None:
        for one in senders:
            one(notice)

    return send if senders else nobody


class Outbox:
    """Sends notices of the `events` in their order, from a thread of its own.

    `deliver` sends one and returns what went wrong, empty if nothing; `receiver` is named where one does not respond.
    """

    def __init__(
        self, events: Sequence[Occasion], deliver: Callable[[Notice], str], progress: Progress, *, receiver: str
    ) -> None:
        self._events = events
        self._deliver = deliver
        self._progress = progress
        self._receiver = receiver
        self._queue: Queue[Notice] = Queue()
        self._left = 0
        self._done = threading.Condition()
        threading.Thread(target=self._work, name="notices", daemon=True).start()
        atexit.register(self.close)

    def __call__(self, notice: Notice) -> None:
        """Send a notice soon, if its event was asked for."""
        if notice.event in self._events:
            with self._done:
                self._left += 1
            self._queue.put(notice)

    def close(self) -> None:
        """Wait for what is not sent yet, at most `TIMEOUT`."""
        with self._done:
            if not self._done.wait_for(lambda: self._left == 0, TIMEOUT):
                self._progress(f"{self._left} notices were not sent: {self._receiver} does not respond")
        atexit.unregister(self.close)

    def _work(self) -> None:
        while True:
            if problem := self._deliver(self._queue.get()):
                self._progress(problem)
            with self._done:
                self._left -= 1
                self._done.notify_all()


class Webhook(Outbox):
    """Sends notices to a webhook. What cannot be sent is a line of progress.

    Errors: SpecError for a template that is none, or makes no JSON; or a variable of the URL that is not set.
    """

    def __init__(self, settings: Notify, release: str, progress: Progress) -> None:
        self._release = release
        self._url = os.path.expandvars(settings.webhook)
        self._template = _template(settings.template) if settings.template else None
        if "$" in self._url:
            raise SpecError("notify.webhook: its environment variable is not set", hint="set it, or leave out notify")
        super().__init__(settings.events, self._post, progress, receiver="the webhook")

    def _body(self, notice: Notice) -> bytes:
        if self._template is None:
            return msgspec.json.encode({"text": sentence(self._release, notice)})
        return self._template.render(
            release=self._release, **asdict(notice), sentence=sentence(self._release, notice)
        ).encode()

    def _post(self, notice: Notice) -> str:
        headers = {"content-type": "application/json"}
        try:
            response = requests.post(self._url, self._body(notice), headers=headers, timeout=TIMEOUT)
        except jinja2.TemplateError as error:
            return f"notify.template: {error}"
        except requests.RequestException as error:
            return f"the webhook could not be reached ({type(error).__name__})"  # its message holds the URL
        return "" if response.ok else f"the webhook returned {response.status_code}"


class TargetEvents(Outbox):
    """Shows notices in the event log of the target, with a warning where somebody is needed."""

    def __init__(self, settings: Notify, release: str, target: Target, progress: Progress) -> None:
        self._release = release
        self._target = target
        super().__init__(settings.events, self._report, progress, receiver="the API server")

    def _report(self, notice: Notice) -> str:
        warning = notice.event in (Occasion.PAUSED, Occasion.ABORTED)
        try:
            self._target.report(f"Rollout{notice.event.title()}", sentence(self._release, notice), warning=warning)
        except DeployerError as error:
            return f"no Event for {notice.event}: {error.message}" + (f" ({error.cause})" if error.cause else "")
        return ""


def sender(settings: Notify | None, release: str, target: Target, progress: Progress) -> Send:
    """Where notices go. A webhook that cannot be used is only reported: an abort must not fail because of it."""
    if settings is None:
        return nobody
    senders: list[Send] = []
    if settings.webhook:
        try:
            senders.append(Webhook(settings, release, progress))
        except SpecError as error:
            progress(f"no messages are sent: {error.message}")
    if settings.kubernetes_events:
        senders.append(TargetEvents(settings, release, target, progress))
    return everybody(senders)


def sentence(release: str, notice: Notice) -> str:
    """A notice in one line: `shop: digits 1 → 2 paused at judge 5 %: p99<200ms: fail (…)`."""
    at = f" at {notice.step}" if notice.step else ""
    why = f": {notice.text}" if notice.text else ""
    return f"{release}: {notice.model} {notice.previous} → {notice.to} {notice.event}{at}{why}"


def _template(text: str) -> jinja2.Template:
    """Errors: SpecError. The template is tried at once: at the end of a rollout nobody could mend it."""
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    try:
        template = environment.from_string(text)
        msgspec.json.decode(template.render(**_EXAMPLE, sentence="a sentence"))
    except (jinja2.TemplateError, msgspec.DecodeError) as error:
        raise SpecError(
            f"notify.template: {error}",
            hint="it must make JSON, for example " + '{"text": {{ sentence | tojson }}}; '
            f"names: sentence, {', '.join(_EXAMPLE)}",
        ) from None
    return template


_EXAMPLE = {
    "event": "paused", "release": "shop", "model": "digits", "previous": 1, "to": 2, "step": "judge 5 %",
    "text": 'p99<200ms: "fail"', "who": "ada", "at": 0.0,
}  # fmt: skip
