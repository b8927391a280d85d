"""The Lease of a release: the deployer that works on it, until it ends, is killed, or stops renewing."""

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
"""The lease of a deployer that was killed on another machine expires when another deployer has seen it unchanged for
this time; on the same machine, at once."""

RENEW_SECONDS = 2.0
HOLDER_POLL_SECONDS = 0.5
"""Between two checks whether the holder of the lease still renews it."""

PROCESS = "tfserving-deployer/process"
"""Annotation of the Lease: a unique mark of the process that holds it."""

TAKEN_OVER = "tfserving-deployer/taken-over"
"""Annotation of a ConfigMap: when a deployer took over the lease of another one that was killed or lost it."""


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
        """The holder in the Lease; empty if it was released, or if the process of the holder has ended."""
        if process_mark.has_ended(self.metadata.annotations.get(PROCESS, "")):
            return ""
        return self.spec.holder_identity or ""

    def stamped_before(self, moment: float) -> bool:
        """Whether the last renewal, by the clock of the holder, was before a Unix time."""
        return self.spec.renew_time is None or self.spec.renew_time.timestamp() < moment


@dataclass(frozen=True, kw_only=True)
class _Observation:
    """When this process first saw the lease in this state, by its monotonic clock."""

    holder: str
    renewed: datetime | None
    since: float


class Lease:
    """One deployer at a time. A lease expires when this process has seen it unchanged for long enough, so the clocks of
    two machines may differ by any amount.

    A deployer that was suspended or disconnected until its lease expired may find another deployer at work: `check`
    raises then. The API server rejects a write that was pending when it was suspended: a deployer that takes over a
    lease first changes `fences`, the ConfigMaps of the release, so that their resource versions no longer match.
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
        self._observation: _Observation | None = None
        self._sleep = sleep
        self._who = ""
        self._lost = threading.Event()

    @contextmanager
    def held(self, who: str) -> Iterator[None]:
        """Hold it as `who`, and renew it. Errors: TargetError naming the current holder."""
        self.acquire(who)
        self._who = who
        self._lost.clear()
        done = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(who, done), daemon=True)
        keeper.start()
        try:
            yield
        finally:
            done.set()
            keeper.join()
            self._who = ""
            self._release(who)

    def holder(self) -> str:
        """The holder, empty if nobody holds it.

        A lease with an old timestamp is watched for two renewals: its holder is dead, or the holder's clock is behind.
        """
        lease = self._find()
        while lease is not None and lease.holder:
            unchanged = self._unchanged(lease)
            old = lease.stamped_before(self._clock() - LEASE_SECONDS)
            if unchanged >= (2 * RENEW_SECONDS if old else LEASE_SECONDS):
                return ""
            if not old:
                return lease.holder
            self._sleep(HOLDER_POLL_SECONDS)
            before, lease = lease, self._find()
            if lease is not None and lease.spec != before.spec:
                return lease.holder
        return ""

    def check(self, *, read: bool) -> None:
        """Errors: TargetError when another deployer may hold the lease now; with `read` the Lease object is read."""
        if read and self._who:
            lease = self._find()
            if lease is None or lease.spec.holder_identity != self._who:
                self._lost.set()
        if self._lost.is_set():
            raise lost()

    def acquire(self, who: str) -> None:
        """Acquire it, without renewing it."""
        lease = self._unheld()
        spec = {"holderIdentity": who, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": self._now()}
        metadata = {"name": self._name, "namespace": self._namespace, "annotations": {PROCESS: process_mark.own()}}
        try:
            if lease is None:
                kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
                self._api.create(self._collection, {**kind, "metadata": metadata, "spec": spec})
            else:
                # With the version, the API server rejects this if another deployer was faster.
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
        """The Lease, once nobody holds it; None if it does not exist yet.

        Waits until the lease of a killed holder expires. Errors: TargetError as soon as the holder renews it.
        """
        first = lease = self._find()
        while lease is not None and lease.holder and self._unchanged(lease) < LEASE_SECONDS:
            if first is not None and lease.spec != first.spec:
                raise _busy(lease.holder)
            self._sleep(HOLDER_POLL_SECONDS)
            lease = self._find()
        return lease

    def _unchanged(self, lease: _Object) -> float:
        """Seconds for which this process has seen the lease in its current state."""
        now, seen = self._ticks(), self._observation
        holder, renewed = lease.spec.holder_identity or "", lease.spec.renew_time
        if seen is None or (seen.holder, seen.renewed) != (holder, renewed):
            seen = self._observation = _Observation(holder=holder, renewed=renewed, since=now)
        return now - seen.since

    def _keep(self, who: str, done: threading.Event) -> None:
        renewed = self._ticks()
        while not done.wait(RENEW_SECONDS):
            try:
                kept = self._patch_if_held(who, {"holderIdentity": who, "renewTime": self._now()})
            except TargetError:
                kept = self._ticks() - renewed < LEASE_SECONDS  # Try again in the next turn, until the lease expires.
            else:
                renewed = self._ticks()
            if not kept:
                self._lost.set()
                return

    def _release(self, who: str) -> None:
        try:
            self._patch_if_held(who, {"holderIdentity": ""})
        except TargetError:
            return  # It expires by itself; this error must not hide the caller's own result.

    def _patch_if_held(self, who: str, spec: dict[str, str]) -> bool:
        """Change the lease if `who` still holds it; returns whether it did."""
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
    """The error of a deployer that has lost the lease."""
    return TargetError(
        "the lease on this release has expired, and another deployer may be running",
        hint="`deployer rollout status` shows which; `deployer rollout resume` continues",
    )


def _busy(holder: str) -> TargetError:
    return TargetError(
        f"{holder} is working on this release",
        hint="`deployer rollout status` shows it; pause, promote and abort reach it from here",
    )
