"""Values for other networks and monitors: Services, Ingress, budgets, registries, and who lets whom in."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployer.targets.agents import pod as agent_pod

Objects = list[dict[str, Any]]
Rendered = Callable[..., Objects]
MODELS: dict[str, dict[str, Any]] = {
    "tf-serving": {"models": [{"name": "digits", "versions": [1], "labels": {"stable": 1}}]},
    "gateway": {"config": {"models": {"digits": {"labels": {"stable": 1}}}}},
}
both = pytest.mark.parametrize("chart", sorted(MODELS))


@pytest.fixture
def rendered(render_anew: Callable[..., str], tmp_path: Path) -> Rendered:
    """`rendered(chart, more, release="r")`: the chart with one model and `more` values. Errors: CalledProcessError."""

    def run(chart: str, more: dict[str, Any], release: str = "r") -> Objects:
        values = tmp_path / "values.yaml"
        values.write_text(yaml.safe_dump({**MODELS[chart], **more}))
        return [o for o in yaml.safe_load_all(render_anew(chart, "-f", str(values), release=release)) if o]

    return run


def of_kind(objects: Objects, kind: str) -> Objects:
    return [o for o in objects if o["kind"] == kind]


def service(objects: Objects) -> dict[str, Any]:
    (found,) = [o["spec"] for o in of_kind(objects, "Service") if o["spec"].get("clusterIP") != "None"]
    return dict(found)


@both
def test_every_service_has_the_families_of_addresses(chart: str, rendered: Rendered) -> None:
    families = {"ipFamilyPolicy": "PreferDualStack", "ipFamilies": ["IPv6", "IPv4"]}
    services = of_kind(rendered(chart, {"service": families}), "Service")
    assert len(services) == 2, "the one for callers, and the headless one"
    assert [{key: s["spec"][key] for key in families} for s in services] == [families, families]
    for s in of_kind(rendered(chart, {}), "Service"):
        assert not {"ipFamilyPolicy", "ipFamilies"} & set(s["spec"]), "the cluster decides"


@pytest.mark.parametrize(
    ("chart", "ports"),
    [
        ("gateway", {"nodePort": 30080, "grpcNodePort": 30090}),
        ("tf-serving", {"httpNodePort": 30080, "grpcNodePort": 30090}),
    ],
)
def test_a_load_balancer_and_the_ports_of_nodes(chart: str, ports: dict[str, int], rendered: Rendered) -> None:
    edge = {
        "type": "LoadBalancer",
        "loadBalancerClass": "example.com/internal",
        "loadBalancerSourceRanges": ["10.0.0.0/8", "fd00::/8"],
        "externalTrafficPolicy": "Local",
    }
    more = (
        {"service": {**edge, **ports}, "grpc": {"enabled": True}} if chart == "gateway" else {"service": edge | ports}
    )
    found = service(rendered(chart, more))
    assert {key: found[key] for key in edge} == edge
    assert {p["name"]: p["nodePort"] for p in found["ports"]} == {"http": 30080, "grpc": 30090}
    plain = service(rendered(chart, {}))
    assert not set(plain) & (set(edge) - {"type"})
    assert all("nodePort" not in port for port in plain["ports"])


@both
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"loadBalancerClass": "a"}, "need service.type=LoadBalancer; it is ClusterIP"),
        ({"loadBalancerSourceRanges": ["10.0.0.0/8"], "type": "NodePort"}, "need service.type=LoadBalancer"),
        ({"externalTrafficPolicy": "Local"}, "need service.type=NodePort or LoadBalancer"),
        ({"grpcNodePort": 30080}, "need service.type=NodePort or LoadBalancer"),
        ({"ipFamilies": ["IPv4", "IPv6"], "ipFamilyPolicy": "SingleStack"}, "remove one, or set PreferDualStack"),
        ({"ipFamilies": ["IPv4", "IPv4"]}, "ipFamilies"),
        ({"ipFamilyPolicy": "Dual"}, "ipFamilyPolicy"),
        ({"loadBalancerSourceRanges": ["10.0.0.1"], "type": "LoadBalancer"}, "loadBalancerSourceRanges"),
        ({"loadBalancerSourceRanges": ["a\nb: c"], "type": "LoadBalancer"}, "loadBalancerSourceRanges"),
        ({"loadBalancerClass": "a\nb: c", "type": "LoadBalancer"}, "loadBalancerClass"),
        ({"grpcNodePort": 70000, "type": "NodePort"}, "grpcNodePort"),
    ],
)
def test_what_no_service_can_be_is_refused(chart: str, values: dict[str, Any], words: str, rendered: Rendered) -> None:
    assert words in refusal(rendered, chart, {"service": values})


@pytest.mark.parametrize(
    ("chart", "more", "words"),
    [
        ("gateway", {"service": {"type": "NodePort", "grpcNodePort": 30080}}, "needs grpc.enabled=true"),
        ("tf-serving", {"service": {"type": "NodePort", "grpcNodePort": 1, "httpNodePort": 1}}, "the same port"),
        ("gateway", {"ingress": {"path": "models"}}, "path"),
        ("gateway", {"ingress": {"pathType": "Regex"}}, "pathType"),
    ],
)
def test_what_contradicts_itself_is_refused(chart: str, more: dict[str, Any], words: str, rendered: Rendered) -> None:
    assert words in refusal(rendered, chart, more)


def refusal(rendered: Rendered, chart: str, more: dict[str, Any]) -> str:
    with pytest.raises(subprocess.CalledProcessError) as refused:
        rendered(chart, more)
    return str(refused.value.stderr)


def test_the_path_of_an_ingress(rendered: Rendered) -> None:
    def paths(**more: str) -> list[tuple[str, str]]:
        objects = rendered("gateway", {"ingress": {"enabled": True, "hosts": ["a.example.com"], **more}})
        (rule,) = of_kind(objects, "Ingress")[0]["spec"]["rules"]
        return [(p["path"], p["pathType"]) for p in rule["http"]["paths"]]

    assert paths() == [("/v1", "Prefix"), ("/v2", "Prefix")]
    assert paths(path="/ml(/|$)(.*)", pathType="ImplementationSpecific") == [("/ml(/|$)(.*)", "ImplementationSpecific")]
    assert paths(path="/") == [("/", "Prefix")]


@both
@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {"maxUnavailable": 1}),
        ({"maxUnavailable": "25%"}, {"maxUnavailable": "25%"}),
        ({"maxUnavailable": 0}, {"maxUnavailable": 0}),
        ({"minAvailable": 1}, {"minAvailable": 1}),
        ({"minAvailable": "50%"}, {"minAvailable": "50%"}),
    ],
)
def test_a_budget_has_exactly_one_bound(
    chart: str, values: dict[str, Any], expected: dict[str, Any], rendered: Rendered
) -> None:
    (budget,) = of_kind(rendered(chart, {"podDisruptionBudget": values}), "PodDisruptionBudget")
    assert {k: v for k, v in budget["spec"].items() if k in {"minAvailable", "maxUnavailable"}} == expected


@both
@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"minAvailable": 1, "maxUnavailable": 1}, "both set"),
        ({"minAvailable": 2}, "no node of theirs could ever be drained"),
        ({"minAvailable": "half"}, "minAvailable"),
        ({"maxUnavailable": "120%"}, "maxUnavailable"),
        ({"maxUnavailable": -1}, "maxUnavailable"),
    ],
)
def test_a_budget_that_cannot_be_is_refused(chart: str, values: dict[str, Any], words: str, rendered: Rendered) -> None:
    assert words in refusal(rendered, chart, {"podDisruptionBudget": values})


@both
@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
def test_monitors_take_relabelings_and_a_timeout(chart: str, kind: str, rendered: Rendered) -> None:
    name = kind[0].lower() + kind[1:]
    added = {"sourceLabels": ["__meta_kubernetes_pod_node_name"], "targetLabel": "node"}
    dropped = {"sourceLabels": ["__name__"], "regex": "python_.*", "action": "drop"}
    more = {"enabled": True, "scrapeTimeout": "10s", "relabelings": [added], "metricRelabelings": [dropped]}

    def endpoint(values: dict[str, Any]) -> dict[str, Any]:
        spec = of_kind(rendered(chart, {name: values}), kind)[0]["spec"]
        return dict(spec["endpoints" if kind == "ServiceMonitor" else "podMetricsEndpoints"][0])

    plain, found = endpoint({"enabled": True}), endpoint(more)
    assert found["scrapeTimeout"] == "10s"
    assert found["metricRelabelings"] == [dropped]
    assert found["relabelings"] == [*plain.get("relabelings", []), added], "those of the chart stay"
    assert "scrapeTimeout" not in plain
    assert f"{name}.scrapeTimeout is longer" in refusal(rendered, chart, {name: {**more, "scrapeTimeout": "20s"}})
    assert "scrapeTimeout" in refusal(rendered, chart, {name: {**more, "scrapeTimeout": "soon"}})


@both
def test_a_parent_chart_names_the_registry_of_every_image(chart: str, rendered: Rendered) -> None:
    shared = {"imageRegistry": "mirror.example.com:5000/ml", "imagePullSecrets": [{"name": "mirror"}], "team": "ml"}
    more = {
        "global": shared,
        "imagePullSecrets": [{"name": "own"}, {"name": "mirror"}],
        "helmTest": {"image": "docker.io/library/python:3.11"},
    }
    if chart == "tf-serving":
        more["ownModelConfig"] = {"enabled": True, "image": "busybox"}
        more["storage"] = {"type": "fetch", "fetch": {"image": "registry.example.com/fetch:1", "command": ["a"]}}
    objects = rendered(chart, more)
    specs = [of_kind(objects, "Deployment")[0]["spec"]["template"]["spec"], of_kind(objects, "Pod")[0]["spec"]]
    images = {c["image"] for s in specs for c in [*s.get("initContainers", []), *s["containers"]]}
    assert all(image.startswith("mirror.example.com:5000/ml/") for image in images), images
    assert all(image.count("example.com") == 1 and "docker.io" not in image for image in images)
    assert "mirror.example.com:5000/ml/library/python:3.11" in images
    assert all(s["imagePullSecrets"] == [{"name": "own"}, {"name": "mirror"}] for s in specs)


def peers(objects: Objects, direction: str, key: str) -> list[dict[str, Any]]:
    """Selectors of pods in the rules of the policy."""
    (policy,) = of_kind(objects, "NetworkPolicy")
    return [p["podSelector"] for rule in policy["spec"][direction] for p in rule.get(key, []) if "podSelector" in p]


def selects(selector: dict[str, Any], labels: dict[str, str]) -> bool:
    """Whether a label selector of Kubernetes selects these labels."""
    assert all(e["operator"] == "In" for e in selector.get("matchExpressions", []))
    return labels.items() >= selector.get("matchLabels", {}).items() and all(
        labels.get(e["key"]) in e["values"] for e in selector.get("matchExpressions", [])
    )


def pod_labels(objects: Objects) -> dict[str, str]:
    return dict(of_kind(objects, "Deployment")[0]["spec"]["template"]["metadata"]["labels"])


ON = {"networkPolicy": {"enabled": True}}


@pytest.mark.parametrize(
    ("serving", "gateway", "related"),
    [
        ("demo-tf-serving", "demo-gateway", True),  # as the deployer names them
        ("demo", "demo-gateway", True),
        ("r", "r", True),  # one parent chart
        ("demo-tf-serving", "other-gateway", False),
        ("demo", "demo2", False),
    ],
)
def test_policies_are_narrow_to_the_release(serving: str, gateway: str, related: bool, rendered: Rendered) -> None:
    servers, gateways = rendered("tf-serving", ON, release=serving), rendered("gateway", ON, release=gateway)
    let_in = any(selects(s, pod_labels(gateways)) for s in peers(servers, "ingress", "from"))
    let_out = any(selects(s, pod_labels(servers)) for s in peers(gateways, "egress", "to"))
    assert (let_in, let_out) == (related, related)


def test_the_load_generator_of_the_release_is_let_in(rendered: Rendered) -> None:
    own = agent_pod.labels("load-generator", instance="demo")
    other = agent_pod.labels("load-generator", instance="demo2")
    front = {"networkPolicy": {"enabled": True, "from": [{"podSelector": {"matchLabels": {"app": "front"}}}]}}
    for chart, values in (("gateway", front), ("tf-serving", ON)):
        let_in = peers(rendered(chart, values, release=f"demo-{chart}"), "ingress", "from")
        assert any(selects(s, own) for s in let_in)
        assert not any(selects(s, other) for s in let_in)


def test_labels_of_the_user_replace_those_of_the_chart(rendered: Rendered) -> None:
    own = {"app": "edge"}
    servers = rendered("tf-serving", {"networkPolicy": {"enabled": True, "gatewayPodLabels": own}})
    gateways = rendered("gateway", {"networkPolicy": {"enabled": True, "modelServerPodLabels": own}})
    assert {"matchLabels": own} in peers(servers, "ingress", "from")
    assert {"matchLabels": own} in peers(gateways, "egress", "to")
    assert not any(selects(s, pod_labels(gateways)) for s in peers(servers, "ingress", "from"))
