"""`deployer package`: each package is unpacked and served, and has every file of the version."""

from __future__ import annotations

import json
import os
import re
import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest
from model_server_process import model_server
from paths import SUPPORT

from deployer.cli.__main__ import main
from deployer.targets.storage import manifest


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 is a SavedModel, 2 a TFLite model."""
    store = tmp_path_factory.mktemp("package") / "store"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(SUPPORT)
        common = ("export", "exported_models:doubler", "--store", str(store), "--model", "m", "-q")
        assert main([*common]) == 0
        assert main([*common, "--format", "tflite"]) == 0
    return store


def package(store: Path, platform: str, output: Path, version: int = 1) -> int:
    options = ("--format", platform, "--version", str(version), "--output", str(output))
    return main(["package", "m", "--store", str(store), *options, "-q"])


def assert_serves(folder: Path, base_path: Path, *flags: str) -> None:
    with model_server(folder, "--model_name=m", f"--model_base_path={base_path}", *flags) as process:
        found = process.client.predict("m", {"numbers": np.array([[1, 2]], np.float32)})
        assert found.outputs["doubled"].tolist() == [[2.0, 4.0]]


def assert_whole(version: Path) -> None:
    assert manifest.verify(version, manifest.read(version)) == ()


def test_sagemaker_takes_the_archive(store: Path, tmp_path: Path) -> None:
    assert package(store, "sagemaker", tmp_path / "model.tar.gz") == 0
    with tarfile.open(tmp_path / "model.tar.gz") as archive:
        archive.extractall(tmp_path / "opt", filter="data")
    assert [path.name for path in (tmp_path / "opt").iterdir()] == ["m"]
    assert_whole(tmp_path / "opt/m/1")
    assert_serves(tmp_path, tmp_path / "opt/m")
    assert package(store, "sagemaker", tmp_path / "again.tar.gz") == 0
    assert (tmp_path / "again.tar.gz").read_bytes() == (tmp_path / "model.tar.gz").read_bytes()


def test_vertex_takes_the_folder(store: Path, tmp_path: Path) -> None:
    assert package(store, "vertex", tmp_path / "artifact") == 0
    assert (tmp_path / "artifact/saved_model.pb").exists()
    assert_whole(tmp_path / "artifact")
    (tmp_path / "base").mkdir()
    (tmp_path / "base/1").symlink_to(tmp_path / "artifact", target_is_directory=True)  # as its container mounts it
    assert_serves(tmp_path, tmp_path / "base")


@pytest.mark.parametrize("platform", ["docker", "vertex"])
def test_a_package_made_under_a_private_umask_can_be_read_by_any_server(
    store: Path, tmp_path: Path, platform: str
) -> None:
    before = os.umask(0o077)
    try:
        assert package(store, platform, tmp_path / "made") == 0
    finally:
        os.umask(before)
    for path in [tmp_path / "made", *(tmp_path / "made").rglob("*")]:
        wanted = 0o055 if path.is_dir() else 0o044
        assert path.stat().st_mode & wanted == wanted, path


@pytest.mark.parametrize("version", [1, 2])
def test_docker_builds_from_the_context(store: Path, tmp_path: Path, version: int) -> None:
    assert package(store, "docker", tmp_path / "image", version) == 0
    dockerfile = (tmp_path / "image/Dockerfile").read_text()
    assert re.search(r"^FROM \S*tensorflow/serving:\d", dockerfile, re.M)
    assert "\nCOPY models/ /models/\nENV MODEL_NAME=m\n" in dockerfile
    flags = json.loads(dockerfile.partition("CMD ")[2])
    assert_whole(tmp_path / "image/models/m" / str(version))
    assert_serves(tmp_path, tmp_path / "image/models/m", *flags)


REFUSED = {
    "a TFLite version for SageMaker": ("sagemaker", "x.tar.gz", 2, 4, "TFLite"),
    "a TFLite version for Vertex AI": ("vertex", "x", 2, 4, "TFLite"),
    "no such version": ("vertex", "x", 7, 4, "no version 7"),
    "no archive": ("sagemaker", "x", 1, 2, "--output model.tar.gz"),
    "something is there": ("docker", "full", 1, 2, "exists already"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_packaged_leaves_nothing(
    store: Path, tmp_path: Path, case: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    platform, name, version, code, said = REFUSED[case]
    assert package(store, platform, tmp_path / name, version) == code
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["full"]


def test_a_damaged_version_is_not_packaged(store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(store, tmp_path / "store")
    (tmp_path / "store/m/1/saved_model.pb").write_bytes(b"x")
    assert package(tmp_path / "store", "vertex", tmp_path / "out") == 4
    assert "is damaged: saved_model.pb" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
