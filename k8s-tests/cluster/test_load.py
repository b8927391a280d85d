"""What load must not notice: a pod killed, replicas and gateways replaced, an autoscaler at work.

The load generator runs in the cluster as a Job; it reaches the gateways by their Service, as any client does.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from eventually import eventually
from under_load import Release, served_throughout

from deployer.targets.cluster.api import pod_path
from deployer.targets.cluster.helm_releases import GATEWAY_CHART, TF_SERVING_CHART
from deployer.targets.cluster.names import GATEWAY, MODEL_SERVER
from deployer.targets.cluster.target import ClusterTarget

pytestmark = pytest.mark.alone


@pytest.fixture(scope="module")
def release(
    cluster: Any,
    deployer: Any,
    digits: Any,
    new_namespace: Any,
    claim_of: Callable[..., str],
    describe: Callable[..., Path],
) -> Release:
    """`digits` on two replicas behind two gateways."""
    namespace = new_namespace("load")
    file = describe(claim_of(namespace), replicas=2, gateways=2, cpu="50m")
    done = deployer("deploy", "-f", file, "--version", "digits=1", "--storage-image", cluster.image("gateway"))
    assert done.result["changed"]
    target = ClusterTarget.open("demo", cluster.place(namespace))
    return Release(target=target, image=cluster.image("deployer"), records=digits.records)


def settled(target: ClusterTarget, component: str, *, without: set[str]) -> bool:
    """Whether every pod of a component is new and ready."""
    pods = target.pods(component)
    return len(pods) == 2 and all(pod.ready and pod.name not in without for pod in pods)


def test_network_policies_let_only_gateways_reach_the_replicas(release: Release) -> None:
    target = release.target
    for chart, found in ((TF_SERVING_CHART, target.helm.tf_serving()), (GATEWAY_CHART, target.helm.gateway())):
        assert found is not None
        target.helm.apply(target.helm.change(chart, {**found.values, "networkPolicy": {"enabled": True}}))

    path = f"/apis/networking.k8s.io/v1/namespaces/{target.place.namespace}/networkpolicies"
    policies = {policy["metadata"]["name"]: policy["spec"] for policy in target.api.read(path, dict)["items"]}

    assert set(policies) == {target.names.tf_serving, target.names.gateway}
    serving, gateway = policies[target.names.tf_serving], policies[target.names.gateway]
    (peer,) = serving["ingress"][0]["from"]
    labels = {pod.name: pod.metadata.labels for pod in (*target.pods(MODEL_SERVER), *target.pods(GATEWAY))}
    let_in = {name for name, own in labels.items() if peer["podSelector"]["matchLabels"].items() <= own.items()}
    assert let_in == {pod.name for pod in target.pods(GATEWAY)}
    let_out = gateway["egress"][0]["to"][0]["podSelector"]["matchLabels"].items()
    assert {n for n, own in labels.items() if let_out <= own.items()} == {p.name for p in target.pods(MODEL_SERVER)}


def test_a_killed_replica_costs_no_request(release: Release) -> None:
    target = release.target
    victim = target.pods(MODEL_SERVER)[0].name

    with release.load(20) as load:
        path = pod_path(target.place.namespace, victim)
        target.api.call("DELETE", path, query={"gracePeriodSeconds": "0"})
        eventually(lambda: settled(target, MODEL_SERVER, without={victim}), "two replicas again", seconds=120)

    served_throughout(load)


@pytest.mark.parametrize("component", [MODEL_SERVER, GATEWAY])
def test_a_rolling_restart_costs_no_request(release: Release, component: str) -> None:
    target = release.target
    before = {pod.name for pod in target.pods(component)}
    name = target.names.tf_serving if component == MODEL_SERVER else target.names.gateway

    with release.load(15) as load:
        stamp = {"spec": {"template": {"metadata": {"annotations": {"restarted": f"{time.time()}"}}}}}
        target.api.patch(f"/apis/apps/v1/namespaces/{target.place.namespace}/deployments/{name}", stamp)
        eventually(lambda: settled(target, component, without=before), "every pod replaced", seconds=150)

    served_throughout(load)


def test_load_scales_the_replicas_up_and_rest_scales_them_down(
    release: Release, record_property: Callable[[str, object], None]
) -> None:
    """From one replica to two or more and back. The request for CPU is so small that a little load is a lot."""
    target = release.target
    _autoscale(target)
    eventually(lambda: len(target.pods(MODEL_SERVER)) == 1, "one replica at rest", seconds=120)
    counts: list[tuple[float, int]] = []
    began = time.monotonic()

    def grown() -> bool:
        counts.append((time.monotonic() - began, sum(pod.ready for pod in target.pods(MODEL_SERVER))))
        return counts[-1][1] >= 2

    with release.load(20, clients=4) as load:
        eventually(grown, "a second ready replica", seconds=95)

    served_throughout(load)
    record_property("seconds_until_second_replica", counts[-1][0])
    eventually(lambda: len(target.pods(MODEL_SERVER)) == 1, "one replica again", seconds=180)


def _autoscale(target: ClusterTarget) -> None:
    """One to three replicas, as the chart's values say it, with short windows."""
    found = target.helm.tf_serving()
    assert found is not None
    down = {"stabilizationWindowSeconds": 15, "policies": [{"type": "Pods", "value": 2, "periodSeconds": 15}]}
    scaling: Mapping[str, object] = {
        "enabled": True,
        "minReplicas": 1,
        "maxReplicas": 3,
        "targetCPUUtilizationPercentage": 80,
        "behavior": {"scaleDown": down},
    }
    target.helm.apply(target.helm.change(TF_SERVING_CHART, {**found.values, "autoscaling": scaling}))
