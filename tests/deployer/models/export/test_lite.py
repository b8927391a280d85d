"""`deployer export --format tflite`: what is published, and how a server with --prefer_tflite_model serves it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from paths import SUPPORT

from deployer.cli.__main__ import main
from deployer.models.proof.served import Prover
from deployer.targets.local.one_server import OneServer, Program, one_server
from deployer.targets.storage import manifest, signatures
from tfserving.client import ModelServerError

SCORES = "output_0"
ROWS = np.random.default_rng(0).random((300, 4), np.float32)


def export(store: Path, source: str, *options: str) -> int:
    return main(["export", source, "--store", str(store), "--model", "m", "-q", "-o", "json", *options])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 is the SavedModel, 2 to 5 are TFLite models of it."""
    folder = tmp_path_factory.mktemp("lite")
    np.savez(folder / "rows.npz", x=ROWS)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(SUPPORT)
        assert export(folder / "store", "exported_models:wide") == 0
        for quantize in ("none", "float16", "dynamic", "int8"):
            options = ("--format", "tflite", "--quantize", quantize, "--samples", str(folder / "rows.npz"))
            assert export(folder / "store", "exported_models:wide", *options) == 0
    return folder / "store"


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[OneServer]:
    """Serves each version N as the model vN."""
    versions = {f"v{number}": store / "m" / str(number) for number in range(1, 6)}
    flags = ("--prefer_tflite_model=true", "--num_tflite_pools=2")
    with one_server(Program(), versions, flags=flags, timeout=120) as running:
        assert not running.failed
        yield running


def test_every_version_answers_as_its_source_by_grpc_and_rest(server: OneServer) -> None:
    client, rest = server.client, f"http://127.0.0.1:{server.rest_port}"
    source = client.predict("v1", {"x": ROWS}).outputs[SCORES]
    for version, bound in ((2, 1e-5), (3, 0.01), (4, 0.05), (5, 0.1)):
        found = client.predict(f"v{version}", {"x": ROWS}).outputs[SCORES]
        assert np.abs(found - source).max() < bound
        one = client.predict(f"v{version}", {"x": ROWS[:1]}).outputs[SCORES]
        assert np.allclose(one, found[:1], atol=1e-6)
        body = {"instances": ROWS[:2].tolist()}
        told = requests.post(f"{rest}/v1/models/v{version}:predict", json=body, timeout=20)
        assert np.allclose(told.json()["predictions"], found[:2], atol=1e-4)
    assert not np.array_equal(client.predict("v5", {"x": ROWS}).outputs[SCORES], source)


def test_the_signature_is_that_of_the_source(store: Path, server: OneServer) -> None:
    client = server.client
    first = client.metadata("v1").signatures["serving_default"]
    for version in (2, 3, 4, 5):
        found = client.metadata(f"v{version}").signatures
        assert found == {"serving_default": first}
        path = store / "m" / str(version)
        assert sorted(p.name for p in path.iterdir()) == ["assets.extra", "model.tflite"]
        assert signatures.read(path).signatures == {"serving_default": signatures.read(store / "m/1").signature()}


def test_the_manifest_says_the_format_the_error_and_the_agreement(store: Path) -> None:
    assert manifest.read(store / "m/1").format == "savedmodel"
    for version, quantize in ((2, "none"), (3, "float16"), (4, "dynamic"), (5, "int8")):
        known = manifest.read(store / "m" / str(version))
        assert (known.format, known.quantize) == ("tflite", quantize)
        assert known.batchable
        assert known.tensorflow
        assert known.parity is not None
        assert known.parity.rows == len(ROWS)
        if quantize != "none":
            assert known.parity.error is not None
            assert known.parity.error < 0.05
            assert known.parity.agreement is not None
            assert known.parity.agreement > 0.95


def test_the_files_become_smaller(store: Path) -> None:
    sizes = [(store / "m" / str(version) / "model.tflite").stat().st_size for version in (2, 3, 4, 5)]
    assert sizes[1] < 0.6 * sizes[0]
    assert max(sizes[2:]) < 0.4 * sizes[0]


def test_verify_loads_it_and_inspect_shows_it(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "verify", "m", "--store", str(store), "--load", "-q"]) == 0
    assert main(["models", "inspect", "m", "--version", "5", "--store", str(store), "-q"]) == 0
    assert "TFLite, int8" in capsys.readouterr().out


def test_bad_requests_are_refused_and_the_next_is_answered(server: OneServer) -> None:
    client = server.client
    for bad in (ROWS[:, :3], ROWS.astype(np.float64)):
        with pytest.raises(ModelServerError):
            client.predict("v5", {"x": bad})
        assert client.predict("v5", {"x": ROWS[:3]}).outputs[SCORES].shape == (3, 3)
    assert client.predict("v5", {"x": ROWS[:0]}).outputs[SCORES].shape == (0, 3)


REFUSED: dict[str, tuple[str, list[str], int, str]] = {
    "a SavedModel is not quantized": ("exported_models:linear", ["--quantize", "int8"], 3, "--format tflite"),
    "int8 needs samples": ("exported_models:linear", ["--format", "tflite", "--quantize", "int8"], 3, "--samples"),
    "worse than asked for": (
        "exported_models:linear",
        ["--format", "tflite", "--quantize", "float16", "--max-error", "0.00000001"],
        4,
        "root mean square",
    ),
    "operations of TensorFlow only": ("exported_models:words", ["--format", "tflite"], 4, "cannot be converted"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_is_refused_and_leaves_nothing(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(SUPPORT)
    source, options, code, said = REFUSED[case]
    assert export(tmp_path / "store", source, *options) == code
    error: dict[str, Any] = json.loads(capsys.readouterr().out)["error"]
    assert said in " ".join((error["message"], error["cause"], error["hint"]))
    assert error["hint"]
    assert not (tmp_path / "store").exists()


def test_a_server_without_the_flag_says_why_it_cannot_load_it(store: Path) -> None:
    with pytest.raises(Exception, match="cannot load"), Prover().serving({"m": store / "m/2"}, warm_up=True):
        pass


def test_a_tflite_file_in_a_savedmodel_is_left_out(store: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    shutil.copytree(store / "m/1", source)
    (source / "model.tflite").write_bytes((store / "m/2/model.tflite").read_bytes())
    assert export(tmp_path / "other", str(source)) == 0
    assert not (tmp_path / "other/m/1/model.tflite").exists()
