"""examples/gitops: what is committed is what `deployer render` writes, and the charts take it at every commit."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from example_folder import Example
from helm_program import helm_program
from paths import ROOT

from tfserving.config import ModelServerConfig
from tfserving.config.models import Specific

Objects = list[dict[str, Any]]

pytestmark = pytest.mark.skipif(helm_program() is None, reason="helm is not on PATH; scripts/tools gets it")


def test_committed_files_are_what_the_deployer_renders(example: Callable[[str], Example]) -> None:
    loans = example("gitops")
    shown = loans.run(loans.blocks[0])
    assert re.findall(r"^rendered/\S+ +(\w+)", shown, re.M) == ["unchanged"] * 6
    committed = {path.name for path in (ROOT / "examples/gitops/rendered").iterdir()}
    assert committed == set(re.findall(r"^rendered/(\S+)", shown, re.M))


def test_helm_renders_both_charts_with_them(example: Callable[[str], Example]) -> None:
    servers, gateways = applied(example("gitops"))
    assert {one["kind"] for one in servers} >= {"Deployment", "Service", "ConfigMap", "PodDisruptionBudget"}
    (deployment,) = (one for one in servers if one["kind"] == "Deployment")
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    assert {"claimName": "models", "readOnly": True} in [volume.get("persistentVolumeClaim") for volume in volumes]
    services = {one["metadata"]["name"] for one in servers if one["kind"] == "Service"}
    assert settings(gateways)["backends"]["dns"].partition(":")[0] in services
    assert {one["metadata"]["namespace"] for one in (*servers, *gateways)} == {"loans"}


def test_a_version_comes_in_five_commits_none_of_which_asks_for_what_is_not_loaded(
    example: Callable[[str], Example],
) -> None:
    loans = example("gitops")
    loaded, labelled, seen = {1}, {"stable"}, []
    for commit in loans.blocks[2].splitlines():
        loans.run(commit)
        servers, gateways = applied(loans)
        (model,) = ModelServerConfig.parse(text_of(servers, "model.config")).models
        weights = settings(gateways)["models"]["loan"]["routing"]["weights"]
        assert set(model.labels.values()) <= loaded, f"{commit}: a label for a version that is not loaded yet"
        assert set(weights) <= labelled, f"{commit}: traffic for a label that is not known yet"
        assert isinstance(model.policy, Specific)
        loaded, labelled = set(model.policy.versions), set(model.labels)
        seen.append((model.labels["stable"], model.labels.get("canary"), weights))
    assert loaded == {2}
    assert seen == [
        (1, None, {"stable": 100}),
        (1, 2, {"stable": 100}),
        (1, 2, {"stable": 90, "canary": 10}),
        (2, 2, {"stable": 100}),
        (2, None, {"stable": 100}),
    ]


def applied(loans: Example) -> tuple[Objects, Objects]:
    """The objects of both charts, as the README has Helm render them from what lies in `rendered/` now."""
    loans.run(re.sub(r"^helm ", f"{helm_program()} ", loans.blocks[1], flags=re.M))
    servers, gateways = (
        [one for one in yaml.safe_load_all(loans.read(f"manifests-{chart}.yaml")) if one]
        for chart in ("tf-serving", "gateway")
    )
    return servers, gateways


def text_of(objects: Objects, key: str) -> str:
    """The text under a key of the one ConfigMap that has it."""
    (text,) = (one["data"][key] for one in objects if one["kind"] == "ConfigMap" and key in one["data"])
    return str(text)


def settings(gateways: Objects) -> dict[str, Any]:
    """The gateway's settings inside its ConfigMap."""
    found: dict[str, Any] = yaml.safe_load(text_of(gateways, "gateway.yaml"))
    return found
