"""`deployer models` on a store directory: what a person reads, what a pipeline gets, what is never removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from stored_versions import publish, saved_model

from deployer.cli.__main__ import main
from deployer.domain.store import FileFact, Manifest
from deployer.targets.storage import manifest
from deployer.targets.storage.layout import ModelStore


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for version in (1, 2, 3, 4):
        publish(tmp_path, version, accuracy=0.9 + version / 100)
    return tmp_path


def shown(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    assert main([str(a) for a in argv]) == 0
    return capsys.readouterr().out


def test_list_for_a_person(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "loan/7").mkdir()
    (root / "loan/4/variables/variables.index").unlink()
    lines = shown(capsys, "models", "list", "--store", root).splitlines()
    assert lines[0].split() == ["MODEL", "VERSION", "STATE", "SIZE", "CREATED", "METRICS"]
    assert lines[1].split()[:3] == ["loan", "1", "published"]
    assert "2026-11-22T12:00:00Z   accuracy=0.91" in lines[1]
    assert "damaged: variables/variables.index" in lines[4]
    assert lines[5].split() == ["loan", "7", "no", "manifest", "-", "-", "-"]


def test_list_for_a_pipeline(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    publish(root, 1, model="other")
    document = json.loads(shown(capsys, "models", "list", "--store", root, "-o", "json"))
    assert document["kind"] == "Versions"
    assert [(v["model"], v["version"]) for v in document["result"]] == [("loan", v) for v in (1, 2, 3, 4)] + [
        ("other", 1)
    ]
    assert document["result"][0]["metrics"] == {"accuracy": 0.91}
    only = yaml.safe_load(shown(capsys, "models", "list", "other", "--store", root, "-o", "yaml"))
    assert len(only["result"]) == 1


def test_inspect(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "models", "inspect", "loan", "--store", root)
    assert text.startswith(f"version 4 of model loan in {root / 'loan/4'}")
    assert "input    x: float32 [-1, 4]" in text
    assert "batching   possible" in text
    assert "variables/variables.index (5 B)" in text
    assert "  features: []" in text
    document = json.loads(shown(capsys, "models", "inspect", "loan", "--version", 2, "--store", root, "-o", "json"))
    assert document["result"]["signatures"]["serving_default"]["inputs"]["x"] == {"dtype": "float32", "shape": [-1, 4]}
    assert document["result"]["manifest"]["version"] == 2


def test_inspect_a_version_that_another_tool_wrote(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "loan/9").mkdir()
    (root / "loan/9/saved_model.pb").write_bytes(saved_model())
    text = shown(capsys, "models", "inspect", "loan", "--store", root)
    assert "no manifest" in text
    assert "output   y: float32 [-1, 1]" in text


def test_verify_names_the_damaged_the_missing_and_the_extra_file(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "4 files" not in shown(capsys, "models", "verify", "loan", "--store", root, "-q")
    (root / "loan/2/saved_model.pb").write_bytes(saved_model()[:-1] + b"!")
    (root / "loan/3/variables/variables.index").unlink()
    (root / "loan/3/variables/extra").touch()
    assert main(["models", "verify", "loan", "--store", str(root)]) == 4
    text = capsys.readouterr().out
    assert "version 1 of model loan: 3 files as published" in text
    assert "version 2 of model loan: damaged\n  saved_model.pb has sha256" in text
    assert "  variables/extra is not in the manifest\n  variables/variables.index is missing" in text
    assert main(["models", "verify", "loan", "--version", "3", "--store", str(root), "-o", "json"]) == 4
    result = json.loads(capsys.readouterr().out)["result"]
    assert [fault["path"] for fault in result[0]["faults"]] == ["variables/extra", "variables/variables.index"]


def test_verify_notices_a_version_that_was_moved(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "loan/4").rename(root / "loan/5")
    assert main(["models", "verify", "loan", "--version", "5", "--store", str(root)]) == 4
    assert "was published as version 4 of loan" in capsys.readouterr().out


def test_verify_without_a_manifest_is_an_error_with_a_remedy(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (root / "loan/4" / manifest.MANIFEST).unlink()
    assert main(["models", "verify", "loan", "--version", "4", "--store", str(root), "-q"]) == 4
    error = capsys.readouterr().err
    assert f"error: {root / 'loan/4'} has no assets.extra/manifest.json" in error
    assert "hint: export the SavedModel into the store" in error


def test_verifying_all_continues_after_a_version_without_a_manifest(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (root / "loan/2" / manifest.MANIFEST).unlink()
    (root / "loan/3/variables/variables.index").write_bytes(b"cut")
    assert main(["models", "verify", "loan", "--store", str(root), "-q"]) == 4
    lines = capsys.readouterr().out.splitlines()
    assert "version 1 of model loan: 3 files as published" in lines
    assert lines[lines.index("version 2 of model loan: damaged") + 1].startswith(
        f"  {manifest.MANIFEST} is missing or unreadable, so the files cannot be verified"
    )
    assert "  variables/variables.index has 3 bytes instead of 5" in lines
    assert "version 4 of model loan: 3 files as published" in lines


def test_a_verb_that_needs_a_directory_says_so_of_a_pvc(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "loan", "--store", "pvc://shop/models", "--to", "pvc://shop/others"]) == 2
    assert "pvc://shop/models is a PVC in a cluster; this verb needs a directory" in capsys.readouterr().err


def test_a_manifest_that_was_edited_is_not_believed(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = root / "loan/4" / manifest.MANIFEST
    path.write_text(path.read_text().replace('"version": 4', '"version": "four"'))
    assert main(["models", "verify", "loan", "--version", "4", "--store", str(root), "-q"]) == 4
    assert "Expected `int`, got `str` - at `$.version`" in capsys.readouterr().err
    assert "unreadable manifest" in shown(capsys, "models", "list", "--store", root)


def test_prune_keeps_the_newest_and_what_is_in_use(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    argv = ["models", "prune", "loan", "--store", root, "--keep", 1, "--protect", "2", "-q"]
    assert "would remove version 1" in shown(capsys, *argv, "--dry-run")
    assert ModelStore(root=root, model="loan").versions() == (1, 2, 3, 4)
    document = json.loads(shown(capsys, *argv, "-o", "json"))
    assert document["result"]["removed"] == [1, 3]
    assert document["result"]["kept"] == {"2": "--protect", "4": "one of the newest 1"}
    assert sorted(p.name for p in (root / "loan").iterdir()) == ["2", "4"]


def test_prune_keeps_what_a_model_config_serves_or_labels(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = root / "model_config"
    config.write_text(
        'model_config_list { config { name: "loan" base_path: "/store/loan" model_platform: "tensorflow" '
        "model_version_policy { specific { versions: 1 versions: 2 } } "
        'version_labels { key: "stable" value: 1 } } }'
    )
    argv = ["models", "prune", "loan", "--store", root, "--keep", 1, "--model-config", config, "-q"]
    text = shown(capsys, *argv)
    assert "removed version 3 of model loan" in text
    assert "kept version 1: label stable" in text
    assert f"kept version 2: served by {config}" in text
    config.write_text("model_config_list { }")
    assert main([str(a) for a in argv]) == 2
    assert "does not serve model loan" in capsys.readouterr().err
    assert ModelStore(root=root, model="loan").versions() == (1, 2, 4)


def test_prune_refuses_to_keep_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "prune", "loan", "--store", str(root), "--keep", "0"]) == 2
    assert "prune keeps at least 1 version, not 0" in capsys.readouterr().err
    assert ModelStore(root=root, model="loan").versions() == (1, 2, 3, 4)


@pytest.mark.parametrize(
    ("argv", "error"),
    [
        (["list", "--store", "STORE/nowhere"], "nowhere cannot be read"),
        (["list", "fraud", "--store", "STORE"], "there is no model fraud in STORE"),
        (["inspect", "fraud", "--store", "STORE"], "model fraud has no version in STORE"),
        (["inspect", "loan", "--version", "9", "--store", "STORE"], "model loan has no version 9 in STORE"),
    ],
)
def test_what_is_not_there_is_named(
    root: Path, capsys: pytest.CaptureFixture[str], argv: list[str], error: str
) -> None:
    assert main(["models", *(part.replace("STORE", str(root)) for part in argv)]) == 4
    assert error.replace("STORE", str(root)) in capsys.readouterr().err


def test_a_manifest_survives_the_round_trip() -> None:
    known = Manifest(
        model="m",
        version=3,
        created="2026-11-22T12:00:00Z",
        source="s",
        tensorflow="2.21.0",
        signature="serving_default",
        signatures={},
        files={"a/b": FileFact(size=1, sha256="0" * 64)},
        batching_problem="the signature has no input",
    )
    assert manifest.decode(manifest.encode(known), "here") == known
