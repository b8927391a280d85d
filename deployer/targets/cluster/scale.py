"""The number of replicas of a Deployment, and its autoscaler, which would change it back."""

from __future__ import annotations

from deployer.errors import TargetError
from deployer.targets.cluster.api import ApiServer
from deployer.targets.cluster.objects import Autoscaler, Deployment

PAUSED_BOUNDS = "tfserving-deployer/paused-bounds"
"""Annotation of a paused autoscaler: its original bounds, "MIN,MAX"."""


class Scale:
    """Deployment and autoscaler of one name. Errors of every method: TargetError."""

    def __init__(self, api: ApiServer, namespace: str, name: str) -> None:
        self._api = api
        self._name = name
        self._deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
        self._autoscaler = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers/{name}"

    def deployment(self) -> Deployment:
        """The Deployment."""
        found = self._api.find(self._deployment, Deployment)
        if found is None:
            raise TargetError(f"there is no Deployment {self._name}", hint="`deployer deploy` installs it")
        return found

    def autoscaler(self) -> Autoscaler | None:
        """The autoscaler, None if there is none."""
        return self._api.find(self._autoscaler, Autoscaler)

    def notes(self) -> tuple[str, ...]:
        """The Deployment, if it is changing, and its autoscaler, as sentences for `status`."""
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
            if PAUSED_BOUNDS in autoscaler.metadata.annotations:
                configured = autoscaler.metadata.annotations[PAUSED_BOUNDS].replace(",", " to ")
                bounds += f", paused (its configured bounds are {configured})"
            inactive = next(
                (c.message for c in now.conditions if c.type == "ScalingActive" and c.status == "False"), ""
            )
            counts = f"{now.current_replicas} now, {now.desired_replicas} desired"
            found.append(
                f"autoscaler of {self._name}: {bounds}, {counts}" + (f"; no metrics: {inactive}" if inactive else "")
            )
        return tuple(found)

    def to(self, replicas: int) -> None:
        """Scale to exactly `replicas`. An autoscaler is paused until `resume`. Its bounds are stored in an annotation,
        so that a later run can restore them if this one is killed."""
        autoscaler = self.autoscaler()
        if autoscaler is not None:
            bounds = f"{autoscaler.spec.min_replicas},{autoscaler.spec.max_replicas}"
            original = autoscaler.metadata.annotations.get(PAUSED_BOUNDS, bounds)
            self._set_bounds(replicas, replicas, original)
        self._api.patch(f"{self._deployment}/scale", {"spec": {"replicas": replicas}})

    def hold(self) -> None:
        """Pause the autoscaler, if there is one, at the current number until `resume`."""
        if self.autoscaler() is not None:
            self.to(self.deployment().spec.replicas)

    def paused(self) -> bool:
        """Whether the autoscaler is paused."""
        autoscaler = self.autoscaler()
        return autoscaler is not None and PAUSED_BOUNDS in autoscaler.metadata.annotations

    def resume(self) -> bool:
        """Restore the bounds of a paused autoscaler; False if none was paused."""
        autoscaler = self.autoscaler()
        original = autoscaler.metadata.annotations.get(PAUSED_BOUNDS) if autoscaler is not None else None
        if original is None:
            return False
        minimum, maximum = map(int, original.split(","))
        self._set_bounds(minimum, maximum, None)
        return True

    def _set_bounds(self, minimum: int, maximum: int, original: str | None) -> None:
        change = {
            "spec": {"minReplicas": minimum, "maxReplicas": maximum},
            "metadata": {"annotations": {PAUSED_BOUNDS: original}},
        }
        self._api.patch(self._autoscaler, change)
