"""Values files in a Git repository: what they record is what was rendered, and only they are committed."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from deployer.domain.serving import ModelState, ServingConfig
from deployer.errors import SpecError, UsageError
from deployer.release import spec
from deployer.release.git.commit import commit, require_repository
from deployer.release.git.values_files import recorded, write_values
from deployer.release.render import render_release

STATE = ModelState(versions=(1, 2), labels={"stable": 1, "canary": 2}, weights={"stable": 95, "canary": 5})


@pytest.mark.parametrize("source", ["release", "live"])
def test_the_files_record_versions_labels_and_weights(tmp_path: Path, source: str) -> None:
    text = f"release: demo\nnamespace: ns\nstore: pvc://ns/models\nmodels: [m]\nmodels_source: {source}\n"
    rendered = render_release(spec.parse(text, tmp_path), ServingConfig(models={"m": STATE}), {}).files
    write_values({name: rendered[name] for name in rendered if name.endswith("-values.yaml")}, tmp_path / "git")

    assert recorded(tmp_path / "git") == {"m": STATE}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (None, "does not exist"),
        ("models: [", "is not valid YAML"),
        ("models: 7", "cannot be read"),
        ("[]", "cannot be read"),
    ],
)
def test_a_file_that_is_no_values_file_is_named(tmp_path: Path, text: str | None, says: str) -> None:
    if text is not None:
        (tmp_path / "tf-serving-values.yaml").write_text(text)

    with pytest.raises(SpecError, match="tf-serving-values.yaml.*" + says):
        recorded(tmp_path)


def test_labels_at_versions_that_are_not_listed_are_refused(tmp_path: Path) -> None:
    (tmp_path / "tf-serving-values.yaml").write_text("models: [{name: m, versions: [1], labels: {stable: 2}}]\n")
    (tmp_path / "gateway-values.yaml").write_text("{}\n")

    with pytest.raises(SpecError, match="model m cannot be served"):
        recorded(tmp_path)


def git(directory: Path, *argv: str) -> str:
    done = subprocess.run(["git", "-C", str(directory), *argv], check=True, capture_output=True, text=True, timeout=30)
    return done.stdout


def test_only_the_values_files_are_committed_and_only_when_they_differ(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    (tmp_path / "other").write_text("somebody's work\n")
    git(tmp_path, "add", "other")
    paths = write_values({"a.yaml": "x: 1\n", "b.yaml": "y: 1\n"}, tmp_path / "shop")

    first = commit(tmp_path / "shop", paths, "m: version 2 promoted")
    again = commit(tmp_path / "shop", paths, "m: version 2 promoted")
    write_values({"a.yaml": "x: 2\n"}, tmp_path / "shop")
    second = commit(tmp_path / "shop", paths, "m: version 3 promoted")

    assert again == ""
    assert git(tmp_path, "log", "--format=%H %s").splitlines() == [
        f"{second} m: version 3 promoted",
        f"{first} m: version 2 promoted",
    ]
    assert git(tmp_path, "show", "--format=", "--name-only", second).split() == ["shop/a.yaml"]
    assert git(tmp_path, "show", "--format=", "--name-only", first).split() == ["shop/a.yaml", "shop/b.yaml"]
    assert git(tmp_path, "diff", "--cached", "--name-only").split() == ["other"], "what others staged stays staged"


def test_a_folder_outside_a_repository_is_refused_before_anything_changes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not in a Git repository"):
        require_repository(tmp_path / "not" / "there")
