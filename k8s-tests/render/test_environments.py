"""Clusters and parents that are not the one the charts were written on: each case was refused or wrong once."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

CHARTS = Path(__file__).resolve().parents[2] / "charts"
HELMS = [pytest.param(name, marks=pytest.mark.skipif(not shutil.which(name), reason=f"no {name} on PATH"))
         for name in ("helm", "helm3")]  # fmt: skip
VALUES: dict[str, dict[str, Any]] = {
    "tf-serving": {"models": [{"name": "digits", "versions": [1], "labels": {"stable": 1}}]},
    "gateway": {"config": {"models": {"digits": {"labels": {"stable": 1}, "routing": {"weights": {"stable": 100}}}}}},
}
Objects = list[dict[str, Any]]
both = pytest.mark.parametrize("chart", sorted(VALUES))


@pytest.fixture
def rendered(render: Callable[..., Objects], tmp_path: Path) -> Callable[..., Objects]:
    """`rendered(chart, more, *args, release="r")`: the chart with one model and `more` values."""

    def run(chart: str, more: dict[str, Any], *args: str, release: str = "r") -> Objects:
        values = tmp_path / "values.yaml"
        values.write_text(yaml.safe_dump({**VALUES[chart], **more}))
        # Another path for other values: what is rendered is kept by its arguments.
        kept = values.rename(tmp_path / f"{abs(hash(values.read_text()))}.yaml")
        return render(chart, "-f", str(kept), *args, release=release)

    return run


def one(objects: Objects, kind: str) -> dict[str, Any]:
    (found,) = [o for o in objects if o["kind"] == kind]
    return found


@pytest.mark.parametrize("helm", HELMS)
def test_a_parent_chart_switches_both_charts(helm: str, tmp_path: Path) -> None:
    names = sorted(VALUES)
    parent = {
        "apiVersion": "v2",
        "name": "ml",
        "version": "0.1.0",
        "dependencies": [{"name": name, "version": "0.1.0", "condition": f"{name}.enabled"} for name in names],
    }
    (tmp_path / "Chart.yaml").write_text(yaml.safe_dump(parent))
    for name in names:
        shutil.copytree(CHARTS / name, tmp_path / "charts" / name)

    def kinds(**enabled: bool) -> set[str]:
        values = {name: {**VALUES[name], "enabled": enabled[name.replace("-", "_")]} for name in names}
        (tmp_path / "values.yaml").write_text(yaml.safe_dump({"global": {"team": "ml"}, **values}))
        argv = [helm, "template", "r", str(tmp_path), "--kube-version", "1.30.0"]
        text = subprocess.run(argv, check=True, capture_output=True, text=True, timeout=60).stdout
        return {o["metadata"]["name"] for o in yaml.safe_load_all(text) if o and o["kind"] == "Deployment"}

    assert kinds(tf_serving=True, gateway=True) == {"r-tf-serving", "r-gateway"}
    assert kinds(tf_serving=True, gateway=False) == {"r-tf-serving"}
    assert kinds(tf_serving=False, gateway=True) == {"r-gateway"}


@both
def test_a_dashboard_has_a_uid_that_grafana_takes_and_of_its_own(chart: str, rendered: Callable[..., Objects]) -> None:
    def dashboard(namespace: str, release: str) -> tuple[str, dict[str, Any]]:
        objects = rendered(
            chart, {"dashboard": {"enabled": True}}, "--set", f"namespaceOverride={namespace}", release=release
        )
        (config_map,) = [o for o in objects if o["metadata"]["name"].endswith("-dashboard")]
        ((file, text),) = config_map["data"].items()
        return file, json.loads(text)

    names = [(namespace, release) for namespace in ("one", "two") for release in ("r", "a" * 53)]
    found = [dashboard(*name) for name in names]
    assert len({file for file, _ in found}) == len({content["uid"] for _, content in found}) == len(names)
    assert len({content["title"] for _, content in found}) == len(names)
    assert all(len(content["uid"]) <= 40 for _, content in found)
    assert dashboard(*names[0])[1]["uid"] == found[0][1]["uid"]


PLACEMENT: dict[str, Any] = {
    "tolerations": [{"key": "dedicated", "operator": "Equal", "value": "ml", "effect": "NoSchedule"}],
    "nodeSelector": {"pool": "ml"},
    "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {
        "nodeSelectorTerms": [{"matchExpressions": [{"key": "pool", "operator": "Exists"}]}]}}},
    "priorityClassName": "prod",
    "schedulerName": "bin-packing",
    "imagePullSecrets": [{"name": "regcred"}],
    "dnsConfig": {"options": [{"name": "ndots", "value": "1"}]},
    "hostAliases": [{"ip": "10.0.0.1", "hostnames": ["a"]}],
    "podSecurityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    "serviceAccount": {"create": False, "name": "restricted"},
}  # fmt: skip


@both
@pytest.mark.parametrize("more", [{}, PLACEMENT], ids=["default", "everything"])
def test_the_test_pod_runs_where_the_release_runs(
    chart: str, more: dict[str, Any], rendered: Callable[..., Objects]
) -> None:
    objects = rendered(chart, more)
    release, tester = one(objects, "Deployment")["spec"]["template"]["spec"], one(objects, "Pod")["spec"]
    keys = (*PLACEMENT, "serviceAccountName", "securityContext")
    assert {key: release.get(key) for key in keys} == {key: tester.get(key) for key in keys}
    assert tester["containers"][0]["securityContext"] == release["containers"][0]["securityContext"]


def test_on_gpu_nodes_only_the_test_pod_tolerates_their_taint_and_takes_no_card(
    rendered: Callable[..., Objects],
) -> None:
    tester = one(rendered("tf-serving", {"gpu": {"enabled": True}}), "Pod")["spec"]
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in tester["tolerations"]
    assert "nvidia.com/gpu" not in tester["containers"][0]["resources"]["limits"]


METRIC = [{"type": "External", "external": {"metric": {"name": "q"}, "target": {"type": "Value", "value": "8"}}}]
TRIGGER = {"enabled": True, "triggers": [{"type": "prometheus", "metadata": {"query": "sum(x)", "threshold": "8"}}]}
NO_CPU = {"requests": {"cpu": None, "memory": "2Gi"}, "limits": {"memory": "2Gi"}}


@both
@pytest.mark.parametrize(
    ("autoscaling", "resources", "allowed"),
    [
        ({"keda": TRIGGER}, NO_CPU, True),
        ({"targetCPUUtilizationPercentage": 0, "metrics": METRIC}, NO_CPU, True),
        ({}, {**NO_CPU, "limits": {"cpu": "2", "memory": "2Gi"}}, True),  # Kubernetes makes it the request
        ({"metrics": METRIC}, NO_CPU, False),
        ({}, NO_CPU, False),
    ],
    ids=["keda", "metric", "limit", "cpu-and-metric", "cpu"],
)
def test_only_scaling_by_cpu_needs_a_cpu_request(
    chart: str, autoscaling: dict[str, Any], resources: dict[str, Any], allowed: bool, rendered: Callable[..., Objects]
) -> None:
    more = {"autoscaling": {"enabled": True, **autoscaling}, "resources": resources}
    if allowed:
        assert rendered(chart, more)
        return
    with pytest.raises(subprocess.CalledProcessError) as refused:
        rendered(chart, more)
    assert "set autoscaling.targetCPUUtilizationPercentage to 0" in refused.value.stderr


def test_what_no_config_map_holds_is_refused(rendered: Callable[..., Objects]) -> None:
    config = {"models": {"digits": {"labels": {"stable": 1}, "specs": {"1": {"words": ["x" * 2**10] * 2**10}}}}}
    with pytest.raises(subprocess.CalledProcessError) as refused:
        rendered("gateway", {"config": config})
    assert "a ConfigMap holds 1048576: shorten the vocabularies" in refused.value.stderr
    models = [{"name": f"{'m' * 200}{n}", "versions": [1]} for n in range(2400)]
    with pytest.raises(subprocess.CalledProcessError) as refused:
        rendered("tf-serving", {"models": models})
    assert "split them over several releases" in refused.value.stderr


@both
@pytest.mark.parametrize("resources", [None, {"limits": None, "requests": None}, {"limits": None}], ids=str)
def test_a_namespace_that_sets_resources_itself(chart: str, resources: Any, rendered: Callable[..., Objects]) -> None:
    """A LimitRange has defaults for pods without resources: whoever wants those removes the chart's by null."""
    pod = one(rendered(chart, {"resources": resources}), "Deployment")["spec"]["template"]["spec"]
    assert "limits" not in pod["containers"][0]["resources"]


def test_keda_scales_model_servers_to_zero_behind_gateways_that_wait(rendered: Callable[..., Objects]) -> None:
    from gateway.settings import parse_settings

    scaled = {"autoscaling": {"enabled": True, "minReplicas": 0, "maxReplicas": 4, "keda": TRIGGER}}
    objects = rendered("tf-serving", scaled)
    assert one(objects, "ScaledObject")["spec"]["minReplicaCount"] == 0
    assert not [o for o in objects if o["kind"] == "PodDisruptionBudget"]
    for waits in (True, False):
        objects = rendered("gateway", {"modelServer": {"scaleToZero": waits}})
        (text,) = (
            o["data"]["gateway.yaml"] for o in objects if o["kind"] == "ConfigMap" and "gateway.yaml" in o["data"]
        )
        assert parse_settings(text).backends.scale_to_zero is waits


def test_hedging_is_off_until_the_chart_is_told(rendered: Callable[..., Objects]) -> None:
    from gateway.settings import Hedge, parse_settings

    on = {"after_ms": 20, "max_share": 0.1}
    for values, wanted in (({}, None), ({"modelServer": {"hedge": on}}, Hedge(after_ms=20, max_share=0.1))):
        objects = rendered("gateway", values)
        (text,) = (
            o["data"]["gateway.yaml"] for o in objects if o["kind"] == "ConfigMap" and "gateway.yaml" in o["data"]
        )
        assert parse_settings(text).backends.hedge == wanted


@both
def test_the_test_pod_does_not_go_through_the_proxy_of_the_cluster(chart: str) -> None:
    """Some clusters put HTTP_PROXY into every pod. The script asks a server of the real protocol on loopback."""
    models = {
        "/v1/models/m/metadata": {"metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs": {
            "x": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}, {"size": "2"}]}}}}}}}},
        "/v1/models/m:predict": {"outputs": [[1.0]]},
    }  # fmt: skip

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(models[self.path]).encode()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            asked.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    asked: list[Any] = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_address[1]}"
        argv = [sys.executable, "-I", str(CHARTS / chart / "files" / "predict.py"), base, "m"]
        proxy = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), "http://127.0.0.1:9")
        done = subprocess.run(argv, env=proxy, capture_output=True, text=True, timeout=60, check=False)
        server.shutdown()
    assert done.returncode == 0, done.stderr
    assert asked == [{"signature_name": "serving_default", "inputs": {"x": [[0, 0]]}}]
