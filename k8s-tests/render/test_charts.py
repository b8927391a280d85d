"""What a user of the charts relies on: derived values, exclusive choices, and refusals that name the remedy."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Render = Callable[..., list[dict[str, Any]]]
MODEL = ("--set", "models[0].name=digits,models[0].versions={1},models[0].labels.stable=1")
ROUTE = ("--set", "config.models.digits.labels.stable=1")


def one(objects: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = [o for o in objects if o["kind"] == kind]
    return found


def pod(objects: list[dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = one(objects, "Deployment")["spec"]["template"]["spec"]
    return spec


def flags(objects: list[dict[str, Any]]) -> dict[str, str]:
    return dict(a.removeprefix("--").split("=", 1) for a in pod(objects)["containers"][0]["args"])


@pytest.mark.parametrize(("cpu", "threads"), [("250m", 1), ("1", 1), ("1500m", 2), ("3.5", 4), ("8", 8)])
def test_thread_pools_follow_the_cpu_limit(render: Render, cpu: str, threads: int) -> None:
    found = flags(render("tf-serving", *MODEL, "--set-string", f"resources.limits.cpu={cpu}"))
    assert found["tensorflow_intra_op_parallelism"] == str(threads)
    assert found["tensorflow_inter_op_parallelism"] == str(threads)
    assert int(found["grpc_max_threads"]) >= max(64, 16 * threads), "a burst finds room on a fraction of a CPU, too"
    assert int(found["rest_api_num_threads"]) >= 2


def test_grpc_threads_hold_two_full_batches(render: Render) -> None:
    found = flags(render("tf-serving", *MODEL, "--set", "batching.enabled=true,batching.maxBatchSize=128"))
    assert int(found["grpc_max_threads"]) >= 256


def test_a_change_of_versions_restarts_nothing_and_a_change_of_batching_does(render: Render) -> None:
    def template(*args: str) -> Any:
        return one(render("tf-serving", *args), "Deployment")["spec"]["template"]

    moved = ("--set", "models[0].name=digits,models[0].versions={1,2},models[0].labels.stable=2")
    assert template(*MODEL) == template(*moved)
    assert template(*MODEL, "--set", "batching.enabled=true") != template(
        *MODEL, "--set", "batching.enabled=true,batching.maxBatchSize=64"
    )


def test_gpu_pool(render: Render) -> None:
    spec = pod(render("tf-serving", *MODEL, "--set", "gpu.enabled=true,gpu.nodeSelector.accelerator=nvidia"))
    container = spec["containers"][0]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
    assert container["image"].endswith("-gpu")
    assert spec["nodeSelector"]["accelerator"] == "nvidia"
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in spec["tolerations"]


def test_cpu_pool_asks_for_no_card(render: Render) -> None:
    spec = pod(render("tf-serving", *MODEL))
    assert "nvidia.com/gpu" not in spec["containers"][0]["resources"]["limits"]
    assert "tolerations" not in spec


def test_the_pvc_is_kept(render: Render) -> None:
    pvc = one(render("tf-serving", *MODEL), "PersistentVolumeClaim")
    assert pvc["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_gateway_follows_the_naming_of_its_neighbour(render: Render) -> None:
    objects = render("gateway", *ROUTE, release="demo-gateway")
    assert "dns: demo-tf-serving-headless:8500" in one(objects, "ConfigMap")["data"]["gateway.yaml"]
    services = render("tf-serving", *MODEL, release="demo-tf-serving")
    assert "demo-tf-serving-headless" in {o["metadata"]["name"] for o in services if o["kind"] == "Service"}


def test_model_servers_with_tls_are_probed_by_their_port_and_gateways_trust_their_secret(render: Render) -> None:
    from gateway.settings import parse_settings

    server = render("tf-serving", *MODEL, "--set", "sslConfigSecret=s")
    container = one(server, "Deployment")["spec"]["template"]["spec"]["containers"][0]
    assert "--ssl_config_file=/etc/tf-serving/tls/ssl.config" in container["args"]
    assert {next(iter(container[f"{kind}Probe"])) for kind in ("startup", "readiness", "liveness")} == {"tcpSocket"}
    objects = render("gateway", *ROUTE, "--set", "modelServer.tls.secret=s", release="demo-gateway")
    tls = parse_settings(one(objects, "ConfigMap")["data"]["gateway.yaml"]).backends.tls
    assert tls is not None
    assert (tls.ca_file, tls.cert_file) == ("/etc/model-server-tls/ca.crt", None)
    assert tls.server_name == "demo-tf-serving-headless"
    volumes = one(objects, "Deployment")["spec"]["template"]["spec"]["volumes"]
    assert {"name": "model-server-tls", "secret": {"secretName": "s", "defaultMode": 0o440}} in volumes


def test_the_gateway_reads_what_the_chart_renders(render: Render) -> None:
    from gateway.settings import parse_settings

    text = one(render("gateway", *ROUTE), "ConfigMap")["data"]["gateway.yaml"]
    assert parse_settings(text).models["digits"].labels == {"stable": 1}


def test_the_server_reads_what_the_chart_renders(render: Render) -> None:
    from tfserving.config import BatchingParameters, ModelServerConfig, MonitoringConfig

    batching = (
        "batching.enabled=true,batching.allowedBatchSizes={8,32},"
        "batching.enableLargeBatchSplitting=true,batching.maxExecutionBatchSize=16"
    )
    objects = render("tf-serving", *MODEL, "--set", batching)
    data = {k: v for o in objects if o["kind"] == "ConfigMap" for k, v in o["data"].items()}
    (model,) = ModelServerConfig.parse(data["model.config"]).models
    assert (model.name, model.base_path, dict(model.labels)) == ("digits", "/models/digits", {"stable": 1})
    parameters = BatchingParameters.parse(data["batching.config"])
    assert parameters.allowed_batch_sizes == (8, 32)
    assert (parameters.enable_large_batch_splitting, parameters.max_execution_batch_size) == (True, 16)
    assert MonitoringConfig.parse(data["monitoring.config"]).enable


@pytest.mark.parametrize(
    ("chart", "values", "words"),
    [
        ("tf-serving", "", "models is empty"),
        ("tf-serving", "models[0].name=a,models[0].versions={1},models[0].labels.stable=2", 'label "stable" of "a"'),
        ("tf-serving", "models[0].name=a,models[0].versions={0}", "minimum"),
        ("tf-serving", "m.name=a", "additional properties 'm' not allowed"),
        ("tf-serving", f"{MODEL[1]},storage.type=existingClaim", "set persistence.existingClaim"),
        ("tf-serving", f"{MODEL[1]},persistence.existingClaim=x", "set storage.type=existingClaim"),
        ("tf-serving", f"{MODEL[1]},storage.type=fetch", "set storage.fetch.image"),
        ("tf-serving", f"{MODEL[1]},terminationGracePeriodSeconds=10", "must exceed preStopSleepSeconds"),
        ("tf-serving", f"{MODEL[1]},serving.restTimeoutSeconds=60", "raise it above 70"),
        ("tf-serving", f"{MODEL[1]},monitoring.enabled=false,dashboard.enabled=true", "nothing to see"),
        (
            "tf-serving",
            f"{MODEL[1]},networkPolicy.enabled=true,storage.type=fetch,storage.fetch.image=a,storage.fetch.command={{b}}",
            "networkPolicy.extraEgress",
        ),
        (
            "tf-serving",
            f"{MODEL[1]},models[0].basePath=gs://bucket/digits,networkPolicy.enabled=true",
            "networkPolicy.extraEgress",
        ),
        ("gateway", f"{ROUTE[1]},config.limits.timeout_ms=60000", "raise it above 65"),
        ("gateway", f"{ROUTE[1]},config.limits.memory_bytes=200000000", "raise it to 334Mi"),
        ("tf-serving", f"{MODEL[1]},autoscaling.enabled=true,autoscaling.maxReplicas=1", "below autoscaling.min"),
        ("tf-serving", f"{MODEL[1]},autoscaling.enabled=true,autoscaling.minReplicas=0", "only KEDA scales to zero"),
        ("tf-serving", f"{MODEL[1]},batching.enabled=true,batching.allowedBatchSizes={{8}}", "must equal"),
        ("tf-serving", f"{MODEL[1]},batching.enableLargeBatchSplitting=true", "needs batching.maxExecutionBatchSize"),
        ("tf-serving", f"{MODEL[1]},batching.maxExecutionBatchSize=8", "set both or neither"),
        (
            "tf-serving",
            f"{MODEL[1]},batching.enableLargeBatchSplitting=true,batching.maxExecutionBatchSize=64",
            "more than batching.maxBatchSize (32)",
        ),
        ("tf-serving", f"{MODEL[1]},serviceMonitor.enabled=true,podMonitor.enabled=true", "keep one"),
        ("tf-serving", f"{MODEL[1]},serving.threads.rest=1", "use at least 2"),
        ("tf-serving", f"{MODEL[1]},serving.loadThreads=1", "minimum"),
        ("gateway", "", "config.models is empty"),
        ("gateway", f"{ROUTE[1]},config.backends.dns=x", "is set by the chart"),
        ("gateway", f"{ROUTE[1]},tlsSecret=s", "set config.tls.cert_file to /etc/gateway-tls/tls.crt"),
        ("gateway", f"{ROUTE[1]},clientCaSecret=s", "set config.tls.client_ca_file to /etc/gateway-client-ca/ca.crt"),
        ("gateway", f"{ROUTE[1]},config.tls.cert_file=/etc/gateway-tls/tls.crt", "file of tlsSecret, which is empty"),
        ("gateway", f"{ROUTE[1]},keysSecret=keys", "set config.auth.keys_file to /etc/gateway-keys/keys.yaml"),
        (
            "gateway",
            f"{ROUTE[1]},ingress.enabled=true,ingress.hosts={{a}},httpRoutes.a.parentRefs[0].name=b",
            "keep one",
        ),
        ("gateway", f"{ROUTE[1]},grpcRoutes.a.parentRefs[0].name=b", "grpcRoutes needs grpc.enabled=true"),
    ],
)
def test_contradictions_are_refused(refused: Callable[..., str], chart: str, values: str, words: str) -> None:
    said = refused(chart, *(("--set", values) if values else ()))
    assert words in said


def asked_for(objects: list[dict[str, Any]], pattern: str) -> set[str]:
    """The series that alert rules and dashboards ask for."""
    return set(
        re.findall(pattern, "".join(json.dumps(o) for o in objects if o["kind"] in {"PrometheusRule", "ConfigMap"}))
    )


OBSERVED = ("--set", "prometheusRule.enabled=true,dashboard.enabled=true")


def test_alerts_and_dashboards_of_the_gateway_name_metrics_that_exist(render: Render) -> None:
    from gateway.observe.metrics import Metrics

    source = Path(__file__).resolve().parents[2] / "gateway"
    known = set(re.findall(r'"(gateway_[a-z_]+)"', "".join(p.read_text() for p in source.rglob("*.py"))))
    assert known >= set(re.findall(r"# TYPE (\S+)", Metrics().render().decode()))
    named = {
        re.sub("_(bucket|sum|count)$", "", n)
        for n in asked_for(render("gateway", *ROUTE, *OBSERVED), r"gateway_[a-z_]+")
    }
    assert named
    assert named <= known


def test_alerts_about_drift_compare_a_version_with_its_own_training_data(
    render: Render,
) -> None:
    from gateway.drift.live import LABELS

    bounds = (
        "--set-json",
        'prometheusRule={"enabled": true, "driftPsi": 0.3, "driftShare": 0.07, "driftRecords": 2500}',
    )
    (rule,) = [o for o in render("gateway", *ROUTE, *bounds) if o["kind"] == "PrometheusRule"]
    texts = {one["alert"]: " ".join(one["expr"].split()) for one in rule["spec"]["groups"][0]["rules"]}
    drift = {"GatewayDrift": 0.3, "GatewayMissingValues": 0.07, "GatewayUnknownCategories": 0.07}
    for alert, bound in drift.items():
        text = texts[alert]
        assert f"> {bound} and on" in text
        assert text.endswith(">= 2500")
        assert '"version", "$1", "reference", "(.+)")' in text  # training of another version joins with nothing
        assert text.count("(") == text.count(")")
        for labels in re.findall(r"\b(?:by|on) \(([^)]*)\)", text):
            assert set(labels.split(", ")) <= set(LABELS)
    assert "ln(" in texts["GatewayDrift"]
    assert 'gateway_drift_records_total{bin="missing",' in texts["GatewayMissingValues"]
    assert 'gateway_drift_records_total{bin="unknown",' in texts["GatewayUnknownCategories"]


def test_alerts_and_dashboards_of_the_model_server_name_metrics_that_exist(render: Render) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs/reference/metrics.md").read_text()
    known = set()
    for name, kind in re.findall(r"\| `(:tensorflow:[a-z_:]+)` \| (\w+) \|", page):
        known |= {f"{name}_{part}" for part in ("bucket", "sum", "count")} if kind == "histogram" else {name}
    named = asked_for(render("tf-serving", *MODEL, *OBSERVED), r":tensorflow:[a-z_:]+")
    assert len(named) >= 4
    assert named <= known


def expressions(objects: list[dict[str, Any]], kind: str) -> list[str]:
    """What the alert rules (PrometheusRule) or the panels of the dashboard (ConfigMap) ask for."""
    if kind == "PrometheusRule":
        return [r["expr"] for g in one(objects, kind)["spec"]["groups"] for r in g["rules"]]
    texts = [t for o in objects if o["kind"] == kind for t in o["data"].values() if t.startswith("{")]
    return [t["expr"] for text in texts for panel in json.loads(text)["panels"] for t in panel["targets"]]


def test_overload_alerts_and_shows_on_the_dashboards(render: Render) -> None:
    gateway, servers = render("gateway", *ROUTE, *OBSERVED), render("tf-serving", *MODEL, *OBSERVED)
    for kind in ("PrometheusRule", "ConfigMap"):
        asked = "\n".join(expressions(gateway, kind))
        for metric in ("shed_total", "places", "request_memory_limit_bytes", "backend_ejections_total"):
            assert f"gateway_{metric}" in asked, f"{metric} in the {kind} of the gateway"
        assert any('status=~"RESOURCE_EXHAUSTED' in e for e in expressions(servers, kind)), kind
    assert any("gateway_cache_requests_total" in e for e in expressions(gateway, "ConfigMap"))


def test_alerts_and_dashboards_group_by_labels_that_the_metrics_have(render: Render) -> None:
    docs = Path(__file__).resolve().parents[2] / "docs/reference"
    pages = "".join((docs / name).read_text() for name in ("gateway.md", "metrics.md"))
    table = re.findall(r"\| `((?:gateway_|:tensorflow:)[a-z_:]+)` \| \w+ \|([^|]*)\|", pages)
    labels = {name: set(re.findall(r"`(\w+)`", cell)) | {"pod", "namespace", "le"} for name, cell in table}
    series = r"(?:gateway_|:tensorflow:)[a-z_:]+"
    for chart, values in (("gateway", ROUTE), ("tf-serving", MODEL)):
        objects = render(chart, *values, *OBSERVED)
        for asked in (*expressions(objects, "PrometheusRule"), *expressions(objects, "ConfigMap")):
            flat = " ".join(asked.split())
            for group, name in re.findall(rf"by \(([^)]*)\) \((?:\w+\()?({series})", flat):
                name = name if name in labels else re.sub("_(bucket|sum|count)$", "", name)
                assert set(re.split(r",\s*", group)) <= labels[name], asked
            for name, selectors in re.findall(rf"({series}){{([^}}]*)}}", flat):
                name = name if name in labels else re.sub("_(bucket|sum|count)$", "", name)
                assert set(re.findall(r"(\w+)(?:=|!=)", selectors)) <= labels[name], asked


def test_an_alert_for_saturation_follows_its_value(render: Render) -> None:
    objects = render("gateway", *ROUTE, *OBSERVED, "--set-json", "prometheusRule.saturation=0.75")
    asked = [e for e in expressions(objects, "PrometheusRule") if "gateway_places" in e]
    assert asked
    assert all(e.rstrip().endswith("> 0.75") for e in asked)


def test_a_dashboard_shows_one_namespace(render: Render) -> None:
    for chart, values in (("gateway", ROUTE), ("tf-serving", MODEL)):
        texts = [t for o in render(chart, *values, *OBSERVED) if o["kind"] == "ConfigMap" for t in o["data"].values()]
        (dashboard,) = [json.loads(t) for t in texts if t.startswith("{")]
        for target in (t for panel in dashboard["panels"] for t in panel["targets"]):
            assert 'namespace="spaces"' in target["expr"], target["expr"]


def test_the_test_pod_is_let_through_the_network_policy_and_gets_no_traffic(render: Render) -> None:
    more = ("--set", "networkPolicy.enabled=true,networkPolicy.from[0].podSelector.matchLabels.app=front")
    for chart, values in (
        ("gateway", (*ROUTE, *more)),
        ("tf-serving", (*MODEL, *more[:1], "networkPolicy.enabled=true")),
    ):
        objects = render(chart, *values)
        tester = one(objects, "Pod")["metadata"]["labels"]
        rules = one(objects, "NetworkPolicy")["spec"]["ingress"]
        allowed = [
            p["podSelector"]["matchLabels"] for rule in rules for p in rule.get("from", []) if "podSelector" in p
        ]
        assert any(tester.items() >= labels.items() for labels in allowed)
        for service in (o for o in objects if o["kind"] == "Service"):
            assert not tester.items() >= service["spec"]["selector"].items()


def test_an_environment_variable_of_the_user_replaces_the_default(render: Render) -> None:
    more = ("--set-string", "extraEnv[0].name=MALLOC_ARENA_MAX,extraEnv[0].value=4")
    assert pod(render("tf-serving", *MODEL, *more))["containers"][0]["env"] == [
        {"name": "MALLOC_ARENA_MAX", "value": "4"}
    ]


def test_the_test_pod_predicts_every_routed_label(render: Render) -> None:
    route = "config.models.digits.routing.weights.stable=95,config.models.digits.routing.weights.canary=5"
    objects = render("gateway", *ROUTE, "--set", f"{route},config.models.loan.signature=score")
    assert one(objects, "Pod")["spec"]["containers"][0]["args"][2:] == [
        "digits/labels/canary:serving_default",
        "digits/labels/stable:serving_default",
        "loan:score",
    ]
