"""`deployer init` and `deployer render` as a person calls them."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import pytest
from paths import ROOT

from deployer.cli.__main__ import main
from deployer.domain import gateway, release, workload
from deployer.release import spec
from deployer.release.render import state_of
from deployer.release.render.text import fill

FEATURES = """
features: [{name: a, type: float}]
input: {name: x, dtype: float32, shape: [-1, 1]}
output: {name: y, kind: regression}
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for version in (1, 2, 10):
        extra = tmp_path / "models" / "digits" / str(version) / "assets.extra"
        extra.mkdir(parents=True)
        (extra / "features.yaml").write_text(FEATURES)
    (tmp_path / "models" / "digits" / ".staging-11-x").mkdir()
    (tmp_path / "deployer.yaml").write_text("release: demo\nstore: models\nmodels: [digits]\n")
    return tmp_path


def test_render_serves_the_newest_version_when_nothing_is_chosen(project: Path) -> None:
    assert main(["render", "-q"]) == 0
    found = state_of((project / "rendered/models.config").read_text(), (project / "rendered/gateway.yaml").read_text())
    assert found.models["digits"].versions == (10,)
    assert found.models["digits"].labels == {"stable": 10}
    assert "specs" in (project / "rendered/gateway.yaml").read_text()


def test_render_takes_versions_labels_and_weights(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["render", "--version", "digits=1,2", "--label", "digits:stable=1", "--label", "digits:canary=2"]
    assert main([*argv, "--weight", "digits:stable=95", "--weight", "digits:canary=5", "-o", "json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["kind"] == "Rendered"
    state = answer["result"]["state"]["models"]["digits"]
    assert state == {
        "versions": [1, 2],
        "labels": {"canary": 2, "stable": 1},
        "weights": {"canary": 5, "stable": 95},
    }
    assert {Path(f["path"]).name for f in answer["result"]["files"]} == {
        "models.config",
        "monitoring.config",
        "gateway.yaml",
        "server.flags",
        "tf-serving-values.yaml",
        "gateway-values.yaml",
    }


def test_a_second_render_changes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render"]) == 0
    assert "created" in capsys.readouterr().out
    before = {path: path.stat().st_mtime_ns for path in (project / "rendered").iterdir()}
    assert main(["render"]) == 0
    assert {line.split()[1] for line in capsys.readouterr().out.splitlines()[1:]} == {"unchanged"}
    assert before == {path: path.stat().st_mtime_ns for path in (project / "rendered").iterdir()}


def test_a_dry_run_writes_nothing(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", "--dry-run"]) == 0
    assert "created (dry run)" in capsys.readouterr().out
    assert not (project / "rendered").exists()


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        (["--label", "digits=2"], 2, "is not MODEL:LABEL=VALUE"),
        (["--version", "digits=two"], 2, "'two' is not a version number"),
        (["--weight", "digits:stable=much"], 2, "'much' is not a number"),
        (["--label", "cats:stable=1"], 2, "the release has no model 'cats'"),
        (["--version", "digits=1", "--label", "digits:canary=2"], 2, "label canary is version 2, which is not served"),
        (["--version", "digits=7"], 3, "has no version 7 of model digits"),
        (["--label", "digits:stable=7"], 3, "versions: 1, 2, 10"),
        (["--weight", "digits:canary=5"], 2, "weight for label canary, which has no version"),
        (["--weight", "digits:stable=-5"], 2, "weight -5 of label stable must be a finite number"),
        (["-f", "none.yaml"], 3, "none.yaml does not exist"),
        (["--output-dir", "deployer.yaml"], 2, "deployer.yaml"),
    ],
)
def test_what_cannot_be_meant_has_its_exit_code(
    project: Path, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, said: str
) -> None:
    assert main(["render", *argv]) == code
    error = capsys.readouterr().err
    assert said in error
    assert "hint:" in error
    assert not (project / "rendered").exists()


def test_an_override_replaces_the_spec_of_the_version(project: Path) -> None:
    (project / "mine.yaml").write_text(FEATURES.replace("name: a", "name: mine"))
    (project / "deployer.yaml").write_text(
        "release: demo\nstore: models\nmodels: [{name: digits, features: {10: mine.yaml}}]\n"
    )
    assert main(["render", "-q"]) == 0
    assert "name: mine" in (project / "rendered/gateway.yaml").read_text()
    (project / "mine.yaml").unlink()
    assert main(["render", "-q"]) == 3


def test_an_empty_store_is_named(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "deployer.yaml").write_text("release: demo\nstore: elsewhere\nmodels: [digits]\n")
    assert main(["render"]) == 3
    assert "elsewhere/digits has no version of model digits" in capsys.readouterr().err


def test_a_pvc_asks_for_versions(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "deployer.yaml").write_text("release: demo\nstore: pvc://ns/claim\nmodels: [digits]\n")
    assert main(["render"]) == 3
    assert "--version digits=1" in capsys.readouterr().err
    assert main(["render", "--version", "digits=3", "-q"]) == 0


def test_init_writes_a_file_that_is_valid_and_keeps_one_that_exists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["init", "--release", "shop", "--model", "digits", "--model", "tumor"]) == 0
    described = spec.load(tmp_path / "deployer.yaml")
    assert (described.name, [model.name for model in described.models]) == ("shop", ["digits", "tumor"])
    assert main(["init"]) == 2
    assert "--force" in capsys.readouterr().err
    assert main(["init", "--force"]) == 0
    assert spec.load(tmp_path / "deployer.yaml").name == "demo"


def test_init_and_the_reference_show_every_key_and_all_of_them_uncommented_are_valid(tmp_path: Path) -> None:
    text = fill("deployer.yaml.j2", release="demo", store="models", models=["digits"])
    reference = (ROOT / "docs/reference/deployer-yaml.md").read_text()
    sections = (
        release.Model, release.Serving, release.Threads, release.Batching, release.Storage, release.Experiment,
        gateway.Gateway, gateway.Limits, gateway.GatewayBatching, gateway.Rates, gateway.Sticky,
        workload.Image, workload.Resources, workload.Autoscaling,
    )  # fmt: skip
    for section in sections:
        for key in dataclasses.fields(section):
            assert re.search(rf"\b{key.name}:", text), f"{section.__name__}.{key.name}"
            assert re.search(rf"[`.]{key.name}\b", reference) or key.name in (
                "metadata",
                "header",
                "base",
                "table",
                "file",
            )
    prose = re.compile(r"^# [A-Z].*\n", re.M)
    everything = re.sub(r"^( *)# (?=\s*[-\w]+(:| ?[<>]))", r"\1", prose.sub("", text), flags=re.M)
    spec.parse(re.sub(r"^#( .*)$", r" \1", everything, flags=re.M), tmp_path)
