"""The recommended values of the guide render, and their policies leave no door open that is not named."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deployer.domain.serving import ModelState, ServingConfig
from deployer.release import spec
from deployer.release.render import render_release

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "guides" / "kubernetes.md"
STATE = ServingConfig(models={"loan": ModelState(versions=(1,), labels={"stable": 1}, weights={"stable": 100})})

Objects = list[dict[str, Any]]


@pytest.fixture(scope="module")
def section() -> str:
    found = re.search(r"### Recommended values\n.*?```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def charts(section: str, tmp_path: Path, render: Callable[..., Objects]) -> dict[str, Objects]:
    head = "release: demo\nnamespace: ml\nstore: pvc://ml/models\nmodels: [loan]\n"
    files = render_release(spec.parse(head + section, tmp_path), STATE, {"loan": {}}).files
    made = {}
    for chart in ("tf-serving", "gateway"):
        values = tmp_path / f"{chart}.yaml"
        values.write_text(files[f"{chart}-values.yaml"])
        made[chart] = render(chart, "-f", str(values), release=f"demo-{chart}")
    return made


def one(objects: Objects, kind: str) -> dict[str, Any]:
    (found,) = [o for o in objects if o["kind"] == kind]
    return found


def test_every_pod_of_a_release_has_a_policy_for_both_directions(charts: dict[str, Objects]) -> None:
    for chart, objects in charts.items():
        policy, pods = one(objects, "NetworkPolicy")["spec"], one(objects, "Deployment")["spec"]["template"]
        assert policy["podSelector"]["matchLabels"].items() <= pods["metadata"]["labels"].items(), chart
        assert sorted(policy["policyTypes"]) == ["Egress", "Ingress"], chart


def test_no_rule_lets_everybody_call_requests_in(charts: dict[str, Objects]) -> None:
    servers = one(charts["tf-serving"], "NetworkPolicy")["spec"]
    assert servers.get("egress", []) == []
    assert all(rule.get("from") for rule in servers["ingress"])
    gateways = one(charts["gateway"], "NetworkPolicy")["spec"]
    for rule in gateways["ingress"]:
        if not rule.get("from"):  # the admin port, which Prometheus and the API server need
            assert [port["port"] for port in rule["ports"]] == ["admin"]
    assert all(rule.get("to") for rule in gateways["egress"] if not _dns(rule))


def _dns(rule: dict[str, Any]) -> bool:
    return all(port["port"] in (53, "dns") for port in rule["ports"])


def test_what_else_is_recommended_is_there(charts: dict[str, Objects]) -> None:
    for objects in charts.values():
        kinds = {o["kind"] for o in objects}
        assert {"PodDisruptionBudget", "PodMonitor", "PrometheusRule"} <= kinds
        pod = one(objects, "Deployment")["spec"]["template"]["spec"]
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
