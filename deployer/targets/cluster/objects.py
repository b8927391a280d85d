"""Kubernetes objects, with only the fields that the deployer uses."""

from __future__ import annotations

from typing import Any

import msgspec

CONFIG_MAP_BYTES = 2**20
"""What the API server accepts as the data of a ConfigMap."""


class _Object(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Base class; unknown fields are ignored."""


class Owner(_Object, frozen=True, kw_only=True):
    """An owner reference."""

    kind: str
    name: str


class Meta(_Object, frozen=True, kw_only=True):
    """metadata; times are ISO 8601. `deletion_timestamp` is set while the object is being deleted."""

    name: str
    resource_version: str = ""
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    creation_timestamp: str = ""
    deletion_timestamp: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: tuple[Owner, ...] = ()


class Condition(_Object, frozen=True, kw_only=True):
    """A condition of any object."""

    type: str
    status: str
    reason: str = ""
    message: str = ""


class Waiting(_Object, frozen=True, kw_only=True):
    """Why a container is not running yet."""

    reason: str = ""
    message: str = ""


class Terminated(_Object, frozen=True, kw_only=True):
    """How a container ended."""

    exit_code: int = 0
    reason: str = ""
    message: str = ""
    finished_at: str = ""


class ContainerState(_Object, frozen=True, kw_only=True):
    """State of a container; all None while it is running."""

    waiting: Waiting | None = None
    terminated: Terminated | None = None


class ContainerStatus(_Object, frozen=True, kw_only=True):
    """Status of a container in a pod."""

    name: str
    ready: bool = False
    restart_count: int = 0
    image: str = ""
    state: ContainerState = ContainerState()
    last_state: ContainerState = ContainerState()


class PodAddress(_Object, frozen=True, kw_only=True):
    """An address of a pod; there is one of each family."""

    ip: str


class PodStatus(_Object, frozen=True, kw_only=True):
    """status of a pod."""

    phase: str = ""
    reason: str = ""
    message: str = ""
    pod_ip: str = msgspec.field(default="", name="podIP")
    pod_ips: tuple[PodAddress, ...] = msgspec.field(default=(), name="podIPs")
    conditions: tuple[Condition, ...] = ()
    init_container_statuses: tuple[ContainerStatus, ...] = ()
    container_statuses: tuple[ContainerStatus, ...] = ()


class ResourceNeeds(_Object, frozen=True, kw_only=True):
    """Quantities by resource name."""

    requests: dict[str, str] = {}
    limits: dict[str, str] = {}


class Container(_Object, frozen=True, kw_only=True):
    """A container in the spec of a pod."""

    name: str
    image: str = ""
    resources: ResourceNeeds = ResourceNeeds()


class PvcSource(_Object, frozen=True, kw_only=True):
    """The PVC of a volume."""

    claim_name: str


class Volume(_Object, frozen=True, kw_only=True):
    """A volume of a pod; None if it is not a PVC."""

    persistent_volume_claim: PvcSource | None = None


class PodSpec(_Object, frozen=True, kw_only=True):
    """spec of a pod."""

    node_name: str = ""
    containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()

    @property
    def pvcs(self) -> tuple[str, ...]:
        """Names of the PVCs that it mounts."""
        return tuple(v.persistent_volume_claim.claim_name for v in self.volumes if v.persistent_volume_claim)


class Pod(_Object, frozen=True, kw_only=True):
    """A pod."""

    metadata: Meta
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()

    @property
    def name(self) -> str:
        """Its name."""
        return self.metadata.name

    @property
    def terminating(self) -> bool:
        """Whether it is being terminated."""
        return bool(self.metadata.deletion_timestamp)

    def addresses(self, port: int) -> frozenset[str]:
        """HOST:PORT of each of its addresses, those of IPv6 in brackets."""
        hosts = {self.status.pod_ip, *(address.ip for address in self.status.pod_ips)} - {""}
        return frozenset(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host in hosts)

    @property
    def ready(self) -> bool:
        """Whether it is ready, so that Services send it traffic."""
        return any(c.type == "Ready" and c.status == "True" for c in self.status.conditions)


class EventSubject(_Object, frozen=True, kw_only=True):
    """The object of an event."""

    kind: str = ""
    name: str = ""
    uid: str = ""


class Event(_Object, frozen=True, kw_only=True):
    """An event, reported by a controller or a kubelet."""

    involved_object: EventSubject
    type: str = ""
    reason: str = ""
    message: str = ""
    count: int | None = None
    last_timestamp: str | None = None
    event_time: str | None = None

    @property
    def when(self) -> str:
        """When it was last seen, ISO 8601; empty if unknown."""
        return self.last_timestamp or self.event_time or ""


class Selector(_Object, frozen=True, kw_only=True):
    """A label selector."""

    match_labels: dict[str, str] = {}


class DeploymentSpec(_Object, frozen=True, kw_only=True):
    """spec of a Deployment."""

    replicas: int = 1
    selector: Selector = Selector()


class DeploymentStatus(_Object, frozen=True, kw_only=True):
    """status of a Deployment."""

    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0
    conditions: tuple[Condition, ...] = ()


class Deployment(_Object, frozen=True, kw_only=True):
    """A Deployment."""

    metadata: Meta
    spec: DeploymentSpec = DeploymentSpec()
    status: DeploymentStatus = DeploymentStatus()

    @property
    def settled(self) -> bool:
        """Whether all pods are from the latest template, and no older pod is left."""
        status = self.status
        return (
            status.observed_generation >= self.metadata.generation
            and status.updated_replicas == self.spec.replicas
            and status.replicas == self.spec.replicas
        )


class ScaleTarget(_Object, frozen=True, kw_only=True):
    """What an autoscaler scales. KEDA leaves the kind out for a Deployment."""

    kind: str = "Deployment"
    name: str = ""

    def is_deployment(self, name: str) -> bool:
        """Whether it is the Deployment of this name."""
        return (self.kind or "Deployment", self.name) == ("Deployment", name)


class AutoscalerSpec(_Object, frozen=True, kw_only=True):
    """spec of a HorizontalPodAutoscaler."""

    scale_target_ref: ScaleTarget = ScaleTarget()

    min_replicas: int = 1
    max_replicas: int = 1


class AutoscalerStatus(_Object, frozen=True, kw_only=True):
    """status of a HorizontalPodAutoscaler; `current_metrics` as in the API."""

    current_replicas: int = 0
    desired_replicas: int = 0
    current_metrics: tuple[dict[str, Any], ...] | None = None
    conditions: tuple[Condition, ...] = ()


class Autoscaler(_Object, frozen=True, kw_only=True):
    """A HorizontalPodAutoscaler (autoscaling/v2)."""

    metadata: Meta
    spec: AutoscalerSpec = AutoscalerSpec()
    status: AutoscalerStatus = AutoscalerStatus()


class ScaledObjectSpec(_Object, frozen=True, kw_only=True):
    """spec of a ScaledObject."""

    scale_target_ref: ScaleTarget = ScaleTarget()


class ScaledObject(_Object, frozen=True, kw_only=True):
    """A ScaledObject of KEDA, which makes and owns a HorizontalPodAutoscaler."""

    metadata: Meta
    spec: ScaledObjectSpec = ScaledObjectSpec()


class ConfigMap(_Object, frozen=True, kw_only=True):
    """A ConfigMap."""

    metadata: Meta
    data: dict[str, str] = {}


DEFAULT_CLASS = "storageclass.kubernetes.io/is-default-class"
"""Annotation of the StorageClass of PVCs that name none."""


class StorageClass(_Object, frozen=True, kw_only=True):
    """A StorageClass."""

    metadata: Meta

    @property
    def is_default(self) -> bool:
        """Whether PVCs that name no class get this one."""
        return self.metadata.annotations.get(DEFAULT_CLASS) == "true"


class PvcSpec(_Object, frozen=True, kw_only=True):
    """spec of a PersistentVolumeClaim."""

    access_modes: tuple[str, ...] = ()
    storage_class_name: str | None = None


class PvcStatus(_Object, frozen=True, kw_only=True):
    """status of a PersistentVolumeClaim: Pending, Bound or Lost."""

    phase: str = ""


class Pvc(_Object, frozen=True, kw_only=True):
    """A PersistentVolumeClaim."""

    metadata: Meta
    spec: PvcSpec = PvcSpec()
    status: PvcStatus = PvcStatus()


class ServicePort(_Object, frozen=True, kw_only=True):
    """A port of a Service."""

    name: str = ""
    port: int


class ServiceSpec(_Object, frozen=True, kw_only=True):
    """spec of a Service."""

    ports: tuple[ServicePort, ...] = ()


class Service(_Object, frozen=True, kw_only=True):
    """A Service."""

    metadata: Meta
    spec: ServiceSpec = ServiceSpec()

    def port(self, name: str) -> int | None:
        """The number of a port by its name; None if it does not exist."""
        return next((port.port for port in self.spec.ports if port.name == name), None)
