"""The number of replicas of a Deployment, and its autoscaler, which would change it back."""

from __future__ import annotations

from deployer.errors import TargetError
from deployer.targets.cluster.api import NOT_FOUND, ApiServer, Refused
from deployer.targets.cluster.objects import Autoscaler, Deployment, ScaledObject

PAUSED_BOUNDS = "tfserving-deployer/paused-bounds"
"""Annotation of a paused autoscaler: its original bounds, "MIN,MAX"."""

KEDA_PAUSE = "autoscaling.keda.sh/paused-replicas"
"""Annotation of a ScaledObject at which KEDA removes its autoscaler and keeps this number of replicas."""

PAUSED_KEDA = "tfserving-deployer/paused-replicas"
"""Annotation of a ScaledObject that is paused here: what `KEDA_PAUSE` was before, empty if it was absent."""

FORBIDDEN = 403


class Scale:
    """A Deployment and what scales it. Errors of every method: TargetError.

    An autoscaler is found by what it scales, because its name is the choice of whoever made it: KEDA calls it
    `keda-hpa-…`. One that KEDA owns is not changed, since KEDA would change it back: its ScaledObject is paused.
    """

    def __init__(self, api: ApiServer, namespace: str, name: str) -> None:
        self._api = api
        self._name = name
        self._deployment = f"/apis/apps/v1/namespaces/{namespace}/deployments/{name}"
        self._autoscalers = f"/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers"
        self._scaled_objects = f"/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects"

    def deployment(self) -> Deployment:
        """The Deployment."""
        found = self._api.find(self._deployment, Deployment)
        if found is None:
            raise TargetError(f"there is no Deployment {self._name}", hint="`deployer deploy` installs it")
        return found

    def exists(self) -> bool:
        """Whether the Deployment exists."""
        return self._api.find(self._deployment, Deployment) is not None

    def autoscaler(self) -> Autoscaler | None:
        """The autoscaler, None if there is none."""
        found = self._api.list(self._autoscalers, Autoscaler)
        return next((one for one in found if one.spec.scale_target_ref.is_deployment(self._name)), None)

    def automatic(self) -> bool:
        """Whether something scales the Deployment by itself."""
        autoscaler = self.autoscaler()
        return autoscaler is not None or self._scaled_object(autoscaler) is not None

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
            found.append(self._autoscaler_note(autoscaler))
        keda = self._scaled_object(autoscaler)
        if keda is not None and (replicas := keda.metadata.annotations.get(KEDA_PAUSE)) is not None:
            found.append(f"ScaledObject {keda.metadata.name} of {self._name}: paused at {replicas} replicas")
        return tuple(found)

    def _autoscaler_note(self, autoscaler: Autoscaler) -> str:
        spec, now = autoscaler.spec, autoscaler.status
        bounds = f"{spec.min_replicas} to {spec.max_replicas}"
        if PAUSED_BOUNDS in autoscaler.metadata.annotations:
            configured = autoscaler.metadata.annotations[PAUSED_BOUNDS].replace(",", " to ")
            bounds += f", paused (its configured bounds are {configured})"
        inactive = next((c.message for c in now.conditions if c.type == "ScalingActive" and c.status == "False"), "")
        counts = f"{now.current_replicas} now, {now.desired_replicas} desired"
        return f"autoscaler of {self._name}: {bounds}, {counts}" + (f"; no metrics: {inactive}" if inactive else "")

    def to(self, replicas: int) -> None:
        """Scale to exactly `replicas`. An autoscaler is paused until `resume`. Its bounds are stored in an annotation,
        so that a later run can restore them if this one is killed."""
        autoscaler = self.autoscaler()
        keda = self._scaled_object(autoscaler)
        if keda is not None:
            annotations = keda.metadata.annotations
            before = annotations.get(PAUSED_KEDA, annotations.get(KEDA_PAUSE, ""))
            self._annotate(keda, {KEDA_PAUSE: str(replicas), PAUSED_KEDA: before})
        elif autoscaler is not None:
            bounds = f"{autoscaler.spec.min_replicas},{autoscaler.spec.max_replicas}"
            original = autoscaler.metadata.annotations.get(PAUSED_BOUNDS, bounds)
            self._set_bounds(autoscaler, replicas, replicas, original)
        self._api.patch(f"{self._deployment}/scale", {"spec": {"replicas": replicas}})

    def hold(self) -> None:
        """Pause the autoscaler, if there is one, at the current number until `resume`."""
        if self.automatic():
            self.to(self.deployment().spec.replicas)

    def paused(self) -> bool:
        """Whether the autoscaler is paused by `to` or `hold`."""
        autoscaler = self.autoscaler()
        keda = self._scaled_object(autoscaler)
        return (keda is not None and PAUSED_KEDA in keda.metadata.annotations) or (
            autoscaler is not None and PAUSED_BOUNDS in autoscaler.metadata.annotations
        )

    def resume(self) -> bool:
        """Undo the pause of an autoscaler; False if none was paused."""
        autoscaler = self.autoscaler()
        keda = self._scaled_object(autoscaler)
        if keda is not None and (before := keda.metadata.annotations.get(PAUSED_KEDA)) is not None:
            self._annotate(keda, {KEDA_PAUSE: before or None, PAUSED_KEDA: None})
            return True
        original = autoscaler.metadata.annotations.get(PAUSED_BOUNDS) if autoscaler is not None else None
        if autoscaler is None or original is None:
            return False
        minimum, maximum = map(int, original.split(","))
        self._set_bounds(autoscaler, minimum, maximum, None)
        return True

    def _scaled_object(self, autoscaler: Autoscaler | None) -> ScaledObject | None:
        """The ScaledObject of KEDA, None if there is none. `autoscaler` is the one of the Deployment: one that nobody
        owns is not KEDA's, and a paused ScaledObject has none."""
        owned = autoscaler is not None and any(o.kind == "ScaledObject" for o in autoscaler.metadata.owner_references)
        if autoscaler is not None and not owned:
            return None
        try:
            found = self._api.list(self._scaled_objects, ScaledObject)
        except Refused as error:
            # A cluster without KEDA does not know the path, and forbids it to whoever may not read everything.
            if error.code == NOT_FOUND or (error.code == FORBIDDEN and not owned):
                return None
            raise
        return next((one for one in found if one.spec.scale_target_ref.is_deployment(self._name)), None)

    def _annotate(self, keda: ScaledObject, annotations: dict[str, str | None]) -> None:
        self._api.patch(f"{self._scaled_objects}/{keda.metadata.name}", {"metadata": {"annotations": annotations}})

    def _set_bounds(self, autoscaler: Autoscaler, minimum: int, maximum: int, original: str | None) -> None:
        change = {
            "spec": {"minReplicas": minimum, "maxReplicas": maximum},
            "metadata": {"annotations": {PAUSED_BOUNDS: original}},
        }
        self._api.patch(f"{self._autoscalers}/{autoscaler.metadata.name}", change)
