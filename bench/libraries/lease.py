"""`kubernetes.leaderelection` in place of `deployer.targets.cluster.history.lease`, on an object in memory.

The figures are waits, not CPU: both are given the same 8 seconds of lease and 2 seconds between renewals.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, cast

import msgspec
from kubernetes.leaderelection.electionconfig import Config
from kubernetes.leaderelection.leaderelection import LeaderElection
from kubernetes.leaderelection.leaderelectionrecord import LeaderElectionRecord

from deployer.errors import TargetError
from deployer.targets.cluster.api import ApiServer
from deployer.targets.cluster.history.lease import LEASE_SECONDS, RENEW_SECONDS, Lease

PATIENCE = 20.0
"""Seconds after which the second deployer has not been told."""


def main() -> None:
    """Print how long the next deployer waits after an orderly end, and a second one while the first works."""
    print(f"{'seconds until':<60}{'own':>8}{'library':>10}")
    print(f"{'the next deployer works, when the one before has ended':<60}{_own_next():>8.1f}{_library_next():>10.1f}")
    print(f"{'a second deployer is told that the first works':<60}{_own_busy():>8.1f}{_library_busy():>10}")


class _Api:
    """The one Lease of an API server. Nothing here writes at the same time, so it needs no conflicts."""

    def __init__(self) -> None:
        self._lease: dict[str, Any] | None = None

    def find(self, path: str, kind: type[Any]) -> Any:
        del path
        return None if self._lease is None else msgspec.convert(self._lease, kind)

    def create(self, path: str, content: dict[str, Any]) -> None:
        del path
        self._lease = content

    def patch(self, path: str, change: dict[str, Any]) -> None:
        if path.endswith("/lease") and self._lease is not None:
            self._lease = {key: {**self._lease[key], **change.get(key, {})} for key in ("metadata", "spec")}


def _lease(api: _Api) -> Lease:
    return Lease(cast(ApiServer, api), namespace="n", name="lease", fences=())


def _seconds(work: Callable[[], object]) -> float:
    started = time.monotonic()
    work()
    return time.monotonic() - started


def _own_next() -> float:
    api = _Api()
    with _lease(api).held("first"):
        pass
    return _seconds(lambda: _lease(api).acquire("second"))


def _own_busy() -> float:
    api = _Api()

    def second() -> None:
        try:
            _lease(api).acquire("second")
        except TargetError:
            return
        raise AssertionError("two deployers at work")

    with _lease(api).held("first"):
        return _seconds(second)


class _Lock:
    """What the library calls a resource lock."""

    name, namespace = "lease", "n"

    def __init__(self, identity: str, shared: list[LeaderElectionRecord]) -> None:
        self.identity, self._shared = identity, shared

    def get(self, name: str, namespace: str) -> tuple[bool, LeaderElectionRecord]:
        del name, namespace
        return True, self._shared[0]

    def update(self, name: str, namespace: str, record: LeaderElectionRecord) -> bool:
        del name, namespace
        self._shared[0] = record
        return True


def _election(identity: str, shared: list[LeaderElectionRecord]) -> Any:
    logging.getLogger("leaderelection").setLevel(logging.ERROR)
    lock = _Lock(identity, shared)
    return LeaderElection(Config(lock, LEASE_SECONDS, LEASE_SECONDS - 1, RENEW_SECONDS, lambda: None, lambda: None))


def _library_next() -> float:
    shared = [LeaderElectionRecord(None, None, None, None)]
    _election("first", shared).acquire()  # its end is not written down
    return _seconds(_election("second", shared).acquire)


def _library_busy() -> str:
    shared = [LeaderElectionRecord(None, None, None, None)]
    first = threading.Thread(target=_election("first", shared).run, daemon=True)
    first.start()
    time.sleep(0.5)
    second = threading.Thread(target=_election("second", shared).acquire, daemon=True)
    second.start()
    second.join(PATIENCE)
    assert second.is_alive(), "two deployers at work"
    return f"> {PATIENCE:g}"
