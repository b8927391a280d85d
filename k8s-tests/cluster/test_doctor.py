"""Releases made sick on purpose, all at once, and what `deployer doctor` says of each.

Corrupt and missing versions, wrong images, claims and resources: the same sick releases from which the snapshots of
tests/deployer/test_doctor.py were recorded.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from eventually import eventually
from variants import altered, cut

from deployer.release.doctor.doctor import doctor
from deployer.release.doctor.finding import Diagnosis, Severity
from deployer.rollout.overview import with_rollouts
from deployer.targets.cluster.helm_releases import GATEWAY_CHART, TF_SERVING_CHART
from deployer.targets.cluster.names import GATEWAY
from deployer.targets.cluster.target import ClusterTarget

CORRUPT, ABSENT = 7, 9


def serves(*versions: int) -> Mapping[str, object]:
    return {"models": [{"name": "digits", "versions": list(versions), "labels": {"stable": versions[0]}}]}


SICK: dict[str, tuple[Mapping[str, object], str]] = {
    "image": ({"image": {"registry": "", "repository": "tfserving-deployer/modelserver", "tag": "nope"}}, "be pulled"),
    "unbound": ({"storage": {"type": "pvc"}, "persistence": {"storageClass": "absent"}}, "is not bound"),
    "noclaim": ({"persistence": {"existingClaim": "nothere"}}, "PVC nothere does not exist"),
    "missing": (serves(ABSENT), "versions of model digits are missing from the store"),
    "partly": (serves(1, ABSENT), f"version {ABSENT} of model digits is missing from the store"),
    "corrupt": (serves(1, CORRUPT), f"version {CORRUPT} of model digits cannot be loaded"),
    "oom": ({"resources": {"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"memory": "48Mi"}}}, "of memory"),
    "cpu": ({"resources": {"requests": {"cpu": "100", "memory": "64Mi"}}}, "no node has enough free CPU"),
    "gpu": ({"gpu": {"enabled": True, "imageTagSuffix": ""}}, "no node has a free GPU"),
    "label": ({}, "label stable of model digits points to a version that is not served"),
    "refused": ({}, "a gateway rejected its new configuration"),
    "metrics": (
        {
            "autoscaling": {
                "enabled": True,
                "targetCPUUtilizationPercentage": 0,
                "metrics": [
                    {
                        "type": "Pods",
                        "pods": {"metric": {"name": "none"}, "target": {"type": "AverageValue", "averageValue": "8"}},
                    }
                ],
            }
        },
        "the autoscaler has no metrics",
    ),
}
"""Values that make a release sick, and what is said of it."""


@pytest.fixture(scope="module")
def releases(
    cluster: Any, deployer: Any, digits: Any, new_namespace: Callable[[str], str], tmp_path_factory: Any
) -> dict[str, ClusterTarget]:
    """Every sick release, installed and left alone."""
    namespace = new_namespace("doctor")
    store = tmp_path_factory.mktemp("corrupt")
    altered(digits.store, store, CORRUPT, cut)
    where = ("--to", f"pvc://{namespace}/models", "--image", cluster.image("gateway"))
    published = deployer("publish", "digits", "--store", digits.store, "--version", "1", "--create", "1Gi", *where)
    assert published.code == 0, published.stderr
    assert deployer("publish", "digits", "--store", store, *where).code == 0
    place = cluster.place(namespace)
    targets = {name: ClusterTarget.open(name, place) for name in SICK}
    for name, target in targets.items():
        _install(target, cluster, SICK[name][0], gateways=1 if name == "refused" else 0)
    _edit(targets["label"], "models", "model.config", lambda text: text.replace("value: 1", f"value: {ABSENT}"))
    _await_gateway(targets["refused"])
    _edit(targets["refused"], "gateway", "gateway.yaml", lambda text: f"nonsense: 1\n{text}")
    targets["refused"].touch(GATEWAY)  # instead of a minute until its kubelet looks
    return targets


@pytest.mark.parametrize("name", SICK)
def test_the_cause_is_found(releases: dict[str, ClusterTarget], name: str) -> None:
    wanted = SICK[name][1]
    found: list[str] = []

    def is_found() -> bool:
        found[:] = causes(doctor(releases[name], rollouts=with_rollouts))
        return any(wanted in cause for cause in found)

    eventually(is_found, lambda: f"{wanted}, not {found}", seconds=120)


def causes(found: Diagnosis) -> list[str]:
    return [finding.cause for finding in found.findings if finding.severity is Severity.ERROR]


def _install(target: ClusterTarget, cluster: Any, sick: Mapping[str, object], *, gateways: int) -> None:
    repository, _, tag = cluster.image("modelserver").rpartition(":")
    serving: dict[str, object] = {
        "command": [],
        "image": {"registry": "", "repository": repository, "tag": tag},
        "replicaCount": 1,
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "1Gi"}},
        "storage": {"type": "existingClaim"},
        "persistence": {"existingClaim": "models"},
        **serves(1),
        **copy.deepcopy(dict(sick)),
    }
    routes = {"models": {"digits": {"labels": {"stable": 1}, "routing": {"weights": {"stable": 100}}}}}
    gateway: dict[str, object] = {
        "image": {"tag": tag},
        "replicaCount": gateways,
        "resources": {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "256Mi"}},
        "config": routes,
    }
    target.helm.apply(target.helm.change(TF_SERVING_CHART, serving))
    target.helm.apply(target.helm.change(GATEWAY_CHART, gateway))


def _await_gateway(target: ClusterTarget) -> None:
    """Only a gateway that has started keeps its configuration when it refuses the next one."""
    eventually(lambda: any(pod.ready for pod in target.pods(GATEWAY)), target.explain, seconds=90)


def _edit(target: ClusterTarget, what: str, key: str, change: Callable[[str], str]) -> None:
    """Change a ConfigMap as a person with kubectl would, past every check."""
    name = target.names.models if what == "models" else target.names.gateway_config
    text = target.model_config() if what == "models" else target.gateway_config()
    path = f"/api/v1/namespaces/{target.place.namespace}/configmaps/{name}"
    target.api.patch(path, {"data": {key: change(text)}})
