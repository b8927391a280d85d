"""What the page asks for: pause, promote or abort a rollout, by the functions of `deployer rollout`."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from deployer.dashboard.board import Board
from deployer.domain.rollout import Event, Rollout
from deployer.errors import DeployerError
from deployer.release.where import Where
from deployer.rollout.rollouts import Rollouts, rollouts_of

TOPIC = "action"


@dataclass(kw_only=True)
class Actions:
    """Runs one action at a time, in a thread; the page sees how it goes."""

    where: Where
    board: Board
    _busy: threading.Lock = field(default_factory=threading.Lock)
    _thread: threading.Thread | None = None

    def start(self, model: str, event: Event) -> bool:
        """Begin an action; False while another one runs."""
        if not self._busy.acquire(blocking=False):
            return False
        # Not a daemon: a rollout that this process continues must not end halfway.
        self._thread = threading.Thread(target=self._act, args=(model, event), name="dashboard action")
        self._thread.start()
        return True

    @property
    def running(self) -> bool:
        """Whether an action runs."""
        return self._thread is not None and self._thread.is_alive()

    def wait(self) -> None:
        """Wait until no action runs."""
        if self._thread is not None:
            self._thread.join()

    def _act(self, model: str, event: Event) -> None:
        def say(state: str, text: str) -> None:
            self.board.post(TOPIC, {"model": model, "action": event.value, "state": state, "text": text})

        try:
            say("running", "")
            done = _CALLS[event](rollouts_of(self.where, model, lambda line: say("running", line)))
            say("done", f"{done.phase}" + (f", {done.outcome}" if done.outcome else ""))
        except DeployerError as error:
            say("failed", ". ".join(part for part in (error.message, error.hint) if part))
        finally:
            self._busy.release()


_CALLS: dict[Event, Callable[[Rollouts], Rollout]] = {
    Event.PAUSE: lambda rollouts: rollouts.pause(),
    Event.PROMOTE: lambda rollouts: rollouts.promote(),
    Event.ABORT: lambda rollouts: rollouts.abort(),
}
