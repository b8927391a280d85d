"""Ledgers in a cluster: one ConfigMap a model, and one Lease that says who is at work on the release."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec

from deployer.domain.ledger import Ledger
from deployer.domain.rollout_transitions import Event
from deployer.errors import TargetError
from deployer.targets.cluster_api import ApiServer, Refused
from deployer.targets.cluster_objects import ConfigMap
from deployer.targets.ledgers import decode, encode
from deployer.tools import process_mark

LEASE_SECONDS = 8
"""A deployer that was killed on another machine is out of the way after so long; on this one, at once."""

RENEW_SECONDS = 2.0
LOOK_SECONDS = 0.5
"""Between two looks at whether the holder of the lease still renews it."""

ORDER_SECONDS = 1.0
"""Between two looks for orders: the deployer asks far more often than a person can type."""

LEDGER, ORDER = "ledger.json", "order"
CONFLICT = 409

PROCESS = "tfserving-deployer/process"
"""Annotation of the Lease: which process holds it, told from every other one."""


class _LeaseMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    annotations: dict[str, str] = {}


class _LeaseSpec(msgspec.Struct, frozen=True, rename="camel"):
    holder_identity: str | None = None
    renew_time: datetime | None = None


class _Lease(msgspec.Struct, frozen=True):
    metadata: _LeaseMeta
    spec: _LeaseSpec = _LeaseSpec()

    def holder(self, now: float) -> str:
        """Who holds it, empty when nobody does any more."""
        renewed = self.spec.renew_time
        if not self.spec.holder_identity or renewed is None or renewed.timestamp() + LEASE_SECONDS < now:
            return ""
        if process_mark.has_ended(self.metadata.annotations.get(PROCESS, "")):
            return ""
        return self.spec.holder_identity


class ConfigMapLedgers:
    """The `LedgerStore` of a release in a cluster. Clocks of two machines may differ by less than the lease lasts.

    A deployer that was suspended or cut off until its lease ran out may find another one at work. It then writes
    nothing any more: every record and every look for orders is an error.
    """

    def __init__(
        self,
        api: ApiServer,
        *,
        namespace: str,
        release: str,
        clock: Callable[[], float] = time.time,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._api = api
        self._namespace = namespace
        self._release = release
        self._clock = clock
        self._sleep = sleep
        self._looked = 0.0
        self._lost = threading.Event()

    def read(self, model: str) -> Ledger:
        found = self._api.find(self._path(model), ConfigMap)
        if found is None or LEDGER not in found.data:
            return Ledger()
        return decode(found.data[LEDGER].encode(), f"ConfigMap {self._name(model)}")

    def write(self, model: str, ledger: Ledger) -> None:
        self._check()
        metadata = {
            "name": self._name(model),
            "namespace": self._namespace,
            "labels": {"app.kubernetes.io/managed-by": "tfserving-deployer"},
            "annotations": {"tfserving-deployer/model": model},
        }
        content = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": metadata,
            "data": {LEDGER: encode(ledger).decode()},
        }
        self._api.apply(self._path(model), content)

    @contextmanager
    def locked(self, who: str) -> Iterator[None]:
        self._acquire(who)
        self._lost.clear()
        over = threading.Event()
        keeper = threading.Thread(target=self._keep, args=(who, over), daemon=True)
        keeper.start()
        try:
            yield
        finally:
            over.set()
            keeper.join()
            self._release_lease(who)

    def holder(self) -> str:
        lease = self._api.find(self._lease, _Lease)
        return "" if lease is None else lease.holder(self._clock())

    def order(self, model: str, event: Event) -> None:
        self._api.patch(self._path(model), {"data": {ORDER: event.value}})

    def take_order(self, model: str) -> Event | None:
        self._check()
        now = self._clock()
        if abs(now - self._looked) < ORDER_SECONDS:
            return None
        self._looked = now
        found = self._api.find(self._path(model), ConfigMap)
        if found is None or ORDER not in found.data:
            return None
        self._api.patch(self._path(model), {"data": {ORDER: None}})
        return Event(found.data[ORDER])

    def _acquire(self, who: str) -> None:
        lease = self._unheld()
        spec = {"holderIdentity": who, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": self._now()}
        metadata = {
            "name": self._lease_name,
            "namespace": self._namespace,
            "annotations": {PROCESS: process_mark.own()},
        }
        try:
            if lease is None:
                kind = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
                self._api.create(self._leases, {**kind, "metadata": metadata, "spec": spec})
            else:
                # The version makes the API server refuse this when somebody else was faster.
                version = {"resourceVersion": lease.metadata.resource_version}
                self._api.patch(self._lease, {"metadata": {**metadata, **version}, "spec": spec})
        except Refused as error:
            if error.code != CONFLICT:
                raise
            raise _busy(self.holder() or "another deployer") from error

    def _unheld(self) -> _Lease | None:
        """The lease, once nobody holds it; None when there never was one.

        A holder that was killed is waited for until its time is up. Errors: TargetError as soon as it renews.
        """
        first = lease = self._api.find(self._lease, _Lease)
        while lease is not None and (holder := lease.holder(self._clock())):
            if first is not None and (lease.spec.holder_identity, lease.spec.renew_time) != (
                first.spec.holder_identity,
                first.spec.renew_time,
            ):
                raise _busy(holder)
            self._sleep(LOOK_SECONDS)
            lease = self._api.find(self._lease, _Lease)
        return lease

    def _keep(self, who: str, over: threading.Event) -> None:
        renewed = self._clock()
        while not over.wait(RENEW_SECONDS):
            try:
                kept = self._patch_if_held(who, {"holderIdentity": who, "renewTime": self._now()})
            except TargetError:
                kept = self._clock() - renewed < LEASE_SECONDS  # The next turn tries again, while the lease lasts.
            else:
                renewed = self._clock()
            if not kept:
                self._lost.set()
                return

    def _release_lease(self, who: str) -> None:
        try:
            self._patch_if_held(who, {"holderIdentity": ""})
        except TargetError:
            return  # It runs out by itself, and the caller shall see what it came to, not this.

    def _patch_if_held(self, who: str, spec: dict[str, str]) -> bool:
        """Change the lease if it is still held by `who`; whether it was."""
        lease = self._api.find(self._lease, _Lease)
        if lease is None or lease.spec.holder_identity != who:
            return False
        change = {"metadata": {"resourceVersion": lease.metadata.resource_version}, "spec": spec}
        self._api.patch(self._lease, change)
        return True

    def _check(self) -> None:
        if self._lost.is_set():
            raise TargetError(
                "the lease on this release has run out, and another deployer may be at work",
                hint="`deployer rollout status` shows who is; `deployer rollout resume` goes on",
            )

    def _now(self) -> str:
        return datetime.fromtimestamp(self._clock(), UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")

    def _name(self, model: str) -> str:
        # Model names may hold what names of objects may not.
        return f"{self._release}-rollouts-{hashlib.sha256(model.encode()).hexdigest()[:10]}"

    def _path(self, model: str) -> str:
        return f"/api/v1/namespaces/{self._namespace}/configmaps/{self._name(model)}"

    @property
    def _lease_name(self) -> str:
        return f"{self._release}-rollouts"

    @property
    def _leases(self) -> str:
        return f"/apis/coordination.k8s.io/v1/namespaces/{self._namespace}/leases"

    @property
    def _lease(self) -> str:
        return f"{self._leases}/{self._lease_name}"


def _busy(holder: str) -> TargetError:
    return TargetError(
        f"{holder} is working on this release",
        hint="`deployer rollout status` shows it; pause, promote and abort reach it from here",
    )
