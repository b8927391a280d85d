"""The Lease of a release: which deployer works on it, until it ends, is killed, or is silent for too long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from deployer.errors import TargetError
from deployer.targets.cluster.api import CONFLICT, NOT_FOUND, ApiServer, Refused
from deployer.tools import process_mark

LEASE_SECONDS = 8
"""A deployer that was killed on another machine is out of the way once another one has seen its lease unchanged for so
long; on this machine, at once."""

RENEW_SECONDS = 2.0
LOOK_SECONDS = 0.5
"""Between two looks at whether the holder of the lease still renews it."""

PROCESS = "tfserving-deployer/process"
"""Annotation of the Lease: which process holds it, told from every other one."""

TAKEN_OVER = "tfserving-deployer/taken-over"
"""Annotation of a ConfigMap: when a deployer took over from one that was killed or lost its lease."""


class _Meta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    annotations: dict[str, str] = {}


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    holder_identity: str | None = None
    renew_time: datetime | None = None


class _Object(msgspec.Struct, frozen=True):
    metadata: _Meta
    spec: _Spec = _Spec()

    @property
    def holder(self) -> str:
        """Who holds it, as far as the lease itself tells; empty when it was given back, or its process has ended."""
        if process_mark.has_ended(self.metadata.annotations.get(PROCESS, "")):
            return ""
        return self.spec.holder_identity or ""

    def stamped_before(self, moment: float) -> bool:
        """Whether its holder says, by the holder's clock, that it was renewed before a moment of Unix time."""
        return self.spec.renew_time is None or self.spec.renew_time.timestamp() < moment


@dataclass(frozen=True, kw_only=True)
class _Sighting:
    """A lease as this process first saw it in this state, and when, by a clock of this process that never jumps."""

    holder: str
    renewed: datetime | None
    since: float


class Lease:
    """One deployer at a time. Whether a lease has run out is judged by how long this process has seen it unchanged, so
    the clocks of two machines may differ by any amount.

    A deployer that was suspended or cut off until its lease ran out may find another one at work: `check` tells it.
    What it was about to write when it was suspended is refused by the API server, for whoever takes over the lease of
    another one first changes `fences`, the ConfigMaps of the release, so that none is any more what had been read.
    """

    def __init__(
        self,
        api: ApiServer,
        *,
        namespace: str,
        name: str,
        fences: Sequence[str],
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._name = name
        self._fences = fences
        self._clock = clock
        self._ticks = ticks
        self._sighting: _Sighting | None = None
        self._sleep = sleep
        self._who = ""
        self._lost = threading.Event()

    @contextmanager
    def held(self, who: str) -> Iterator[None]:
        """Hold it as `who`, and renew it. Errors: TargetError naming who holds it already."""
        self.acquire(who)
        self._who = who
        self._lost.clear()
        over = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(who, over), daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()
            self._who = ""
            self._release(who)

    def holder(self) -> str:
        """Who holds it, empty when nobody does.

        A lease that claims to be old is watched for two renewals: its holder is dead, or its clock is behind.
        """
        lease = self._find()
        while lease is not None and lease.holder:
            unchanged = self._unchanged(lease)
            old = lease.stamped_before(self._clock() - LEASE_SECONDS)
            if unchanged >= (2 * RENEW_SECONDS if old else LEASE_SECONDS):
                return ""
            if not old:
                return lease.holder
            self._sleep(LOOK_SECONDS)
            before, lease = lease, self._find()
            if lease is not None and lease.spec != before.spec:
                return lease.holder
        return ""

    def check(self, *, look: bool) -> None:
        """Errors: TargetError once somebody else may hold what was held here; with `look` the lease itself is read."""
        if look and self._who:
            lease = self._find()
            if lease is None or lease.spec.holder_identity != self._who:
                self._lost.set()
        if self._lost.is_set():
            raise lost()

    def acquire(self, who: str) -> None:
        """Take it, for as long as it lasts by itself."""
        lease = self._unheld()
        spec = {"holderIdentity": who, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": self._now()}
        metadata = {"name": self._name, "namespace": self._namespace, "annotations": {PROCESS: process_mark.own()}}
        try:
            if lease is None:
                kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
                self._api.create(self._collection, {**kind, "metadata": metadata, "spec": spec})
            else:
                # The version makes the API server refuse this when somebody else was faster.
                version = {"resourceVersion": lease.metadata.resource_version}
                self._api.patch(self._path, {"metadata": {**metadata, **version}, "spec": spec})
        except Refused as error:
            if error.code != CONFLICT:
                raise
            raise _busy(self.holder() or "another deployer") from error
        if lease is not None and lease.spec.holder_identity:
            self._fence()

    def _fence(self) -> None:
        stamp = {"metadata": {"annotations": {TAKEN_OVER: self._now()}}}
        for name in self._fences:
            try:
                self._api.patch(f"/api/v1/namespaces/{self._namespace}/configmaps/{name}", stamp)
            except Refused as error:
                if error.code != NOT_FOUND:
                    raise

    def _unheld(self) -> _Object | None:
        """The lease, once nobody holds it; None when there never was one.

        A holder that was killed is waited for until its time is up. Errors: TargetError as soon as it renews.
        """
        first = lease = self._find()
        while lease is not None and lease.holder and self._unchanged(lease) < LEASE_SECONDS:
            if first is not None and lease.spec != first.spec:
                raise _busy(lease.holder)
            self._sleep(LOOK_SECONDS)
            lease = self._find()
        return lease

    def _unchanged(self, lease: _Object) -> float:
        """Seconds for which this process has seen the lease in its present state."""
        now, seen = self._ticks(), self._sighting
        holder, renewed = lease.spec.holder_identity or "", lease.spec.renew_time
        if seen is None or (seen.holder, seen.renewed) != (holder, renewed):
            seen = self._sighting = _Sighting(holder=holder, renewed=renewed, since=now)
        return now - seen.since

    def _keep(self, who: str, over: threading.Event) -> None:
        renewed = self._ticks()
        while not over.wait(RENEW_SECONDS):
            try:
                kept = self._patch_if_held(who, {"holderIdentity": who, "renewTime": self._now()})
            except TargetError:
                kept = self._ticks() - renewed < LEASE_SECONDS  # The next turn tries again, while the lease lasts.
            else:
                renewed = self._ticks()
            if not kept:
                self._lost.set()
                return

    def _release(self, who: str) -> None:
        try:
            self._patch_if_held(who, {"holderIdentity": ""})
        except TargetError:
            return  # It runs out by itself, and the caller shall see what it came to, not this.

    def _patch_if_held(self, who: str, spec: dict[str, str]) -> bool:
        """Change the lease if it is still held by `who`; whether it was."""
        lease = self._find()
        if lease is None or lease.spec.holder_identity != who:
            return False
        change = {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": spec}
        self._api.patch(self._path, change)
        return True

    def _find(self) -> _Object | None:
        return self._api.find(self._path, _Object)

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    @property
    def _collection(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases"

    @property
    def _path(self) -> str:
        return f"{self._collection}/{self._name}"


def lost() -> TargetError:
    """What a deployer is told that may not be the only one any more."""
    return TargetError(
        "the lease on this release has run out, and another deployer may be at work",
        hint="`deployer rollout status` shows who is; `deployer rollout resume` goes on",
    )


def _busy(holder: str) -> TargetError:
    return TargetError(
        f"{holder} is working on this release",
        hint="`deployer rollout status` shows it; pause, promote and abort reach it from here",
    )
