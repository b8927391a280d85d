"""The gateway of a release. Names and meanings are the same as in the gateway's own settings file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from deployer.domain.workload import Autoscaling, Image, Resources, at_least


@dataclass(frozen=True, kw_only=True)
class Sticky:
    """Where to find the key that keeps a caller on one label: a field of the request's metadata, or a header."""

    metadata: str | None = None
    header: str | None = None

    def __post_init__(self) -> None:
        if (self.metadata is None) == (self.header is None):
            raise ValueError("set exactly one of metadata and header")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits beyond which the gateway rejects a request."""

    max_body_bytes: int = 10 * 1024 * 1024
    max_records: int = 10_000
    timeout_ms: int = 10_000
    max_concurrency: int = 256
    max_queue: int = 256
    objective_ms: int | None = None
    priority_header: str | None = None
    memory_bytes: int | None = None
    image_pixels: int = 1 << 22
    cache_bytes: int = 1 << 25


@dataclass(frozen=True, kw_only=True)
class GatewayBatching:
    """Batching of concurrent requests in the gateway."""

    enabled: bool = False
    max_batch_size: int = 32
    max_wait_micros: int = 1000


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Currency rates: units of each currency for one of `base`, in `table` or in a JSON `file`."""

    base: str = "USD"
    table: Mapping[str, float] | None = None
    file: str | None = None


@dataclass(frozen=True, kw_only=True)
class FeatureStore:
    """Where the gateways look features up: Redis by URL, in which `$NAME` is an environment variable, or a table of a
    SQLite file."""

    redis: str | None = None
    cluster: bool = False
    sqlite: str | None = None
    table: str = "features"
    timeout_ms: int = 50
    cache_entries: int = 100_000


@dataclass(frozen=True, kw_only=True)
class Jwt:
    """JSON Web Tokens of one issuer; its public keys come from a URL, or locally from a file."""

    issuer: str
    audience: str
    jwks_file: str | None = None
    jwks_url: str | None = None
    refresh_seconds: float = 300.0
    algorithms: tuple[str, ...] = ("RS256", "ES256")
    models_claim: str | None = None
    leeway_seconds: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Auth:
    """Who may send requests: holders of an API key, or of a token. Keys are in a file on this machine, and in the item
    `keys.yaml` of a Secret in a cluster."""

    keys_file: str | None = None
    keys_secret: str | None = None
    jwt: Jwt | None = None

    def __post_init__(self) -> None:
        if self.keys_file is None and self.keys_secret is None and self.jwt is None:
            raise ValueError("set keys_file, keys_secret or jwt, or leave auth out to accept every caller")


@dataclass(frozen=True, kw_only=True)
class Cors:
    """Origins of web pages that may send requests."""

    origins: tuple[str, ...]
    credentials: bool = False
    max_age_seconds: int = 600


@dataclass(frozen=True, kw_only=True)
class Tls:
    """TLS of the public ports of the gateways. The certificate and its key are in files on this machine, and in the
    items `tls.crt` and `tls.key` of a Secret in a cluster.

    `client_ca_file` has the authorities of clients, on this machine. The others are for requests of the deployer
    itself: `ca_file` has the authorities that it trusts, None for those of the system, `server_name` the name that the
    gateway's certificate must have, and `client_cert_file` with `client_key_file` the certificate that it shows.
    """

    cert_file: str | None = None
    key_file: str | None = None
    client_ca_file: str | None = None
    secret: str | None = None
    ca_file: str | None = None
    server_name: str | None = None
    client_cert_file: str | None = None
    client_key_file: str | None = None

    def __post_init__(self) -> None:
        if self.cert_file is None and self.secret is None:
            raise ValueError("set cert_file with key_file, or secret")
        for cert, key in (("cert_file", "key_file"), ("client_cert_file", "client_key_file")):
            if (getattr(self, cert) is None) != (getattr(self, key) is None):
                raise ValueError(f"{cert} and {key} belong together: set both or none")
        if self.client_ca_file is not None and self.client_cert_file is None:
            raise ValueError(
                "with client_ca_file the deployer needs a certificate of its own: set client_cert_file and"
                " client_key_file"
            )


@dataclass(frozen=True, kw_only=True)
class AccessLog:
    """A JSON line for each request that failed, and for a share of the others."""

    sample: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """Records of requests that gateways keep in files, with the consent of whoever runs them: in a folder on this
    machine, and in a cluster in a PVC, or without one until the pod ends. `max_bytes` is for each model."""

    consent: bool = False
    folder: str = "samples"
    pvc: str | None = None
    share: float = 0.01
    max_bytes: int = 1 << 26
    mask: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class GatewayResources(Resources):
    """What one gateway gets; a key that is left out has a gateway's default, not a model server's."""

    cpu: str = "500m"
    memory: str = "256Mi"


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """The gateways in front of the replicas. `port` applies to a local release only; 0 takes 8080 or
    the next free port.

    With `grpc_port` they serve gRPC as well: locally at this port, 0 takes a free one; in a cluster it is that of the
    Service, 0 takes the chart's default.

    With `mount_store` the gateways of a cluster mount the PVC of the store, which is read-only: feature specs may
    name files in it.

    With `public_docs` the list of models, the schemas of records and the OpenAPI document are public too.

    `values` are further values of the chart, used in a cluster only: routes, a NetworkPolicy, monitors.
    """

    image: Image = field(default_factory=Image)
    replicas: int = 2
    port: int = 0
    grpc_port: int | None = None
    resources: GatewayResources = field(default_factory=GatewayResources)
    limits: Limits = field(default_factory=Limits)
    batching: GatewayBatching = field(default_factory=GatewayBatching)
    rates: Rates | None = None
    stores: Mapping[str, FeatureStore] = field(default_factory=dict)
    public_docs: bool = False
    auth: Auth | None = None
    cors: Cors | None = None
    access_log: AccessLog | None = None
    tls: Tls | None = None
    sampling: Sampling | None = None
    mount_store: bool = False
    backend_refresh_seconds: float = 2.0
    autoscaling: Autoscaling | None = None
    values: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        at_least(1, replicas=self.replicas)
        for name, port in (("port", self.port), ("grpc_port", self.grpc_port or 0)):
            if not 0 <= port < 65536:
                raise ValueError(f"{name} {port} is not between 0 and 65535")
