"""What holds for every object of every values file: the starred points of the chart design, one test each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
CHARTS = sorted(p.parent for p in (ROOT / "charts").glob("*/Chart.yaml"))
TEMPLATES = sorted(p for c in CHARTS for p in (c / "templates").rglob("*.*") if p.suffix in {".yaml", ".tpl"})
KUBERNETES = ("1.30", "1.34")
OWN_KINDS = re.compile(r"^(v1|apps/v1|autoscaling/|policy/|networking\.k8s\.io/)")
STANDARD_LABELS = {"name", "instance", "version", "component", "part-of", "managed-by"}

Objects = list[dict[str, Any]]
by_file = pytest.mark.parametrize("path", TEMPLATES, ids=lambda p: f"{p.parents[1].name}/{p.name}")
by_chart = pytest.mark.parametrize("chart", CHARTS, ids=lambda p: p.name)


def pod_specs(objects: Objects) -> list[dict[str, Any]]:
    specs = [o["spec"]["template"]["spec"] for o in objects if o["kind"] == "Deployment"]
    return specs + [o["spec"] for o in objects if o["kind"] == "Pod"]


def containers(spec: dict[str, Any]) -> list[dict[str, Any]]:
    return [*spec.get("initContainers", []), *spec["containers"]]


@by_file
def test_one_template_is_one_kind_and_short(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= (150 if path.suffix == ".tpl" else 120)
    if path.suffix == ".yaml" and path.name != "extraobjects.yaml":
        assert len(re.findall(r"^kind:", text, re.MULTILINE)) == 1
    assert "\t" not in text


@by_chart
def test_named_templates_carry_the_charts_name(chart: Path) -> None:
    names = re.findall(r'define "([^"]+)"', "".join(p.read_text() for p in (chart / "templates").glob("*.tpl")))
    assert names
    assert [n for n in names if not n.startswith(f"{chart.name}.")] == []


@by_chart
def test_the_release_namespace_is_read_in_one_place(chart: Path) -> None:
    text = "".join(p.read_text() for p in (chart / "templates").rglob("*") if p.is_file())
    assert text.count(".Release.Namespace") == 1


PARENTS = ("global", "enabled")
"""Values that a parent chart sets: what it shares, and the condition on which it has this chart at all."""


@by_chart
def test_every_value_is_used_and_every_used_value_exists(chart: Path) -> None:
    text = "".join(p.read_text() for p in (chart / "templates").rglob("*") if p.is_file())
    # `$v` and `with .Values.batching` shorten paths; write them out before reading them.
    text = text.replace("$v.", ".Values.").replace("$threads.", ".Values.serving.threads.")
    for block in re.findall(r"\{\{-? with \.Values\.batching -?\}\}.*?\{\{- end \}\}\n\{\{- end \}\}", text, re.DOTALL):
        text += re.sub(r"(?<=[\s(])\.(?=[a-z])", ".Values.batching.", block)
    used = {m.rstrip(".") for m in re.findall(r"\.Values\.([A-Za-z0-9.]+)", text)}
    schema = json.loads((chart / "values.schema.json").read_text())
    leaves, known = set(), set()

    def walk(node: dict[str, Any], path: str) -> None:
        for key, child in node.get("properties", {}).items():
            here = f"{path}.{key}" if path else key
            known.add(here)
            if child.get("properties") and "description" not in child:
                walk(child, here)
            elif here not in PARENTS:
                leaves.add(here)

    walk(schema, "")
    inside = tuple(f"{leaf}." for leaf in leaves)
    assert sorted(u for u in used if u not in known and not u.startswith(inside)) == []
    assert sorted(leaf for leaf in leaves if not any(u == leaf or leaf.startswith(f"{u}.") for u in used)) == []


@by_chart
def test_the_schema_is_closed_and_local(chart: Path) -> None:
    schema = json.loads((chart / "values.schema.json").read_text())
    assert schema["$schema"] == "http://json-schema.org/draft-07/schema#"
    assert "$ref" not in json.dumps(schema)
    jsonschema.Draft7Validator.check_schema(schema)
    jsonschema.Draft7Validator(schema).validate(yaml.safe_load((chart / "values.yaml").read_text()))

    def closed(node: dict[str, Any]) -> None:
        if node.get("properties") and "description" not in node:
            assert node["additionalProperties"] is False
            for child in node["properties"].values():
                closed(child)

    shared = schema["properties"].pop("global")
    assert "additionalProperties" not in shared, "a parent chart shares what it likes"
    closed(schema)


@pytest.mark.parametrize("version", KUBERNETES)
def test_objects_are_valid_kubernetes(objects: Objects, version: str) -> None:
    checked = [o for o in objects if OWN_KINDS.match(o["apiVersion"])]
    assert checked
    for o in checked:
        kubernetes_validate.validate(o, version, strict=True)


class _OnceLoader(yaml.SafeLoader):
    """YAML in which a key that is written twice is an error; helm and PyYAML would silently take the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [key.value for key, _ in node.value]
        assert len(keys) == len(set(keys)), f"a key is written twice at {node.start_mark}: {keys}"
        return super().construct_mapping(node, deep)


OVERLAPPING = (
    "--set",
    "commonLabels.team=a,podLabels.team=b,podLabels.app\\.kubernetes\\.io/name=mine",
    "--set-string",
    "podAnnotations.prometheus\\.io/scrape=false",
)


@pytest.mark.parametrize("more", [(), OVERLAPPING], ids=["", "overlapping"])
def test_no_key_is_written_twice(case: tuple[str, str], more: tuple[str, ...], render_anew: Callable[..., str]) -> None:
    chart, name = case
    text = render_anew(chart, "-f", str(ROOT / "charts" / chart / "ci" / f"{name}-values.yaml"), *more)
    objects = list(yaml.load_all(text, Loader=_OnceLoader))
    for o in objects:
        if o is not None and o["kind"] == "Deployment" and more:
            template = o["spec"]["template"]["metadata"]
            assert template["labels"].items() >= o["spec"]["selector"]["matchLabels"].items(), "what selects stays"
            assert template["annotations"]["prometheus.io/scrape"] == "false"


def test_rendering_is_deterministic(case: tuple[str, str], render_anew: Callable[..., str]) -> None:
    chart, name = case
    values = str(ROOT / "charts" / chart / "ci" / f"{name}-values.yaml")
    assert render_anew(chart, "-f", values) == render_anew(chart, "-f", values)


def test_labels_and_selectors(objects: Objects) -> None:
    for o in objects:
        labels = o["metadata"]["labels"]
        if labels.get("app.kubernetes.io/name") == "extra":
            continue
        assert {f"app.kubernetes.io/{name}" for name in STANDARD_LABELS} <= set(labels), o["kind"]
        assert "helm.sh/chart" in labels
        assert o["metadata"]["namespace"] == "spaces"
    for o in objects:
        if o["kind"] in {"Deployment", "PodDisruptionBudget"}:
            selector = o["spec"]["selector"]["matchLabels"]
            assert set(selector) == {f"app.kubernetes.io/{part}" for part in ("name", "instance", "component")}


def test_replicas_are_left_to_the_autoscaler(objects: Objects) -> None:
    scaled = any(o["kind"] in {"HorizontalPodAutoscaler", "ScaledObject"} for o in objects)
    for o in objects:
        if o["kind"] == "Deployment":
            assert ("replicas" in o["spec"]) is not scaled


def test_a_budget_only_where_more_than_one_replica_runs(objects: Objects) -> None:
    deployment = next(o for o in objects if o["kind"] == "Deployment")
    fewest = deployment["spec"].get("replicas")
    for o in objects:
        if o["kind"] == "HorizontalPodAutoscaler":
            fewest = o["spec"]["minReplicas"]
        if o["kind"] == "ScaledObject":
            fewest = o["spec"]["minReplicaCount"]
    budgets = [o for o in objects if o["kind"] == "PodDisruptionBudget"]
    assert len(budgets) == (1 if fewest > 1 else 0)


def test_pods_have_time_to_drain(objects: Objects) -> None:
    for o in objects:
        if o["kind"] == "Deployment":
            spec = o["spec"]["template"]["spec"]
            sleep = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
            assert spec["terminationGracePeriodSeconds"] > sleep


def test_resources_are_set_and_memory_is_guaranteed(objects: Objects) -> None:
    for spec in pod_specs(objects):
        for c in containers(spec):
            assert c["resources"]["requests"]["cpu"]
            assert c["resources"]["requests"]["memory"] == c["resources"]["limits"]["memory"]


def test_environment_names_are_unique(objects: Objects) -> None:
    for spec in pod_specs(objects):
        for c in containers(spec):
            names = [e["name"] for e in c.get("env", [])]
            assert len(names) == len(set(names))


def test_config_maps_are_mounted_as_directories(objects: Objects) -> None:
    for spec in pod_specs(objects):
        live = {v["name"] for v in spec.get("volumes", []) if "configMap" in v}
        for c in containers(spec):
            assert [m for m in c.get("volumeMounts", []) if m["name"] in live and "subPath" in m] == []


def test_pods_meet_the_restricted_standard(objects: Objects) -> None:
    for spec in pod_specs(objects):
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"] is True
        assert pod["seccompProfile"]["type"] == "RuntimeDefault"
        assert spec["automountServiceAccountToken"] is False
        assert spec["enableServiceLinks"] is False
        for c in containers(spec):
            security = c["securityContext"]
            assert security["allowPrivilegeEscalation"] is False
            assert security["readOnlyRootFilesystem"] is True
            assert security["capabilities"]["drop"] == ["ALL"]
    for o in objects:
        if o["kind"] == "ServiceAccount":
            assert o["automountServiceAccountToken"] is False
        assert o["kind"] not in {"Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding", "Secret"}


def test_traffic_enters_by_one_door(objects: Objects) -> None:
    kinds = {o["kind"] for o in objects}
    assert not {"Ingress", "HTTPRoute"} <= kinds
    assert not {"ServiceMonitor", "PodMonitor"} <= kinds
