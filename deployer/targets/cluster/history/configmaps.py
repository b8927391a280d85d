"""Histories in a cluster: one ConfigMap per model, and one Lease that says which deployer is at work."""

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

COMMAND_READ_SECONDS = 0.25
"""At most one read of commands in this time, however often a rollout checks for commands."""

HISTORY, COMMAND = "history.json", "order"
MODEL_ANNOTATION = "tfserving-deployer/model"


@dataclass(frozen=True, kw_only=True)
class _ReadHistory:
    """A history as it was read, and the resource version of its ConfigMap; both empty if there is none."""

    text: str = ""
    version: str = ""


class ConfigMapHistory:
    """The `HistoryStore` of a release in a cluster. `fences` are the ConfigMaps that a rollout writes: see `Lease`.

    A deployer that has lost the lease cannot write any more: every write and every read of commands raises an error.
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
        self._commands_read = 0.0
        self._seen: dict[str, _ReadHistory] = {}

    def read(self, model: str) -> History:
        seen = self._seen[model] = self._read(model)
        return decode(seen.text.encode(), f"ConfigMap {self._name(model)}") if seen.text else History()

    def write(self, model: str, history: History) -> None:
        self.assert_held()
        before = self._seen.pop(model, None) or self._read(model)
        while not self._put(model, before.version, encode(history).decode()):
            self.assert_held()
            now = self._read(model)
            if now.text != before.text:
                raise lost()
            before = now  # A command was written: that changes the object, but not the history in it.

    def locked(self, who: str) -> AbstractContextManager[None]:
        return self.lease.held(who)

    def assert_held(self) -> None:
        self.lease.check(read=True)

    def holder(self) -> str:
        return self.lease.holder()

    def send_command(self, model: str, event: Event) -> None:
        self._api.patch(self._path(model), {"data": {COMMAND: event.value}})

    def take_command(self, model: str) -> Event | None:
        self.lease.check(read=False)
        now = self._clock()
        if abs(now - self._commands_read) < COMMAND_READ_SECONDS:
            return None
        self._commands_read = now
        found = self._api.find(self._path(model), ConfigMap)
        if found is None or COMMAND not in found.data:
            return None
        self.assert_held()
        self._api.patch(self._path(model), {"data": {COMMAND: None}})
        return Event(found.data[COMMAND])

    def _read(self, model: str) -> _ReadHistory:
        found = self._api.find(self._path(model), ConfigMap)
        if found is None:
            return _ReadHistory()
        return _ReadHistory(text=found.data.get(HISTORY, ""), version=found.metadata.resource_version)

    def _put(self, model: str, version: str, text: str) -> bool:
        """Replace the history if the ConfigMap still has this version; False if it does not."""
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
        # Model names may contain characters that object names must not.
        return f"{self._release}-rollouts-{hashlib.sha256(model.encode()).hexdigest()[:10]}"

    def _path(self, model: str) -> str:
        return f"/api/v1/namespaces/{self._namespace}/configmaps/{self._name(model)}"
