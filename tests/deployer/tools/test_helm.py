"""Helm as the deployer calls it: the command line, the two dialects, and what is made of its responses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from deployer.errors import SpecError, TargetError, ToolError
from deployer.targets.cluster import helm_releases
from deployer.targets.cluster.helm_releases import HelmReleases, gateway_values, manifest_diff, models_of
from deployer.targets.cluster.names import Names
from deployer.tools.helm import Helm, dialect_of

FAKE = """#!/usr/bin/env python3
import json, pathlib, sys
here = pathlib.Path(__file__).parent
argv = sys.argv[1:]
if argv[0] == "version":
    print({version!r})
    sys.exit()
with (here / "calls").open("a") as calls:
    calls.write(json.dumps([argv, sys.stdin.read() if "--values" in argv else ""]) + "\\n")
found = here / f"{{argv[0]}}.json"
if not found.exists():
    sys.exit("Error: release: not found")
print("W1122 a warning of the API server, before the document")
print(found.read_text())
"""

MANIFEST = "kind: ConfigMap\nmetadata: {name: m}\ndata: {}\n"


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., tuple[Helm, Path]]:
    """`fake(version, **answers)` is a FakeHelm program that responds by verb, and its directory."""

    def make(version: str = "v4.1.0", **answers: object) -> tuple[Helm, Path]:
        program = tmp_path / "helm"
        program.write_text(FAKE.format(version=version))
        program.chmod(0o755)
        for verb, answer in answers.items():
            (tmp_path / f"{verb}.json").write_text(json.dumps(answer))
        return Helm(namespace="ns", context="kind-x", kubeconfig="/k", program=str(program)), tmp_path

    return make


def answer(status: str = "deployed", manifest: str = MANIFEST, **config: object) -> dict[str, object]:
    return {
        "name": "demo-tf-serving",
        "namespace": "ns",
        "version": 7,
        "info": {"status": status, "description": "", "last_deployed": "2026-11-22T07:00:00Z", "notes": "…"},
        "config": config,
        "manifest": manifest,
    }


def calls(directory: Path) -> list[tuple[list[str], str]]:
    return [(argv, stdin) for argv, stdin in map(json.loads, (directory / "calls").read_text().splitlines())]


def test_an_upgrade_gives_all_values_on_stdin_and_waits_for_no_pod(fake: Callable[..., tuple[Helm, Path]]) -> None:
    helm, directory = fake(upgrade=answer(replicaCount=2))

    done = helm.apply("demo-tf-serving", Path("/charts/tf-serving"), {"replicaCount": 2}, timeout=30)

    ((argv, stdin),) = calls(directory)
    assert (done.revision, done.values, done.deployed) == (7, {"replicaCount": 2}, True)
    assert argv[:4] == ["upgrade", "--install", "demo-tf-serving", "/charts/tf-serving"]
    assert {"--reset-values", "--force-conflicts"} <= set(argv)
    assert not [flag for flag in argv if flag.startswith(("--wait", "--atomic", "--rollback"))]
    assert argv[-6:] == ["--namespace", "ns", "--kube-context", "kind-x", "--kubeconfig", "/k"]
    assert json.loads(stdin) == {"replicaCount": 2}


def test_helm_3_gets_no_flag_that_only_helm_4_has(fake: Callable[..., tuple[Helm, Path]]) -> None:
    helm, directory = fake("v3.19.0", upgrade=answer())

    helm.apply("demo-tf-serving", Path("/c"), {}, timeout=30)

    assert "--force-conflicts" not in calls(directory)[0][0]


def test_a_release_that_is_not_installed_is_none(fake: Callable[..., tuple[Helm, Path]]) -> None:
    helm, _ = fake()

    assert helm.release("demo-tf-serving") is None


@pytest.mark.parametrize("version", ["v3.13.3", "v2.17.0", "v5.0.0", "nonsense"])
def test_a_helm_that_is_too_old_or_unknown_is_refused(version: str) -> None:
    with pytest.raises(ToolError) as refused:
        dialect_of(version)

    assert "scripts/tools" in refused.value.hint


def test_a_helm_that_is_absent_says_where_to_get_one() -> None:
    with pytest.raises(ToolError, match="not on PATH"):
        Helm(namespace="ns", program="no-such-helm").release("x")


def test_a_release_that_another_helm_works_on_is_left_alone(fake: Callable[..., tuple[Helm, Path]]) -> None:
    helm, directory = fake(status=answer("pending-upgrade"), upgrade=answer())
    releases = HelmReleases(Names(release="demo"), helm, charts=directory)

    with pytest.raises(TargetError, match="pending-upgrade") as refused:
        releases.change("tf-serving", {})

    assert "helm rollback" in refused.value.hint


@pytest.mark.parametrize(
    ("manifest", "values", "needed"),
    [
        (MANIFEST, {"models": [{"versions": (1,)}]}, False),
        (MANIFEST.replace("{}", "{a: b}"), {"models": [{"versions": (1,)}]}, True),
        (MANIFEST, {"models": [{"versions": (2,)}]}, True),
    ],
    ids=["nothing", "another manifest", "other values"],
)
def test_a_change_is_needed_when_manifest_or_values_differ(
    fake: Callable[..., tuple[Helm, Path]], manifest: str, values: dict[str, object], needed: bool
) -> None:
    helm, directory = fake(status=answer(models=[{"versions": [1]}]), upgrade=answer(manifest=manifest))

    change = HelmReleases(Names(release="demo"), helm, charts=directory).change("tf-serving", values)

    assert change.needed is needed


def test_another_chart_is_never_brought_along_by_a_change_of_versions(
    fake: Callable[..., tuple[Helm, Path]],
) -> None:
    helm, directory = fake(status=answer(manifest="labels:\n  helm.sh/chart: tf-serving-0.1.0\n"), upgrade=answer())
    (directory / "tf-serving").mkdir()
    (directory / "tf-serving" / "Chart.yaml").write_text("version: 0.2.0\n")

    with pytest.raises(TargetError, match=r"tf-serving-0\.2\.0"):
        HelmReleases(Names(release="demo"), helm, charts=directory).put_models(CONFIG, replicas=2)

    assert [argv[0] for argv, _ in calls(directory)] == ["status"]


def test_a_new_model_config_keeps_the_other_values_and_the_scale_that_runs(
    fake: Callable[..., tuple[Helm, Path]],
) -> None:
    there = answer(manifest="labels:\n  helm.sh/chart: tf-serving-0.1.0\n", replicaCount=2, command=[])
    helm, directory = fake(status=there, upgrade=answer())
    (directory / "tf-serving").mkdir()
    (directory / "tf-serving" / "Chart.yaml").write_text("version: 0.1.0\n")

    HelmReleases(Names(release="demo"), helm, charts=directory).put_models(CONFIG, replicas=4)

    argv, stdin = calls(directory)[-1]
    models = [{"name": "m", "versions": [1, 2], "labels": {"stable": 1}}]
    assert argv[0] == "upgrade"
    assert json.loads(stdin) == {"replicaCount": 4, "command": [], "models": models}


def test_a_helm_that_a_killed_deployer_left_is_waited_for(
    fake: Callable[..., tuple[Helm, Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(helm_releases, "PENDING_TIMEOUT", 2.0)
    chart = "labels:\n  helm.sh/chart: tf-serving-0.1.0\n"
    helm, directory = fake(status=answer("pending-upgrade", chart), upgrade=answer())
    (directory / "tf-serving").mkdir()
    (directory / "tf-serving" / "Chart.yaml").write_text("version: 0.1.0\n")
    looks: list[float] = []

    def sleep(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 3:
            (directory / "status.json").write_text(json.dumps(answer(manifest=chart)))

    HelmReleases(Names(release="demo"), helm, charts=directory, sleep=sleep).put_models(CONFIG, replicas=2)
    assert [argv[0] for argv, _ in calls(directory)] == ["status"] * 4 + ["upgrade"]

    (directory / "status.json").write_text(json.dumps(answer("pending-upgrade", chart)))
    with pytest.raises(TargetError, match="pending-upgrade"):
        HelmReleases(Names(release="demo"), helm, charts=directory, sleep=lambda _: None).put_models(CONFIG, replicas=2)


def test_values_that_say_so_already_are_left_alone(fake: Callable[..., tuple[Helm, Path]]) -> None:
    there = answer(
        manifest="labels:\n  helm.sh/chart: tf-serving-0.1.0\n",
        replicaCount=2,
        models=[{"name": "m", "versions": [1, 2], "labels": {"stable": 1}}],
    )
    helm, directory = fake(status=there, upgrade=answer())
    (directory / "tf-serving").mkdir()
    (directory / "tf-serving" / "Chart.yaml").write_text("version: 0.1.0\n")

    HelmReleases(Names(release="demo"), helm, charts=directory).put_models(CONFIG, replicas=2)

    assert [argv[0] for argv, _ in calls(directory)] == ["status"]


CONFIG = """model_config_list { config {
  name: "m" base_path: "/models/m" model_platform: "tensorflow"
  model_version_policy { specific { versions: 1 versions: 2 } }
  version_labels { key: "stable" value: 1 }
} }"""


def test_a_model_config_becomes_the_charts_value_models() -> None:
    assert models_of(CONFIG) == [{"name": "m", "versions": [1, 2], "labels": {"stable": 1}}]
    elsewhere = models_of(CONFIG.replace("/models/m", "gs://b/m"))
    assert elsewhere[0]["basePath"] == "gs://b/m"
    with pytest.raises(SpecError, match="fixed list"):
        models_of(CONFIG.replace("specific { versions: 1 versions: 2 }", "latest { num_versions: 1 }"))


def test_gateway_settings_become_the_charts_value_config() -> None:
    settings = {"version": "v1", "models": {"m": {"labels": {"stable": 1}}}, "backends": {"dns": "x:8500"}}

    assert gateway_values(yaml.safe_dump(settings)) == {"models": {"m": {"labels": {"stable": 1}}}}
    with pytest.raises(SpecError):
        gateway_values(yaml.safe_dump({**settings, "unknown": 1}))


def test_a_manifest_whose_objects_only_moved_has_no_diff() -> None:
    one, two = "kind: A\nmetadata: {name: a}\nx: 1\n", "kind: B\nmetadata: {name: b}\n"

    assert manifest_diff(f"---\n# Source: x\n{one}---\n{two}", f"---\n{two}---\n{one}", "r") == ""
    assert "-x: 1\n+x: 2" in manifest_diff(one, one.replace("x: 1", "x: 2"), "r")
