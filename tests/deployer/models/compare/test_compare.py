"""`deployer models compare`: versions measured beside each other on real model servers, and which no other beats."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from paths import SUPPORT

from deployer.cli.__main__ import main
from deployer.models.compare.result import Measured, front

ROWS = np.random.default_rng(0).random((200, 4), np.float32)
SPEC = (
    "features: [{name: v, type: vector, length: 4}]\n"
    "input: {name: x, dtype: float32, shape: [-1, 4]}\n"
    "output: {name: output_0, kind: classification, labels: [a, b, c]}\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Version 1 is a SavedModel, 2 an int8 TFLite model of it; the records are labelled with what version 1 says."""
    import exported_models

    folder = tmp_path_factory.mktemp("compare")
    np.savez(folder / "rows.npz", x=ROWS)
    (folder / "features.yaml").write_text(SPEC)
    labels = exported_models.wide().predict(ROWS, verbose=0).argmax(axis=1)
    records = [{"record": {"v": row.tolist()}, "expected": "abc"[at]} for row, at in zip(ROWS, labels, strict=True)]
    inputs = [{"inputs": {"x": row.tolist()}, "expected": int(at)} for row, at in zip(ROWS, labels, strict=True)]
    for name, lines in (("records.jsonl", records), ("inputs.jsonl", inputs)):
        (folder / name).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(SUPPORT)
        common = ("--store", str(folder / "store"), "--model", "m", "--features", str(folder / "features.yaml"), "-q")
        assert main(["export", "exported_models:wide", *common]) == 0
        options = ("--format", "tflite", "--quantize", "int8", "--samples", str(folder / "rows.npz"))
        assert main(["export", "exported_models:wide", *common, *options]) == 0
    return folder


def compare(folder: Path, *options: str) -> list[str]:
    store = str(folder / "store")
    return ["models", "compare", "m", "1", "2", "--store", store, "--requests", "300", "-q", *options]


@pytest.mark.parametrize("records", ["records.jsonl", "inputs.jsonl"])
def test_versions_are_measured_beside_each_other(
    folder: Path, records: str, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--records", str(folder / records), "--gate", "size<50kB", "--gate", "accuracy>=0.5", "-o", "json")
    assert main(compare(folder, *options)) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)["result"]
    first, second = found["versions"]
    assert (first["version"], first["format"]) == (1, "savedmodel")
    assert (second["version"], second["format"], second["quantize"]) == (2, "tflite", "int8")
    assert first["accuracy"] == 1.0
    assert 0.9 < second["accuracy"] <= 1.0
    assert second["size"] < first["size"]
    for one in (first, second):
        assert 0 < one["p50_ms"] <= one["p99_ms"]
        assert min(one["cpu_ms"], one["load_seconds"], one["memory"]) > 0
    assert first["failed_gates"] == ["size<50kB"]
    assert second["failed_gates"] == []
    assert set(found["front"]) <= {1, 2}
    assert found["front"]


def test_a_table_and_a_picture(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = folder / "trade.png"
    options = ("--records", str(folder / "records.jsonl"), "--gate", "p99<1s", "--picture", str(picture))
    assert main(compare(folder, *options)) == 0
    said = capsys.readouterr().out
    assert "2 (tflite int8)" in said
    assert "beaten by no other: " in said
    assert picture.read_bytes().startswith(b"\x89PNG")


REFUSED = {
    "one version": (["models", "compare", "m", "1", "--records", "inputs.jsonl"], 3, "two versions"),
    "no such version": (["models", "compare", "m", "1", "9", "--records", "inputs.jsonl"], 4, "no version 9"),
    "no such gate": (["models", "compare", "m", "1", "2", "--records", "inputs.jsonl", "--gate", "x<1"], 2, "gate"),
    "a record that does not fit": (["models", "compare", "m", "1", "2", "--records", "bad.jsonl"], 3, "feature 'v'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_compared(
    folder: Path, case: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    (folder / "bad.jsonl").write_text('{"record": {"v": [1, 2]}, "expected": "a"}\n')
    arguments, code, said = REFUSED[case]
    assert main([*arguments, "--store", "store", "-q"]) == code
    assert said in capsys.readouterr().err


def measured(version: int, **changed: Any) -> Measured:
    values: dict[str, Any] = {
        "format": "savedmodel", "quantize": "none", "accuracy": 0.9, "error": None, "p50_ms": 1.0, "p99_ms": 2.0,
        "cpu_ms": 1.0, "size": 100, "load_seconds": 1.0, "memory": 100,
    }  # fmt: skip
    return Measured(version=version, **values | changed)


def test_a_version_is_beaten_when_another_is_nowhere_worse_and_somewhere_better() -> None:
    assert front([measured(1), measured(2, size=50)]) == (2,)
    assert front([measured(1), measured(2, size=50, accuracy=0.89)]) == (1, 2)
    assert front([measured(1), measured(2)]) == (1, 2)
    assert front([measured(1), measured(2, p50_ms=1.03, size=50)]) == (2,), "within the noise"
    assert front([measured(1), measured(2, p50_ms=1.2, size=50)]) == (1, 2)
    assert front([measured(1, accuracy=None, error=2.0), measured(2, accuracy=None, error=1.0)]) == (2,)
