"""`deployer drift` against a real release: exported with training data, served, and asked with records."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

SPEC = """features:
  - {name: income, type: float, normalize: {mean: 50, std: 10}}
  - {name: purpose, type: category, vocabulary: [car, home, other], unknown: other}
input: {name: x, dtype: float32, shape: [-1, 4]}
output: {name: y, kind: regression}
"""
WORDS = ("car", "home", "other")

pytestmark = pytest.mark.timeout(400)


class Loan(tf.Module):  # type: ignore[misc]  # has no types
    @tf.function(input_signature=[tf.TensorSpec([None, 4], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def serve(self, x: Any) -> Any:
        return {"y": tf.reduce_sum(x, axis=1, keepdims=True)}


def write(path: Path, count: int, shift: float, seed: int) -> None:
    random = np.random.default_rng(seed)
    incomes, words = random.normal(50 + shift, 10, count), random.choice(WORDS, count, p=[0.5, 0.3, 0.2])
    rows = [{"income": income, "purpose": word} for income, word in zip(incomes.tolist(), words.tolist(), strict=True)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def deployer(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "deployer.cli", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=200, check=False, cwd=folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A release of one version that knows its training data."""
    folder: Path = tmp_path_factory.mktemp("drift")
    module = Loan()
    tf.saved_model.save(module, str(folder / "saved"), signatures={"serving_default": module.serve})
    (folder / "features.yaml").write_text(SPEC)
    (folder / "deployer.yaml").write_text("{release: d, store: store, models: [loan], serving: {replicas: 1}}")
    write(folder / "train.jsonl", 8_000, 0, 1)
    flags = ("--store", "store", "--model", "loan", "--features", "features.yaml", "--data", "train.jsonl")
    exported = deployer(folder, "export", "saved", *flags)
    assert exported.returncode == 0, exported.stderr
    up = deployer(folder, "local", "up")
    assert up.returncode == 0, up.stderr
    yield folder
    deployer(folder, "local", "down")


def test_drift_of_a_real_release(folder: Path) -> None:
    known = json.loads((folder / "store/loan/1/assets.extra/statistics.json").read_text())
    assert known["records"] == 8_000
    assert [one["name"] for one in known["features"]] == ["income", "purpose"]
    assert [one["name"] for one in known["scores"]] == ["value"]
    assert [len(known["features"][0][key]) for key in ("edges", "counts")] == [9, 10]
    assert sum(known["scores"][0]["counts"]) == 8_000

    nothing = deployer(folder, "drift", "loan")
    assert (nothing.returncode, nothing.stdout) == (0, "no records of loan have been counted yet\n")

    send(folder, 400, 0, 2)
    same = deployer(folder, "drift", "loan", "-o", "json", "--report", "drift.html")
    assert same.returncode == 0, same.stdout
    (label,) = json.loads(same.stdout)["result"]["drift"]["labels"]
    assert (label["label"], label["version"]) == ("stable", 1)
    assert 1 <= label["records"] <= 400
    assert {one["name"] for one in label["features"]} == {"income", "purpose", "value"}
    page = (folder / "drift.html").read_text()
    assert "income" in page
    assert page.count("<svg") == 3
    assert "http" not in page

    send(folder, 400, 30, 3)
    other = deployer(folder, "drift", "loan")
    assert other.returncode == 7, other.stdout
    assert "drifted: " in other.stdout
    assert "purpose  " in other.stdout


def test_a_model_without_statistics_says_what_to_do(folder: Path) -> None:
    wrong = deployer(folder, "drift", "none")
    assert wrong.returncode == 6
    assert "models: loan" in wrong.stderr


def test_the_gate_judges_the_records_of_canary(folder: Path) -> None:
    """Records as in training bring version 2 to traffic; shifted ones do not bring version 3 there."""
    flags = ("--store", "store", "--model", "loan", "--features", "features.yaml", "--data", "train.jsonl")
    assert deployer(folder, "export", "saved", *flags).returncode == 0
    assert deployer(folder, "export", "saved", *flags).returncode == 0
    same = rollout(folder, 2, shift=0)
    assert same.returncode == 0, same.stdout + same.stderr
    assert "drift<0.2" in same.stderr
    other = rollout(folder, 3, shift=30)
    assert other.returncode == 7, other.stdout + other.stderr
    assert "income against training: PSI" in other.stdout + other.stderr


def rollout(folder: Path, to: int, shift: float) -> subprocess.CompletedProcess[str]:
    """One step of half the traffic, under synthetic load."""
    write(folder / "live.jsonl", 400, shift, to)
    records = [json.loads(line) for line in (folder / "live.jsonl").read_text().splitlines()]
    lines = [json.dumps({"record": record, "expected": (record["income"] - 50) / 10 + 1}) for record in records]
    (folder / "live.jsonl").write_text("\n".join(lines) + "\n")
    load = ("--labelled", "live.jsonl", "--load", "synthetic", "--load-rate", "200")
    steps = ("--to", str(to), "--steps", "50", "--soak", "5s", "--gate", "drift<0.2")
    return deployer(folder, "rollout", "start", "loan", *steps, *load)


def send(folder: Path, count: int, shift: float, seed: int) -> None:
    write(folder / "live.jsonl", count, shift, seed)
    lines = (folder / "live.jsonl").read_text().splitlines()
    (folder / "live.jsonl").write_text("".join(f'{{"record": {line}}}\n' for line in lines))
    sent = deployer(folder, "predict", "loan", "--records", "live.jsonl")
    assert sent.returncode == 0, sent.stderr
