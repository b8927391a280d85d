"""The GPU pool: a tainted node that advertises a card receives the GPU replica, and only it.

No test machine needs a card. Where the scheduler is asked, the node is an object without a kubelet; where the replica
is to serve, the cluster's own node says that it has a card.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from eventually import eventually

from deployer.domain.serving import ModelState, ServingConfig
from deployer.release import spec
from deployer.release.doctor.doctor import doctor
from deployer.release.render import render_release
from deployer.rollout.overview import with_rollouts
from deployer.targets.cluster.helm_releases import TF_SERVING_CHART
from deployer.targets.cluster.names import MODEL_SERVER
from deployer.targets.cluster.objects import Pod
from deployer.targets.cluster.target import ClusterTarget

pytestmark = pytest.mark.alone

GPU = "nvidia.com/gpu"
STATE = ServingConfig(models={"digits": ModelState(versions=(1,), labels={"stable": 1}, weights={"stable": 100})})


@pytest.fixture
def gpu_node(cluster: Any) -> Iterator[str]:
    """A ready node with one card, tainted as GPU nodes are."""
    name = f"gpu-{os.getpid()}"
    has = {"cpu": "8", "memory": "32Gi", "pods": "20", GPU: "1"}
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    ready = {"type": "Ready", "status": "True", "reason": "Test", "lastHeartbeatTime": now, "lastTransitionTime": now}
    node = {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/arch": "amd64"}},
        "spec": {"taints": [{"key": GPU, "value": "present", "effect": "NoSchedule"}]},
        "status": {"capacity": has, "allocatable": has, "conditions": [ready]},
    }
    cluster.api.create("/api/v1/nodes", node)
    try:
        cluster.api.patch(f"/api/v1/nodes/{name}/status", {"status": node["status"]})
        yield name
    finally:
        cluster.api.delete(f"/api/v1/nodes/{name}")


def test_the_node_with_the_card_takes_the_gpu_replica_and_no_other(
    cluster: Any, gpu_node: str, new_namespace: Callable[[str], str], tmp_path: Path
) -> None:
    namespace = new_namespace("gpu")
    targets = {pool: ClusterTarget.open(pool, cluster.place(namespace)) for pool in ("gpu", "cpu")}
    where = {}
    try:
        for pool, target in targets.items():
            target.helm.apply(target.helm.change(TF_SERVING_CHART, values(pool, namespace, tmp_path)))
            where[pool] = placed(target)
    finally:
        # Without its node the GPU replica would be scheduled again, and take the card of the next test.
        for target in targets.values():
            target.helm.uninstall(timeout=60)

    assert where["gpu"].spec.node_name == gpu_node
    assert where["gpu"].spec.containers[0].resources.limits[GPU] == "1"
    assert where["cpu"].spec.node_name not in ("", gpu_node)


@pytest.fixture
def card(cluster: Any) -> Iterator[None]:
    """The cluster's own node advertises a card, as a device plug-in would have it do."""
    (node,) = [node["metadata"]["name"] for node in cluster.api.read("/api/v1/nodes", dict)["items"]]

    def advertise(cards: str | None) -> None:
        has = {GPU: cards}
        cluster.api.patch(f"/api/v1/nodes/{node}/status", {"status": {"capacity": has, "allocatable": has}})

    advertise("1")
    try:
        yield
    finally:
        advertise(None)


def test_a_gpu_replica_serves_beside_the_card_and_a_second_one_finds_none(
    cluster: Any,
    card: None,
    deployer: Any,
    new_namespace: Callable[[str], str],
    claim_of: Callable[..., str],
    describe: Callable[..., Path],
) -> None:
    namespace = new_namespace("card")
    file = describe(claim_of(namespace))
    document = yaml.safe_load(file.read_text())
    # The embedded server's image is the same for both pools.
    document["serving"] |= {"pool": "gpu", "values": {"gpu": {"imageTagSuffix": ""}}}
    file.write_text(yaml.safe_dump(document))

    deployed = deployer("deploy", "-f", file, "--version", "digits=1").result["deployed"]

    assert [(proof["label"], proof["version"], proof["refused"]) for proof in deployed["proofs"]] == [("stable", 1, "")]
    target = ClusterTarget.open("demo", cluster.place(namespace))
    (replica,) = target.pods(MODEL_SERVER)
    assert replica.spec.containers[0].resources.limits[GPU] == "1"
    target.scaling.to(2)

    def is_found() -> bool:
        findings = doctor(target, rollouts=with_rollouts).findings
        return any("no node has a free GPU" in finding.cause for finding in findings)

    eventually(is_found, target.explain)


def values(pool: str, namespace: str, directory: Path) -> Any:
    """What the deployer renders for a pool, but with models that are fetched: a claim would bind the pod to a node."""
    text = (
        f"release: {pool}\nnamespace: {namespace}\nstore: pvc://{namespace}/models\nmodels: [digits]\n"
        f"serving: {{pool: {pool}, replicas: 1, resources: {{cpu: 50m, memory: 512Mi}}}}\n"
    )
    rendered = render_release(spec.parse(text, directory), STATE, {}).files["tf-serving-values.yaml"]
    fetch = {"type": "fetch", "fetch": {"image": "registry.example.com/fetch:1", "command": ["fetch"]}}
    return {**yaml.safe_load(rendered), "storage": fetch, "persistence": {}}


def placed(target: ClusterTarget) -> Pod:
    """The one replica, once the scheduler has decided."""

    def scheduled() -> list[Pod]:
        return [pod for pod in target.pods(MODEL_SERVER) if pod.spec.node_name]

    (pod,) = eventually(scheduled, target.explain)
    return pod
