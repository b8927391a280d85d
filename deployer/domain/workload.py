"""What model servers and gateways have in common: image, resources, autoscaling."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from deployer.domain import quantity


def at_least(minimum: int, **values: int | None) -> None:
    """Raise ValueError for the first value below `minimum`."""
    for name, value in values.items():
        if value is not None and value < minimum:
            raise ValueError(f"{name} is {value}; it must be at least {minimum}")


@dataclass(frozen=True, kw_only=True)
class Image:
    """A container image; `digest` takes precedence over `tag`; an empty tag means the chart's default."""

    registry: str = ""
    repository: str = ""
    tag: str = ""
    digest: str = ""
    pull_policy: Literal["Always", "IfNotPresent", "Never"] = "IfNotPresent"

    def __post_init__(self) -> None:
        if self.digest and not re.fullmatch(r"sha256:[0-9a-f]{64}", self.digest):
            raise ValueError(f"digest {self.digest!r} is not sha256: and 64 hexadecimal digits")


@dataclass(frozen=True, kw_only=True)
class Resources:
    """Resources of one replica, as Kubernetes quantities. `memory` is both request and limit.

    With `cpu_limit`, `cpu` is also the limit; without it, only the request.
    """

    cpu: str = "1"
    memory: str = "2Gi"
    cpu_limit: bool = False

    def __post_init__(self) -> None:
        quantity.cpus(self.cpu)
        quantity.memory(self.memory)


@dataclass(frozen=True, kw_only=True)
class Autoscaling:
    """Bounds of a HorizontalPodAutoscaler, and its CPU target in percent of the request."""

    min_replicas: int = 2
    max_replicas: int = 10
    cpu_percent: int = 70

    def __post_init__(self) -> None:
        at_least(1, min_replicas=self.min_replicas, cpu_percent=self.cpu_percent)
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"max_replicas {self.max_replicas} is below min_replicas {self.min_replicas}")


@dataclass(frozen=True, kw_only=True)
class ServingAutoscaling(Autoscaling):
    """As `Autoscaling`, of model servers, which may also follow the requests at the gateways.

    `waiting_per_replica` is the number of requests in flight and waiting at the gateways that one replica should have;
    KEDA reads it from `prometheus`, the URL of a Prometheus that scrapes the gateways. Only with it, `min_replicas` may
    be 0.
    """

    waiting_per_replica: int | None = None
    prometheus: str = ""

    def __post_init__(self) -> None:
        at_least(1, waiting_per_replica=self.waiting_per_replica)
        if self.waiting_per_replica is None:
            if self.prometheus:
                raise ValueError("prometheus is only read for waiting_per_replica, which is missing")
            if self.min_replicas == 0:
                raise ValueError(
                    "min_replicas is 0, and CPU alone cannot start the first replica; add waiting_per_replica, which"
                    " scales by the requests at the gateways"
                )
            super().__post_init__()
            return
        if not self.prometheus.startswith(("http://", "https://")):
            raise ValueError(
                f"prometheus {self.prometheus!r} must be the http or https URL of the Prometheus that scrapes the"
                " gateways; KEDA asks it for waiting_per_replica"
            )
        at_least(0, min_replicas=self.min_replicas)
        at_least(1, cpu_percent=self.cpu_percent)
        if self.max_replicas < max(1, self.min_replicas):
            raise ValueError(f"max_replicas {self.max_replicas} is below {max(1, self.min_replicas)}")
