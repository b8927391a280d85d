"""What `deployer deploy` finds to do with a release that rollouts have moved."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from fake_cluster import NAMESPACE, FakeCluster

from deployer import spec
from deployer.domain.release import Release
from deployer.domain.serving import ModelState, ServingConfig
from deployer.render.values import values_gateway, values_tf_serving
from deployer.targets.cluster_helm import GATEWAY, TF_SERVING
from deployer.usecases import rollout_files
from deployer.usecases.deploy import DeployRequest, Plan, plan_of
from deployer.usecases.targets import Where

FEATURES = """
features: [{name: x, type: category, vocabulary: [red, green], encoding: index, unknown: red}]
input: {name: x, dtype: float32, shape: [-1, 1]}
output: {name: y, kind: raw}
"""
ONE = ModelState(versions=(1,), labels={"stable": 1}, weights={"stable": 100})


@pytest.fixture
def release(tmp_path: Path) -> Release:
    text = f"release: demo\nnamespace: {NAMESPACE}\nstore: pvc://{NAMESPACE}/models\nmodels: [m]\n"
    return spec.parse(text, tmp_path)


@pytest.fixture
def cluster(tmp_path: Path, helm_program: str, release: Release) -> FakeCluster:
    """Version 1 is stable."""
    cluster = FakeCluster(tmp_path, helm_program)
    state = ServingConfig(models={"m": ONE})
    for chart, text in (
        (TF_SERVING, values_tf_serving(release, state)),
        (GATEWAY, values_gateway(release, state, {"m": {1: FEATURES}})),
    ):
        cluster.target.helm.apply(cluster.target.helm.change(chart, yaml.safe_load(text)))
    cluster.follow()
    return cluster


def planned(release: Release, cluster: FakeCluster) -> Plan:
    request = DeployRequest(where=Where(file=Path("deployer.yaml")))
    return plan_of(release, cluster.target, request, lambda _: None)


def move(cluster: FakeCluster, state: ModelState, specs: dict[int, str]) -> None:
    """As a rollout leaves a release at its end."""
    rollout_files.put_replicas(cluster.target, "m", state, sure=lambda: None)
    rollout_files.put_gateways(
        cluster.target,
        "m",
        labels=state.labels,
        weights=state.weights,
        specs=specs,
        remembered=specs,
        helpers={},
        sure=lambda: None,
    )
    cluster.target.record()
    cluster.follow()


def test_nothing_changes_after_a_first_deployment(release: Release, cluster: FakeCluster) -> None:
    found = planned(release, cluster)

    assert (found.changes, found.diff, found.repairs) == ((), "", ())


@pytest.mark.parametrize(
    ("stable", "specs"),
    [(2, {1: FEATURES, 2: FEATURES}), (1, {1: FEATURES, 2: FEATURES}), (1, {1: FEATURES})],
    ids=["promotion", "rollback", "abort"],
)
def test_nothing_changes_after_a_rollout(
    release: Release, cluster: FakeCluster, stable: int, specs: dict[int, str]
) -> None:
    move(cluster, ModelState(versions=(stable,), labels={"stable": stable}, weights={"stable": 100}), specs)

    found = planned(release, cluster)

    assert (found.changes, found.diff, found.repairs) == ((), "", ())
    assert found.state.models["m"].labels == {"stable": stable}
