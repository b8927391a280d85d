"""Scaling and GPU memory as deployer.yaml describes them, as the charts make them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployer.domain.serving import ModelState, ServingConfig
from deployer.errors import SpecError
from deployer.release import spec
from deployer.release.render import render_release

STATE = ServingConfig(models={"loan": ModelState(versions=(1,), labels={"stable": 1}, weights={"stable": 100})})
WAITING = "waiting_per_replica: 8, prometheus: 'http://prometheus.monitoring:9090'"

Objects = list[dict[str, Any]]


@pytest.fixture
def objects(tmp_path: Path, render: Callable[..., Objects]) -> Callable[[str], dict[tuple[str, str], dict[str, Any]]]:
    """What both charts make of a release, by kind and name."""

    def run(more: str) -> dict[tuple[str, str], dict[str, Any]]:
        release = spec.parse("release: demo\nnamespace: ml\nstore: pvc://ml/models\nmodels: [loan]\n" + more, tmp_path)
        files = render_release(release, STATE, {"loan": {}}).files
        found: Objects = []
        for chart in ("tf-serving", "gateway"):
            values = tmp_path / f"{chart}-{abs(hash(more))}.yaml"  # `render` remembers by path
            values.write_text(files[f"{chart}-values.yaml"])
            found += render(chart, "-f", str(values), release=f"demo-{chart}")
        return {(one["kind"], one["metadata"]["name"]): one for one in found}

    return run


def test_waiting_requests_scale_by_keda_and_cpu_still_counts(objects: Callable[[str], Any]) -> None:
    made = objects(f"autoscaling: {{min_replicas: 2, max_replicas: 6, cpu_percent: 60, {WAITING}}}\n")
    scaled = made["ScaledObject", "demo-tf-serving"]["spec"]
    assert (scaled["minReplicaCount"], scaled["maxReplicaCount"]) == (2, 6)
    waiting, cpu = scaled["triggers"]
    assert waiting["type"] == "prometheus"
    assert waiting["metadata"]["serverAddress"] == "http://prometheus.monitoring:9090"
    assert waiting["metadata"]["threshold"] == "8"
    pods = '{namespace="ml",pod=~"demo-gateway-.*"}'
    assert waiting["metadata"]["query"] == f"sum(gateway_in_flight{pods} + gateway_waiting{pods})"
    assert cpu == {
        "type": "cpu",
        "metricType": "Utilization",
        "metadata": {"value": "60", "containerName": "model-server"},
    }
    containers = made["Deployment", "demo-tf-serving"]["spec"]["template"]["spec"]["containers"]
    assert "model-server" in [one["name"] for one in containers]
    assert not [kind for kind, _ in made if kind == "HorizontalPodAutoscaler"]
    config = yaml.safe_load(made["ConfigMap", "demo-gateway-config"]["data"]["gateway.yaml"])
    assert "scale_to_zero" not in config["backends"]


def test_from_zero_the_gateways_wait_for_the_first_model_server(objects: Callable[[str], Any]) -> None:
    made = objects(f"autoscaling: {{min_replicas: 0, {WAITING}}}\n")
    assert made["ScaledObject", "demo-tf-serving"]["spec"]["minReplicaCount"] == 0
    config = yaml.safe_load(made["ConfigMap", "demo-gateway-config"]["data"]["gateway.yaml"])
    assert config["backends"]["scale_to_zero"] is True


def test_by_cpu_alone_it_is_an_ordinary_autoscaler(objects: Callable[[str], Any]) -> None:
    made = objects("autoscaling: {max_replicas: 4}\ngateway: {autoscaling: {max_replicas: 3}}\n")
    assert {name for kind, name in made if kind == "HorizontalPodAutoscaler"} == {"demo-tf-serving", "demo-gateway"}
    assert not [kind for kind, _ in made if kind == "ScaledObject"]


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("autoscaling: {min_replicas: 0}", "min_replicas is 0, and CPU alone cannot start the first replica"),
        ("autoscaling: {waiting_per_replica: 8}", "prometheus '' must be the http or https URL"),
        ("autoscaling: {prometheus: 'http://p:9090'}", "prometheus is only read for waiting_per_replica"),
        (f"autoscaling: {{min_replicas: 5, max_replicas: 2, {WAITING}}}", "max_replicas 2 is below 5"),
        (f"autoscaling: {{min_replicas: 0, max_replicas: 0, {WAITING}}}", "max_replicas 0 is below 1"),
        ("autoscaling: {waiting_per_replica: 0, prometheus: 'http://p'}", "waiting_per_replica is 0"),
        (f"gateway: {{autoscaling: {{{WAITING}}}}}", "unknown key 'waiting_per_replica'"),
        ("gateway: {autoscaling: {min_replicas: 0}}", "min_replicas is 0; it must be at least 1"),
        ("serving: {pool: gpu, gpu_memory_share: 1.5}", "gpu_memory_share is 1.5; it must be above 0 and at most 1"),
        ("serving: {pool: gpu, gpu_memory_share: 0}", "gpu_memory_share is 0; it must be above 0 and at most 1"),
    ],
)
def test_what_could_never_scale_is_refused(tmp_path: Path, section: str, words: str) -> None:
    with pytest.raises(SpecError) as refused:
        spec.parse(f"release: demo\nnamespace: ml\nstore: pvc://ml/models\nmodels: [loan]\n{section}\n", tmp_path)
    assert words in str(refused.value)


def test_a_share_of_gpu_memory_is_a_flag_of_the_server(objects: Callable[[str], Any], tmp_path: Path) -> None:
    flag = "--per_process_gpu_memory_fraction=0.4"
    for section, expected in (
        ("serving: {pool: gpu, gpu_memory_share: 0.4}\n", True),
        ("serving: {pool: gpu}\n", False),
        ("serving: {gpu_memory_share: 0.4}\n", False),
    ):
        (container,) = [
            one
            for one in objects(section)["Deployment", "demo-tf-serving"]["spec"]["template"]["spec"]["containers"]
            if one["name"] == "model-server"
        ]
        text = " ".join([*container.get("command", []), *container.get("args", [])])
        assert (flag in text) is expected
