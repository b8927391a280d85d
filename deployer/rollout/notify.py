"""Sends notices of a rollout to a webhook. A rollout never waits for it, and never fails because of it."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable
from dataclasses import asdict
from queue import Queue

import jinja2
import msgspec
import requests

from deployer.domain.notify import Notice, Notify
from deployer.errors import SpecError
from deployer.targets.base import Progress

TIMEOUT = 5.0
"""Seconds for one request, and for all that is still to be sent when the rollout has ended."""

Send = Callable[[Notice], None]


def nobody(notice: Notice) -> None:
    """Where no webhook is configured."""


class Webhook:
    """Sends notices in their order, from a thread of its own. What cannot be sent is a line of progress.

    Errors: SpecError for a template that is none, or makes no JSON; or a variable of the URL that is not set.
    """

    def __init__(self, settings: Notify, release: str, progress: Progress) -> None:
        self._settings = settings
        self._release = release
        self._progress = progress
        self._url = os.path.expandvars(settings.webhook)
        self._template = _template(settings.template) if settings.template else None
        if "$" in self._url:
            raise SpecError("notify.webhook: its environment variable is not set", hint="set it, or leave out notify")
        self._queue: Queue[bytes] = Queue()
        self._left = 0
        self._done = threading.Condition()
        threading.Thread(target=self._work, name="webhook", daemon=True).start()
        atexit.register(self.close)

    def __call__(self, notice: Notice) -> None:
        """Send a notice soon, if its event was asked for."""
        if notice.event in self._settings.events:
            with self._done:
                self._left += 1
            self._queue.put(self._body(notice))

    def close(self) -> None:
        """Wait for what is not sent yet, at most `TIMEOUT`."""
        with self._done:
            if not self._done.wait_for(lambda: self._left == 0, TIMEOUT):
                self._progress(f"{self._left} notices were not sent: the webhook does not respond")
        atexit.unregister(self.close)

    def _work(self) -> None:
        while True:
            self._post(self._queue.get())
            with self._done:
                self._left -= 1
                self._done.notify_all()

    def _body(self, notice: Notice) -> bytes:
        if self._template is None:
            return msgspec.json.encode({"text": sentence(self._release, notice)})
        return self._template.render(
            release=self._release, **asdict(notice), sentence=sentence(self._release, notice)
        ).encode()

    def _post(self, body: bytes) -> None:
        try:
            response = requests.post(self._url, body, headers={"content-type": "application/json"}, timeout=TIMEOUT)
        except requests.RequestException as error:
            self._progress(f"the webhook could not be reached ({type(error).__name__})")  # its message holds the URL
            return
        if not response.ok:
            self._progress(f"the webhook returned {response.status_code}")


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
