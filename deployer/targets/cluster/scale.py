"""The number of model servers: of the Deployment, and of the autoscaler that would set it back."""

from __future__ import annotations

from deployer.errors import TargetError
from deployer.targets.cluster.api import ApiServer
from deployer.targets.cluster.objects import Autoscaler, Deployment

PAUSED = "tfserving-deployer/paused-bounds"
"""Annotation of an autoscaler that is held at one number: its real bounds, "MIN,MAX"."""


class Scale:
    """Deployment and autoscaler of one name. Errors of every method: TargetError."""

    def __init__(self, api: ApiServer, namespace: str, name: str) -> None:
        self._api = api
        self._name = name
        self._deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
        self._autoscaler = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/{name}"

    def deployment(self) -> Deployment:
        """The Deployment as it is."""
        found = self._api.find(self._deployment, Deployment)
        if found is None:
            raise TargetError(f"there is no Deployment {self._name}", hint="`deployer deploy` installs it")
        return found

    def autoscaler(self) -> Autoscaler | None:
        """The autoscaler, None when there is none."""
        return self._api.find(self._autoscaler, Autoscaler)

    def notes(self) -> tuple[str, ...]:
        """The Deployment while it changes, and its autoscaler, in sentences for a status."""
        found = []
        deployment, autoscaler = self.deployment(), self.autoscaler()
        if not deployment.settled:
            status = deployment.status
            found.append(
                f"{self._name} is changing: {status.updated_replicas} of {deployment.spec.replicas} pods are new,"
                f" {status.replicas} exist"
            )
        if autoscaler is not None:
            spec, now = autoscaler.spec, autoscaler.status
            bounds = f"{spec.min_replicas} to {spec.max_replicas}"
            if PAUSED in autoscaler.metadata.annotations:
                bounds += f", held (its own bounds are {autoscaler.metadata.annotations[PAUSED].replace(',', ' to ')})"
            blind = next((c.message for c in now.conditions if c.type == "ScalingActive" and c.status == "False"), "")
            wants = f"{now.current_replicas} now, {now.desired_replicas} wanted"
            found.append(f"autoscaler of {self._name}: {bounds}, {wants}" + (f"; blind: {blind}" if blind else ""))
        return tuple(found)

    def to(self, replicas: int) -> None:
        """Ask for exactly `replicas`. An autoscaler is held there until `resume`; its bounds are kept in an annotation,
        so that a later run can give them back when this one is killed."""
        autoscaler = self.autoscaler()
        if autoscaler is not None:
            bounds = f"{autoscaler.spec.min_replicas},{autoscaler.spec.max_replicas}"
            kept = autoscaler.metadata.annotations.get(PAUSED, bounds)
            self._bound(replicas, replicas, kept)
        self._api.patch(f"{self._deployment}/scale", {"spec": {"replicas": replicas}})

    def hold(self) -> None:
        """Hold an autoscaler at the number that runs now, until `resume`; without one there is nothing to hold."""
        if self.autoscaler() is not None:
            self.to(self.deployment().spec.replicas)

    def paused(self) -> bool:
        """Whether an autoscaler is held."""
        autoscaler = self.autoscaler()
        return autoscaler is not None and PAUSED in autoscaler.metadata.annotations

    def resume(self) -> bool:
        """Give a held autoscaler its bounds back; False when none was held."""
        autoscaler = self.autoscaler()
        kept = autoscaler.metadata.annotations.get(PAUSED) if autoscaler is not None else None
        if kept is None:
            return False
        least, most = map(int, kept.split(","))
        self._bound(least, most, None)
        return True

    def _bound(self, least: int, most: int, kept: str | None) -> None:
        change = {"spec": {"minReplicas": least, "maxReplicas": most}, "metadata": {"annotations": {PAUSED: kept}}}
        self._api.patch(self._autoscaler, change)
