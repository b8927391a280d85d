"""Watches the base paths of the configured models and tells the manager which versions are wanted."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tfserving.server.versions.policy import choose
from tfserving.wire import messages_pb2 as m

_log = logging.getLogger("tfserving.server")

Aspire = Callable[[str, Mapping[int, str]], None]


@dataclass(frozen=True, slots=True)
class Watched:
    """One model to watch: its name, its base path as configured, its version policy."""

    name: str
    base_path: str
    policy: m.ServableVersionPolicy


class FileSystemSource:
    """Scans every `period` seconds; 0 scans once, negative never. `watch` replaces what is scanned."""

    def __init__(self, aspire: Aspire, period: float) -> None:
        self._aspire, self._period = aspire, period
        self._lock = threading.Lock()
        self._watched: Sequence[Watched] = ()
        self._stopping = threading.Event()
        self._started = False

    def names(self) -> set[str]:
        """The models that are watched now."""
        return {watched.name for watched in self._watched}

    def watch(self, models: Sequence[Watched]) -> None:
        """Replace the models. Dropped ones are given up at once, the others follow at the next scan."""
        with self._lock:
            dropped = self.names() - {watched.name for watched in models}
            self._watched = models
            for name in dropped:
                self._aspire(name, {})
        if self._started:
            return
        self._started = True
        if self._period > 0:
            threading.Thread(target=self._loop, name="source", daemon=True).start()
        elif self._period == 0:
            self._scan()

    def stop(self) -> None:
        """Scan no more."""
        self._stopping.set()

    def _loop(self) -> None:
        while True:
            self._scan()
            if self._stopping.wait(self._period):
                return

    def _scan(self) -> None:
        """One unreadable base path ends the whole pass, for all models: so does the real server."""
        with self._lock:
            try:
                found = [(watched.name, _versions(watched)) for watched in self._watched]
            except OSError as error:
                _log.error("FileSystemStoragePathSource encountered a filesystem access error: %s", error)
                return
            for name, versions in found:
                self._aspire(name, versions)


def _versions(watched: Watched) -> dict[int, str]:
    """Wanted versions with their directories. Errors: OSError when the base path cannot be listed."""
    base = local_path(watched.base_path)
    try:
        chosen = choose(os.listdir(base), watched.policy)
    except OSError as error:
        raise OSError(
            f"Could not find base path {watched.base_path} for servable {watched.name} with error {error.strerror}"
        ) from error
    if not chosen:
        _log.warning(
            "No versions of servable %s found under base path %s. Did you forget to name your leaf directory as a "
            "number (eg. '/1/')?",
            watched.name,
            watched.base_path,
        )
    return {number: str(Path(base, name)) for number, name in chosen.items()}


def local_path(base_path: str) -> str:
    """The directory of a base path, which may be a file:// URI. Other schemes stay as they are and are not found."""
    return base_path.removeprefix("file://")
