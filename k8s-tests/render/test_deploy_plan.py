"""What `deployer deploy` finds to do with a release that rollouts have moved."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from fake_cluster import NAMESPACE, FakeCluster

from deployer.domain.release import Release
from deployer.domain.serving import ModelState, ServingConfig
from deployer.errors import TargetError
from deployer.release import spec
from deployer.release.deploy import installed
from deployer.release.deploy.deploy import DeployRequest, Plan, execute, plan_of
from deployer.release.render.values import values_gateway, values_tf_serving
from deployer.release.where import Where
from deployer.rollout import files
from deployer.targets.cluster.helm_releases import GATEWAY_CHART, TF_SERVING_CHART
from gateway.settings import parse_settings

FEATURES = """
features: [{name: x, type: category, vocabulary: [red, green], encoding: index, unknown: red}]
input: {name: x, dtype: float32, shape: [-1, 1]}
output: {name: y, kind: raw}
"""
ONE = ModelState(versions=(1,), labels={"stable": 1}, weights={"stable": 100})
TWO = ModelState(versions=(2,), labels={"stable": 2}, weights={"stable": 100})
BOTH = ModelState(versions=(1, 2), labels={"stable": 1, "canary": 2}, weights={"stable": 95, "canary": 5})


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
        (TF_SERVING_CHART, values_tf_serving(release, state)),
        (GATEWAY_CHART, values_gateway(release, state, {"m": {1: FEATURES}})),
    ):
        cluster.target.helm.apply(cluster.target.helm.change(chart, yaml.safe_load(text)))
    cluster.follow()
    return cluster


def planned(release: Release, cluster: FakeCluster) -> Plan:
    request = DeployRequest(where=Where(file=Path("deployer.yaml")))
    return plan_of(release, cluster.target, request, lambda _: None)


def move(cluster: FakeCluster, state: ModelState, specs: dict[int, str]) -> None:
    """As a rollout leaves a release at its end."""
    put_replicas(cluster, state)
    write_gateways(cluster, state, specs)
    cluster.target.record()
    cluster.follow()


def put_replicas(cluster: FakeCluster, state: ModelState) -> None:
    config = files.current_config(cluster.target)
    files.put_replicas(cluster.target, "m", state, config=config, before_write=lambda: None)


def write_gateways(cluster: FakeCluster, state: ModelState, specs: dict[int, str]) -> None:
    files.put_gateways(
        cluster.target,
        "m",
        labels=state.labels,
        weights=state.weights,
        specs=specs,
        kept_specs=tuple(specs),
        helpers={},
        config=files.current_config(cluster.target),
        before_write=lambda: None,
    )


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


BROKEN = {"gateway-config": "models: [", "tf-serving-models": "model_config_list { config {"}


@pytest.mark.parametrize("name", BROKEN)
def test_a_text_that_somebody_made_unusable_gets_back_what_helm_wrote_last(
    release: Release, cluster: FakeCluster, name: str
) -> None:
    move(cluster, TWO, {1: FEATURES, 2: FEATURES})
    good = cluster.target.model_config(), cluster.target.gateway_config()
    cluster.edit(name, BROKEN[name])

    found = planned(release, cluster)

    assert found.changes == ()
    assert f"restoring the text that Helm wrote last in ConfigMap demo-{name}: " in found.repairs[0]
    assert f"--- demo-{name} (live)\n+++ demo-{name} (new)\n" in found.diff
    assert f"\n-{BROKEN[name]}\n" in found.diff
    assert found.state.models["m"] == TWO
    done = execute(found, wait=False, timeout=10, progress=lambda _: None)
    assert (done.changed, done.revisions) == (True, {})
    assert (cluster.target.model_config(), cluster.target.gateway_config()) == good
    assert planned(release, cluster).repairs == ()


def test_both_texts_are_put_back_where_one_of_helms_contradicts_what_a_rollout_has_made(
    release: Release, cluster: FakeCluster
) -> None:
    put_replicas(cluster, BOTH)
    write_gateways(cluster, BOTH, {})
    cluster.edit("tf-serving-models", BROKEN["tf-serving-models"])

    found = planned(release, cluster)

    assert found.state.models["m"] == ONE
    assert [one.name for one in found.restored] == ["demo-tf-serving-models", "demo-gateway-config"]
    assert "it contradicts the other configuration text" in found.repairs[1]


def test_a_text_that_nobody_can_put_right_is_an_error_that_says_what_is_wrong(
    release: Release, cluster: FakeCluster
) -> None:
    for kept in cluster.directory.glob("demo-*.json"):
        kept.write_text(kept.read_text().replace("versions: 1", "versions: x"))
    cluster.edit("gateway-config", BROKEN["gateway-config"])
    cluster.edit("tf-serving-models", BROKEN["tf-serving-models"])

    with pytest.raises(TargetError, match="and so is the one that Helm wrote last") as failed:
        planned(release, cluster)

    assert "demo-tf-serving-models: " in failed.value.cause
    assert "demo-gateway-config: not valid YAML" in failed.value.cause


PLAIN_HELM = {
    "integers": {"requests": {"cpu": 2, "memory": "2Gi"}, "limits": {"cpu": 2, "memory": 2147483648}},
    "no limits": {"requests": {"cpu": "1"}, "limits": None},
    "nothing": None,
    "requests alone": {"requests": {"cpu": "1", "memory": "1Gi"}},
    "claims": {"requests": {"cpu": 0.5}, "claims": [{"name": "gpu"}]},
}
"""Resources as people write them in the values of a chart."""


@pytest.mark.parametrize("name", PLAIN_HELM)
def test_a_release_that_plain_helm_has_installed_is_taken_over(
    tmp_path: Path, helm_program: str, release: Release, name: str
) -> None:
    state, cluster = ServingConfig(models={"m": ONE}), FakeCluster(tmp_path, helm_program)
    resources = PLAIN_HELM[name]
    for chart, text in (
        (TF_SERVING_CHART, values_tf_serving(release, state)),
        (GATEWAY_CHART, values_gateway(release, state, {"m": {1: FEATURES}})),
    ):
        values = {**yaml.safe_load(text), "resources": resources}
        cluster.target.helm.apply(cluster.target.helm.change(chart, values))
    cluster.follow()

    found = installed.live_release(cluster.target)

    assert found.states == {"m": ONE}
    assert found.complete("m")
    assert found.bounds == installed.Bounds(memory="2147483648" if name == "integers" else "", rows=None)


LIVE = "models_source: live\n"


@pytest.fixture
def live_release(tmp_path: Path) -> Release:
    text = f"release: demo\nnamespace: {NAMESPACE}\nstore: pvc://{NAMESPACE}/models\nmodels: [m]\n{LIVE}"
    return spec.parse(text, tmp_path)


def test_a_release_becomes_live_and_helm_again_with_its_state(
    release: Release, live_release: Release, cluster: FakeCluster
) -> None:
    move(cluster, TWO, {1: FEATURES, 2: FEATURES})
    models = parse_settings(cluster.target.gateway_config()).models
    first = planned(live_release, cluster)
    cluster.adopt_live()

    execute(first, wait=False, timeout=10, progress=lambda _: None)

    assert cluster.target.texts.live() is not None
    assert parse_settings(cluster.target.gateway_config()).models == models
    again = planned(live_release, cluster)
    assert (again.state.models["m"], again.changes, again.own) == (TWO, (), ())

    back = planned(release, cluster)
    assert back.state.models["m"] == TWO
    assert {change.name for change in back.changes} == {"demo-tf-serving", "demo-gateway"}


def test_a_rollout_of_a_live_release_writes_nothing_into_helm(live_release: Release, cluster: FakeCluster) -> None:
    first = planned(live_release, cluster)
    cluster.adopt_live()
    execute(first, wait=False, timeout=10, progress=lambda _: None)
    before = {path.name: path.read_bytes() for path in cluster.directory.glob("demo-*.json")}

    put_replicas(cluster, TWO)
    write_gateways(cluster, TWO, {2: FEATURES})
    cluster.target.record()

    assert {path.name: path.read_bytes() for path in cluster.directory.glob("demo-*.json")} == before
    assert planned(live_release, cluster).state.models["m"] == TWO
