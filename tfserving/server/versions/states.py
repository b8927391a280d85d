"""The state of every version ever seen, as GetModelStatus reports it. It never forgets."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import Code, StatusError

State = m.ModelVersionStatus.State


@dataclass(frozen=True, slots=True, eq=False)
class VersionState:
    """One state of one version; `error` tells why it ended. Compared by identity: equal ones may follow each other."""

    state: m.ModelVersionStatus.State
    error: StatusError | None = None


class StateMonitor:
    """Remembers the last state of each version and lets callers wait for changes. Thread-safe."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._states: dict[str, dict[int, VersionState]] = {}

    def publish(self, name: str, version: int, state: m.ModelVersionStatus.State, error: StatusError | None) -> None:
        """Record a new state and wake the waiters."""
        with self._changed:
            self._states.setdefault(name, {})[version] = VersionState(state, error)
            self._changed.notify_all()

    def versions(self, name: str) -> dict[int, VersionState]:
        """All versions of a model, highest number first; empty for a model never seen."""
        with self._changed:
            known = self._states.get(name, {})
            return {number: known[number] for number in sorted(known, reverse=True)}

    def available(self, name: str, version: int) -> bool:
        """Whether the version serves now."""
        found = self.versions(name).get(version)
        return found is not None and found.state == m.ModelVersionStatus.AVAILABLE

    def wait_for_models(
        self,
        names: Collection[str],
        before: Mapping[str, Mapping[int, VersionState]],
        given_up: threading.Event,
    ) -> dict[tuple[str, int], VersionState]:
        """Block until each model has a version that became AVAILABLE or ENDed, and return those that ENDed.

        States in `before` are old news and do not count. There is no time limit, as in the real server: files may
        still be on their way. `given_up` set from outside ends the wait; the response is then empty.
        """
        reached: dict[str, tuple[int, VersionState]] = {}
        with self._changed:
            while not given_up.is_set():
                for name in names:
                    if name not in reached and (found := self._settled(name, before.get(name, {}))):
                        reached[name] = found
                if len(reached) == len(names):
                    break
                self._changed.wait(0.5)
        return {
            (name, version): state
            for name, (version, state) in sorted(reached.items())
            if state.state != m.ModelVersionStatus.AVAILABLE
        }

    def _settled(self, name: str, before: Mapping[int, VersionState]) -> tuple[int, VersionState] | None:
        for version in sorted(self._states.get(name, {}), reverse=True):
            now = self._states[name][version]
            if now.state in (m.ModelVersionStatus.AVAILABLE, m.ModelVersionStatus.END) and now is not before.get(
                version
            ):
                return version, now
        return None


def not_available(failed: Mapping[tuple[str, int], VersionState], noun: str) -> StatusError:
    """The error of a start or a reload whose new models ENDed."""
    parts = [
        f"{{{{name: {name} version: {version}}}" + (f" due to error: {state.error}" if state.error else "") + "}, "
        for (name, version), state in failed.items()
    ]
    return StatusError(Code.UNKNOWN, f"{len(failed)} {noun}(s) did not become available: {{{''.join(parts)}}}")


def status_message(version: int, state: VersionState) -> m.ModelVersionStatus:
    """One entry of GetModelStatus."""
    error = state.error
    status = m.StatusProto()
    if error:
        status.error_code = error.code
        # The text may hold bytes of a file that are no text.
        status.error_message = error.message.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return m.ModelVersionStatus(version=version, state=state.state, status=status)
