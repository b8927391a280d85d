"""Where ledgers are kept, who is at work, and what others ask of the one who is."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from deployer.domain.history import History
from deployer.domain.rollout import Event
from deployer.errors import TargetError
from deployer.files import replace_file

LOCK_PATIENCE = 0.5
"""Seconds in which a lock may be busy because somebody looks who holds it."""


class HistoryStore(Protocol):
    """The ledgers of a release, by model. One deployer at a time works on a release."""

    def read(self, model: str) -> History:
        """The ledger of a model; empty when nothing was recorded. Errors: TargetError for one that is not ours."""
        ...

    def write(self, model: str, history: History) -> None:
        """Replace the ledger of a model, all or nothing."""
        ...

    def locked(self, who: str) -> AbstractContextManager[None]:
        """Work on the release as `who`. Errors: TargetError naming who is at work already."""
        ...

    def assert_held(self) -> None:
        """Called before every write. Errors: TargetError when somebody else may be at work by now."""
        ...

    def holder(self) -> str:
        """Who is at work, empty when nobody is. A deployer that was killed is not."""
        ...

    def order(self, model: str, event: Event) -> None:
        """Ask the deployer that is at work for something; the latest order counts."""
        ...

    def take_order(self, model: str) -> Event | None:
        """What was asked for since the last call, if anything."""
        ...


class FileHistory:
    """Ledgers in a directory: one JSON file a model; a lock that the kernel drops with its holder."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._lock = directory / "lock"

    def read(self, model: str) -> History:
        path = self._history(model)
        try:
            return decode(path.read_bytes(), str(path))
        except FileNotFoundError:
            return History()

    def write(self, model: str, history: History) -> None:
        replace_file(self._history(model), encode(history))

    @contextmanager
    def locked(self, who: str) -> Iterator[None]:
        self.directory.mkdir(parents=True, exist_ok=True)
        with self._lock.open("a+") as file:
            deadline = time.monotonic() + LOCK_PATIENCE
            while not _try(file.fileno(), fcntl.LOCK_EX):
                if time.monotonic() >= deadline:
                    raise TargetError(
                        f"{self._lock.read_text().strip() or 'another deployer'} is working on this release",
                        hint="`deployer rollout status` shows it; pause, promote and abort reach it from here",
                    )
                time.sleep(0.02)
            file.truncate(0)
            file.write(who)
            file.flush()
            try:
                yield
            finally:
                file.truncate(0)

    def assert_held(self) -> None:
        """The kernel takes the lock from nobody who lives."""

    def holder(self) -> str:
        try:
            with self._lock.open("r") as file:
                return "" if _try(file.fileno(), fcntl.LOCK_SH) else file.read().strip() or "another deployer"
        except FileNotFoundError:
            return ""

    def order(self, model: str, event: Event) -> None:
        replace_file(self._order(model), event.value.encode())

    def take_order(self, model: str) -> Event | None:
        path = self._order(model)
        try:
            text = path.read_text()
        except FileNotFoundError:
            return None
        path.unlink(missing_ok=True)
        return Event(text)

    def _history(self, model: str) -> Path:
        return self.directory / f"{model}.json"

    def _order(self, model: str) -> Path:
        return self.directory / f"{model}.order"


def encode(history: History) -> bytes:
    """A ledger as JSON."""
    return msgspec.json.format(msgspec.json.encode(history), indent=1)


def decode(content: bytes, where: str) -> History:
    """A ledger from JSON. Errors: TargetError when it is none; `where` says which."""
    try:
        return msgspec.json.decode(content, type=History)
    except msgspec.MsgspecError as error:
        raise TargetError(
            f"{where} is not a ledger of rollouts",
            hint="it was edited or written by another version; move it away to start with an empty one",
        ) from error


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
