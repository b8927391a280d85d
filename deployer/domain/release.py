"""A release as deployer.yaml describes it. Versions and labels are not part of it: see `serving`.

Every class validates itself: ValueError at construction, with a message that says what to change.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from deployer.domain import names, quantity
from deployer.domain.gate import Gate
from deployer.domain.gateway import Gateway, Sticky
from deployer.domain.location import PvcStore, Store
from deployer.domain.notify import Notify
from deployer.domain.pods import Pods
from deployer.domain.rollout import Policy
from deployer.domain.store import DEFAULT_SIGNATURE, model_name_problem
from deployer.domain.workload import Image, Resources, ServingAutoscaling, at_least


def _raise_if(problem: str) -> None:
    if problem:
        raise ValueError(problem)


@dataclass(frozen=True, kw_only=True)
class Model:
    """One model. `features` maps a version to the path of a feature spec that replaces the exported one. With
    `cache_seconds` the gateways keep its responses for that long."""

    name: str
    signature: str = DEFAULT_SIGNATURE
    features: Mapping[int, str] = field(default_factory=dict)
    sticky: Sticky | None = None
    cache_seconds: float | None = None

    def __post_init__(self) -> None:
        _raise_if(model_name_problem(self.name))
        if not self.signature:
            raise ValueError("signature is empty; leave it out for serving_default")
        if self.cache_seconds is not None and self.cache_seconds <= 0:
            raise ValueError("cache_seconds must be above 0; leave it out to keep no responses")


@dataclass(frozen=True, kw_only=True)
class Threads:
    """Thread pools of a replica. None derives the size from the replica's CPUs; the server would use the node's."""

    intra_op: int | None = None
    inter_op: int | None = None
    grpc: int | None = None
    rest: int | None = None
    load: int = 2
    unload: int = 1

    def __post_init__(self) -> None:
        at_least(1, intra_op=self.intra_op, inter_op=self.inter_op, grpc=self.grpc, unload=self.unload)
        if self.load < 2:
            raise ValueError(f"load is {self.load}; with fewer than 2 threads a broken version blocks all other loads")
        if self.rest is not None and self.rest < 2:
            raise ValueError(f"rest is {self.rest}; the first thread is the event loop, so at least 2 are needed")


@dataclass(frozen=True, kw_only=True)
class ServingTls:
    """TLS of the gRPC port of the model servers (ssl_config_file).

    On this machine their certificate, its key and the authorities of clients are in files. In a cluster the item
    `ssl.config` of the Secret `secret` is the whole file. What gateways trust and show is in files here, and in the
    items `ca.crt`, `tls.crt` and `tls.key` of the Secret `gateway_secret` there; `mutual` says that model servers ask
    for a certificate. `server_name` is the name that the certificate of the model servers must have.
    """

    cert_file: str | None = None
    key_file: str | None = None
    client_ca_file: str | None = None
    ca_file: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None
    secret: str | None = None
    gateway_secret: str | None = None
    mutual: bool = False
    server_name: str | None = None

    def __post_init__(self) -> None:
        if self.cert_file is None and self.secret is None:
            raise ValueError("set cert_file with key_file and ca_file, or secret with gateway_secret")
        needed = {"cert_file": ["key_file", "ca_file"], "secret": ["gateway_secret"]}
        if self.mutual:
            needed["cert_file"] += ["client_ca_file", "client_cert_file", "client_key_file"]
        for key, others in needed.items():
            for other in others:
                if getattr(self, key) is not None and getattr(self, other) is None:
                    raise ValueError(f"{key} needs {other} too{' with mutual' if other.startswith('client') else ''}")
        if self.client_ca_file is not None and not self.mutual:
            raise ValueError("client_ca_file is for mutual: true")


@dataclass(frozen=True, kw_only=True)
class Serving:
    """The model servers: image, replicas, pool, resources, and their most important settings.

    `gpu_memory_share` is the share of a card's memory that a server of the pool gpu takes, above 0 up to 1; None takes
    nearly all.
    `rollout_policy` says whether a replica may hold two versions during a rollout. `values` are further values of the
    chart, used in a cluster only: tolerations, a NetworkPolicy, monitors.
    """

    image: Image = field(default_factory=Image)
    replicas: int = 2
    pool: Literal["cpu", "gpu"] = "cpu"
    gpus: int = 1
    gpu_memory_share: float | None = None
    resources: Resources = field(default_factory=Resources)
    threads: Threads = field(default_factory=Threads)
    model_config_poll_seconds: int = 1
    max_load_retries: int = 2
    load_retry_seconds: int = 5
    rest_timeout_seconds: int = 30
    metrics_path: str = "/monitoring/prometheus/metrics"
    rollout_policy: Policy = Policy.AVAILABILITY
    tls: ServingTls | None = None
    flags: Mapping[str, bool | int | float | str] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at_least(1, replicas=self.replicas, gpus=self.gpus, rest_timeout_seconds=self.rest_timeout_seconds)
        at_least(1, model_config_poll_seconds=self.model_config_poll_seconds)
        if self.gpu_memory_share is not None and not 0 < self.gpu_memory_share <= 1:
            raise ValueError(f"gpu_memory_share is {self.gpu_memory_share:g}; it must be above 0 and at most 1")
        at_least(0, max_load_retries=self.max_load_retries, load_retry_seconds=self.load_retry_seconds)


@dataclass(frozen=True, kw_only=True)
class Batching:
    """Batching in the model server; names and meanings are those of TensorFlow Serving's BatchingParameters.

    `num_batch_threads`: None derives it from the CPUs.
    """

    max_batch_size: int = 32
    batch_timeout_micros: int = 1000
    max_enqueued_batches: int = 100
    num_batch_threads: int | None = None
    allowed_batch_sizes: tuple[int, ...] = ()
    pad_variable_length_inputs: bool = False
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int | None = None


@dataclass(frozen=True, kw_only=True)
class Storage:
    """The PVC to create for the models if there is none."""

    size: str = "10Gi"
    storage_class: str = ""
    access_modes: tuple[Literal["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany", "ReadWriteOncePod"], ...] = (
        "ReadWriteOnce",
    )

    def __post_init__(self) -> None:
        quantity.memory(self.size)
        if not self.access_modes:
            raise ValueError("access_modes is empty; name at least ReadWriteOnce")


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """Defaults of `experiment run`; its flags override them.

    `rates` are requests a second; empty chooses them from the measured maximum. `p99_ms` and `error_rate` are the
    objective that defines capacity.
    """

    replicas: tuple[int, ...] = (1, 2)
    rates: tuple[float, ...] = ()
    seconds: float = 20.0
    warmup_seconds: float = 3.0
    p99_ms: float = 200.0
    error_rate: float = 0.01
    seed: int = 1
    records: str = ""

    def __post_init__(self) -> None:
        if not self.replicas or min(self.replicas) < 1 or list(self.replicas) != sorted(set(self.replicas)):
            raise ValueError(f"replicas {list(self.replicas)} must be increasing and at least 1")
        if any(rate <= 0 for rate in self.rates):
            raise ValueError("rates must be above 0 requests a second")
        if self.seconds <= 0 or self.warmup_seconds < 0 or self.p99_ms <= 0 or not 0 <= self.error_rate <= 1:
            raise ValueError("seconds and p99_ms must be above 0, warmup_seconds 0 or more, error_rate from 0 to 1")


@dataclass(frozen=True, kw_only=True)
class Release:
    """The content of deployer.yaml; an empty `context` means the current kube-context."""

    name: str
    store: Store
    models: tuple[Model, ...]
    namespace: str = "default"
    context: str = ""
    serving: Serving = field(default_factory=Serving)
    batching: Batching | None = None
    storage: Storage = field(default_factory=Storage)
    autoscaling: ServingAutoscaling | None = None
    gateway: Gateway = field(default_factory=Gateway)
    gates: tuple[Gate, ...] = ()
    experiment: Experiment = field(default_factory=Experiment)
    notify: Notify | None = None
    pods: Pods = field(default_factory=Pods)
    models_source: Literal["release", "live"] = "release"
    """Who owns versions, labels and weights in a cluster: the Helm releases, or two ConfigMaps that only the deployer
    writes."""

    def __post_init__(self) -> None:
        _raise_if(names.release_problem(self.name))
        _raise_if(names.namespace_problem(self.namespace))
        if isinstance(self.store, PvcStore) and self.store.namespace != self.namespace:
            raise ValueError(
                f"namespace is {self.namespace} and the store is a PVC in {self.store.namespace};"
                " a pod can only mount a PVC of its own namespace"
            )
        if not self.models:
            raise ValueError("models is empty; name at least one")
        listed = [model.name for model in self.models]
        for name in listed:
            if listed.count(name) > 1:
                raise ValueError(f"model {name} is listed twice")

    def has(self, name: str) -> bool:
        """Whether there is a model of this name."""
        return any(model.name == name for model in self.models)

    def model(self, name: str) -> Model:
        """The model of this name. Errors: KeyError."""
        return {model.name: model for model in self.models}[name]
