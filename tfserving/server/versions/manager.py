"""Loads and unloads model versions: TensorFlow Serving's manager, one action every 100 ms.

A source says which versions it wants (`aspire`), a thread decides with `policy.next_action` and acts, requests take
handles on what is ready. A version that failed stays failed until it is no longer wanted.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

from tfserving.server.execution.servable import Servable
from tfserving.server.versions.policy import Action, Phase, Snapshot, next_action
from tfserving.server.versions.states import State, StateMonitor
from tfserving.wire.status import Code, StatusError

_log = logging.getLogger("tfserving.server")

Load = Callable[[str, int, str], Servable]
"""Loads one version (model name, version, directory) or raises StatusError."""

Check = Callable[[str, int, str], None]
"""Looks at a version directory before its first load and raises StatusError when no attempt is worth while."""

TICK_SECONDS = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadSettings:
    """Threads (0 = inside the manager's own thread) and retries (negative interval = none)."""

    load_threads: int = 0
    unload_threads: int = 0
    retries: int = 5
    retry_seconds: float = 60.0


@dataclass(slots=True, eq=False)
class _Managed:
    """One version under management. `in_use` counts the requests that hold it."""

    name: str
    version: int
    path: str
    phase: Phase = Phase.NEW
    aspired: bool = True
    servable: Servable | None = None
    in_use: int = 0
    no_retry: threading.Event = field(default_factory=threading.Event)


class Handle:
    """A version that a request uses, for one `with` block; it is not unloaded before the block ends."""

    __slots__ = ("_release", "name", "servable", "version")

    def __init__(self, name: str, version: int, servable: Servable, release: Callable[[], None]) -> None:
        self.name, self.version, self.servable, self._release = name, version, servable, release

    def __enter__(self) -> Handle:
        return self

    def __exit__(self, *exc: object) -> None:
        self._release()


class Manager:
    """Owns every loaded version. Thread-safe."""

    def __init__(self, check: Check, load: Load, monitor: StateMonitor, settings: LoadSettings) -> None:
        self._check, self._load, self._monitor, self._settings = check, load, monitor, settings
        self._lock = threading.Condition()
        self._models: dict[str, dict[int, _Managed]] = {}
        self._waiting: dict[str, Mapping[int, str]] = {}
        self._loaders = _pool(settings.load_threads, "load")
        self._unloaders = _pool(settings.unload_threads, "unload")
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="manager", daemon=True)
        self._thread.start()

    # ---- what is wanted

    def aspire(self, name: str, versions: Mapping[int, str]) -> None:
        """Replace the wanted versions of one model: number to directory. Others are unloaded in due course.

        A model that is given up is marked at once, everything else waits for the manager's next tick.
        """
        with self._lock:
            if versions:
                self._waiting[name] = versions
            else:
                self._apply(name, versions)

    def _apply(self, name: str, versions: Mapping[int, str]) -> None:
        self._waiting.pop(name, None)
        managed = self._models.setdefault(name, {})
        for number, held in managed.items():
            if number not in versions:
                held.aspired = False
                held.no_retry.set()
        for number, path in versions.items():
            if number not in managed:
                managed[number] = _Managed(name, number, path)
                self._monitor.publish(name, number, State.START, None)

    # ---- requests

    def handle(self, name: str, version: int | None) -> Handle:
        """Hold a ready version, the highest one when `version` is None.

        Errors: StatusError NOT_FOUND.
        """
        held = self._acquire(name, version)
        servable = held.servable
        assert servable is not None
        return Handle(name, held.version, servable, partial(self._release, held))

    def _release(self, held: _Managed) -> None:
        with self._lock:
            held.in_use -= 1
            if not held.in_use and held.phase is Phase.UNLOADING:
                self._lock.notify_all()

    def _acquire(self, name: str, version: int | None) -> _Managed:
        with self._lock:
            versions = self._models.get(name, {})
            if version is None:
                ready = [number for number, held in versions.items() if held.phase is Phase.READY]
                found = versions[max(ready)] if ready else None
            else:
                found = versions.get(version)
                found = found if found and found.phase is Phase.READY else None
            if found is None:
                wanted = f"Latest({name})" if version is None else f"Specific({name}, {version})"
                raise StatusError(Code.NOT_FOUND, f"Servable not found for request: {wanted}")
            found.in_use += 1
            return found

    # ---- the initial load and the end

    @contextmanager
    def many_load_threads(self, threads: int) -> Iterator[None]:
        """Load in parallel for a while; on leaving, every load that is under way is waited for."""
        with self._lock:
            before, self._loaders = self._loaders, _pool(threads, "initial-load")
        try:
            yield
        finally:
            with self._lock:
                initial, self._loaders = self._loaders, before
            if initial:
                initial.shutdown(wait=True)

    def stop(self) -> None:
        """Stop deciding. Loaded versions stay until the process ends."""
        self._stopping.set()
        with self._lock:
            for versions in self._models.values():
                for held in versions.values():
                    held.no_retry.set()

    # ---- the loop

    def _loop(self) -> None:
        while not self._stopping.wait(TICK_SECONDS):
            action = self._decide()
            if action:
                self._act(action)

    def _decide(self) -> Action | None:
        with self._lock:
            for name, versions in list(self._models.items()):
                kept = {n: v for n, v in versions.items() if v.aspired or v.phase not in (Phase.DISABLED, Phase.ERROR)}
                dropped_new = [n for n, v in kept.items() if not v.aspired and v.phase is Phase.NEW]
                for number in dropped_new:
                    del kept[number]
                    self._monitor.publish(name, number, State.END, None)
                self._models[name] = kept
            for name, wanted in list(self._waiting.items()):
                if not any(n in wanted and not v.aspired for n, v in self._models.get(name, {}).items()):
                    self._apply(name, wanted)
            return next_action(
                {
                    name: [Snapshot(v.version, v.phase, v.aspired) for v in versions.values()]
                    for name, versions in self._models.items()
                }
            )

    def _act(self, action: Action) -> None:
        with self._lock:
            held = self._models[action.name][action.version]
            held.phase = Phase.LOADING if action.load else Phase.UNLOADING
            pool = self._loaders if action.load else self._unloaders
            work = self._load_version if action.load else self._unload_version
            if pool:
                pool.submit(work, held)
                return
        work(held)

    def _load_version(self, held: _Managed) -> None:
        self._monitor.publish(held.name, held.version, State.LOADING, None)
        _log.info("Loading servable version {name: %s version: %d}", held.name, held.version)
        try:
            self._check(held.name, held.version, held.path)
            servable = self._load_with_retries(held)
        except StatusError as error:
            _log.warning("Load of {name: %s version: %d} failed: %s", held.name, held.version, error)
            with self._lock:
                held.phase = Phase.ERROR
            self._monitor.publish(held.name, held.version, State.END, error)
            return
        with self._lock:
            held.servable, held.phase = servable, Phase.READY
        _log.info("Successfully loaded servable version {name: %s version: %d}", held.name, held.version)
        self._monitor.publish(held.name, held.version, State.AVAILABLE, None)

    def _load_with_retries(self, held: _Managed) -> Servable:
        for attempt in range(self._settings.retries + 1):
            try:
                servable = self._load(held.name, held.version, held.path)
            except StatusError as error:
                last = error
            except Exception as error:  # a bug must end this version and not the thread that manages all of them
                _log.exception("Load of {name: %s version: %d} failed", held.name, held.version)
                last = StatusError(Code.INTERNAL, f"{type(error).__name__}: {error}")
            else:
                if not held.no_retry.is_set() or attempt == 0:
                    return servable
                servable.runner.close()
                raise StatusError(Code.CANCELLED, "Loading of servable cancelled")
            if held.no_retry.is_set() or attempt == self._settings.retries:
                break
            _log.warning("Load of {name: %s version: %d} failed, to be retried: %s", held.name, held.version, last)
            # The real server sleeps the interval out even when the retry has become pointless.
            self._stopping.wait(max(0.0, self._settings.retry_seconds))
        raise last

    def _unload_version(self, held: _Managed) -> None:
        self._monitor.publish(held.name, held.version, State.UNLOADING, None)
        _log.info("Unloading servable version {name: %s version: %d}", held.name, held.version)
        with self._lock:
            while held.in_use:
                self._lock.wait()
            servable, held.servable = held.servable, None
        assert servable is not None
        servable.runner.close()
        with self._lock:
            held.phase = Phase.DISABLED
        self._monitor.publish(held.name, held.version, State.END, None)


def _pool(threads: int, purpose: str) -> ThreadPoolExecutor | None:
    return ThreadPoolExecutor(threads, thread_name_prefix=purpose) if threads > 0 else None
