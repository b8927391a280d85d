"""Ledgers in a cluster: one ConfigMap a model, and one Lease that says who is at work on the release."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from deployer.domain.history import History
from deployer.domain.rollout import Event
from deployer.targets.cluster.api import CONFLICT, ApiServer, Refused
from deployer.targets.cluster.history.lease import Lease, lost
from deployer.targets.cluster.objects import ConfigMap
from deployer.targets.history import decode, encode

ORDER_SECONDS = 0.25
"""Between two looks for orders: the deployer asks far more often than a person can type."""

HISTORY, ORDER = "history.json", "order"
MODEL_ANNOTATION = "tfserving-deployer/model"


@dataclass(frozen=True, kw_only=True)
class _Seen:
    """A ledger as it was read, and the version of its object; both empty when there is none."""

    text: str = ""
    version: str = ""


class ConfigMapHistory:
    """The `LedgerStore` of a release in a cluster. `fences` are the ConfigMaps that a rollout writes: see `Lease`.

    Who has lost the lease writes nothing any more: every record and every look for orders is an error.
    """

    def __init__(
        self,
        api: ApiServer,
        *,
        namespace: str,
        release: str,
        fences: Sequence[str] = (),
        clock: Callable[[], float] = time.time,
        ticks: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.lease = Lease(
            api,
            namespace=namespace,
            name=f"{release}-rollouts",
            fences=fences,
            clock=clock,
            ticks=ticks,
            sleep=sleep,
        )
        self._api = api
        self._namespace = namespace
        self._release = release
        self._clock = clock
        self._looked = 0.0
        self._seen: dict[str, _Seen] = {}

    def read(self, model: str) -> History:
        seen = self._seen[model] = self._see(model)
        return decode(seen.text.encode(), f"ConfigMap {self._name(model)}") if seen.text else History()

    def write(self, model: str, history: History) -> None:
        self.assert_held()
        before = self._seen.pop(model, None) or self._see(model)
        while not self._put(model, before.version, encode(history).decode()):
            self.assert_held()
            now = self._see(model)
            if now.text != before.text:
                raise lost()
            before = now  # An order was left, and that changes the object, but not the ledger in it.

    def locked(self, who: str) -> AbstractContextManager[None]:
        return self.lease.held(who)

    def assert_held(self) -> None:
        self.lease.check(look=True)

    def holder(self) -> str:
        return self.lease.holder()

    def order(self, model: str, event: Event) -> None:
        self._api.patch(self._path(model), {"data": {ORDER: event.value}})

    def take_order(self, model: str) -> Event | None:
        self.lease.check(look=False)
        now = self._clock()
        if abs(now - self._looked) < ORDER_SECONDS:
            return None
        self._looked = now
        found = self._api.find(self._path(model), ConfigMap)
        if found is None or ORDER not in found.data:
            return None
        self.assert_held()
        self._api.patch(self._path(model), {"data": {ORDER: None}})
        return Event(found.data[ORDER])

    def _see(self, model: str) -> _Seen:
        found = self._api.find(self._path(model), ConfigMap)
        if found is None:
            return _Seen()
        return _Seen(text=found.data.get(HISTORY, ""), version=found.metadata.resource_version)

    def _put(self, model: str, version: str, text: str) -> bool:
        """Replace the ledger in an object of this version; False when it has another one by now."""
        metadata = {
            "name": self._name(model),
            "namespace": self._namespace,
            "labels": {"app.kubernetes.io/managed-by": "tfserving-deployer"},
            "annotations": {MODEL_ANNOTATION: model},
            **({"resourceVersion": version} if version else {}),
        }
        content = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {HISTORY: text}}
        try:
            self._api.apply(self._path(model), content)
        except Refused as error:
            if error.code != CONFLICT:
                raise
            return False
        return True

    def _name(self, model: str) -> str:
        # Model names may hold what names of objects may not.
        return f"{self._release}-rollouts-{hashlib.sha256(model.encode()).hexdigest()[:10]}"

    def _path(self, model: str) -> str:
        return f"/api/v1/namespaces/{self._namespace}/configmaps/{self._name(model)}"
