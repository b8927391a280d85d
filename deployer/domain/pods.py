"""What a cluster demands of every pod of a release, as deployer.yaml describes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from deployer.domain import quantity

DEFAULT_USER = 65532

_TOLERATION = frozenset(["key", "operator", "value", "effect", "tolerationSeconds"])
_EFFECTS = frozenset(["", "NoSchedule", "PreferNoSchedule", "NoExecute"])


@dataclass(frozen=True, kw_only=True)
class Pods:
    """Of the charts' pods, and of those that the deployer makes itself: to read a PVC, and to generate load.

    `tolerations` and `affinity` are as in Kubernetes. `service_account` exists already. `user` is user and group in
    every container, "assigned" for those that the namespace assigns (OpenShift). `cpu_limit` is for pods that have no
    resources in deployer.yaml, where a quota demands a limit; empty for none.
    """

    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Mapping[str, object], ...] = ()
    affinity: Mapping[str, object] = field(default_factory=dict)
    priority_class: str = ""
    runtime_class: str = ""
    scheduler: str = ""
    image_pull_secrets: tuple[str, ...] = ()
    service_account: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    user: int | Literal["assigned"] = DEFAULT_USER
    cpu_limit: str = ""

    def __post_init__(self) -> None:
        for index, toleration in enumerate(self.tolerations):
            if unknown := sorted(toleration.keys() - _TOLERATION):
                raise ValueError(f"tolerations[{index}] has {unknown[0]}; it may have {', '.join(sorted(_TOLERATION))}")
            if (effect := str(toleration.get("effect", ""))) not in _EFFECTS:
                raise ValueError(f"tolerations[{index}].effect {effect} is not {', '.join(sorted(_EFFECTS - {''}))}")
        if isinstance(self.user, int) and self.user < 1:
            raise ValueError(f"user is {self.user}; pods run as an ordinary user, 1 or more")
        if self.cpu_limit:
            quantity.cpus(self.cpu_limit)

    @property
    def placement(self) -> dict[str, object]:
        """The fields of a pod's spec that say where it may run; only those that are set."""
        fields: dict[str, object] = {
            "nodeSelector": dict(self.node_selector),
            "tolerations": [dict(toleration) for toleration in self.tolerations],
            "affinity": dict(self.affinity),
            "priorityClassName": self.priority_class,
            "runtimeClassName": self.runtime_class,
            "schedulerName": self.scheduler,
            "imagePullSecrets": [{"name": name} for name in self.image_pull_secrets],
        }
        return {name: value for name, value in fields.items() if value}
