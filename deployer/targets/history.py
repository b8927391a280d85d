"""Where rollout histories are stored, which deployer is at work, and commands of others to that deployer."""

from __future__ import annotations

import fcntl
import getpass
import os
import platform
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import msgspec

from deployer.decode import json_as
from deployer.domain.history import History
from deployer.domain.rollout import Event
from deployer.errors import TargetError
from deployer.files import replace_file

LOCK_PATIENCE = 0.5
"""Seconds to wait for a lock that is only busy because somebody checks who holds it."""


class HistoryStore(Protocol):
    """The rollout histories of a release, by model. Only one deployer at a time works on a release."""

    def read(self, model: str) -> History:
        """The history of a model; empty if nothing was recorded. Errors: TargetError if it cannot be read."""
        ...

    def write(self, model: str, history: History) -> None:
        """Replace the history of a model atomically."""
        ...

    def locked(self, who: str) -> AbstractContextManager[None]:
        """Lock the release as `who`. Errors: TargetError naming the deployer that already works on it."""
        ...

    def assert_held(self) -> None:
        """Call this before every write. Errors: TargetError when another deployer may be at work by now."""
        ...

    def holder(self) -> str:
        """The deployer at work, empty if none. A deployer that was killed does not count."""
        ...

    def send_command(self, model: str, event: Event) -> None:
        """Send a command to the deployer at work; only the latest command counts."""
        ...

    def take_command(self, model: str) -> Event | None:
        """The command since the last call, if any."""
        ...


def identity() -> str:
    """This deployer as others see it: user, machine and process."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a pod may run as a user that its image does not list
        user = f"user {os.getuid()}"
    return f"{user} on {platform.node()} (process {os.getpid()})"


def exclusively(histories: HistoryStore) -> AbstractContextManager[None]:
    """Be the only deployer that changes this release: what every verb holds that writes its state.

    Errors: TargetError naming the deployer that works on it.
    """
    return histories.locked(identity())


class FileHistory:
    """Histories in a directory: one JSON file per model; a lock that the kernel releases when its holder dies."""

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
        """Nothing to check: a living process cannot lose this lock."""

    def holder(self) -> str:
        try:
            with self._lock.open("r") as file:
                return "" if _try(file.fileno(), fcntl.LOCK_SH) else file.read().strip() or "another deployer"
        except FileNotFoundError:
            return ""

    def send_command(self, model: str, event: Event) -> None:
        replace_file(self._command(model), event.value.encode())

    def take_command(self, model: str) -> Event | None:
        path = self._command(model)
        try:
            text = path.read_text()
        except FileNotFoundError:
            return None
        path.unlink(missing_ok=True)
        return Event(text)

    def _history(self, model: str) -> Path:
        return self.directory / f"{model}.json"

    def _command(self, model: str) -> Path:
        return self.directory / f"{model}.order"


def encode(history: History) -> bytes:
    """A history as JSON."""
    return msgspec.json.format(msgspec.json.encode(history), indent=1)


def decode(content: bytes, where: str) -> History:
    """A history from JSON. Errors: TargetError naming `where` when it cannot be decoded."""
    try:
        return json_as(content, History)
    except msgspec.MsgspecError as error:
        raise TargetError(
            f"{where} is not a rollout history",
            hint="it was edited, or written by another version; move it away to start with an empty history",
        ) from error


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
