"""`deployer export` from the command line, with real TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from paths import SUPPORT

from deployer.cli.__main__ import main

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # keras with numpy 2


@pytest.fixture
def argv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.chdir(SUPPORT)
    return ["export", "exported_models:doubler", "--store", str(tmp_path / "store"), "--model", "m"]


def test_a_person_reads_what_was_checked(argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*argv, "--metric", "accuracy=0.97", "--warmup-batch-sizes", "4,2", "--max-size", "1MB"]) == 0
    out, err = capsys.readouterr()
    assert out.startswith(f"version 1 of model m is {tmp_path / 'store/m/1'} (")
    assert "parity     8 rows, largest difference 0\n" in out
    assert "batching   possible\n" in out
    assert "warm-up    batch sizes 2, 4\n" in out
    assert "metrics    accuracy 0.97\n" in out
    assert "reading exported_models:doubler\nwriting version 1 of model m\n" in err


def test_a_pipeline_gets_the_manifest(argv: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "metrics.json").write_text('{"auc": 0.5, "accuracy": 0.1}')
    metrics = ["--metrics-file", str(tmp_path / "metrics.json"), "--metric", "accuracy=0.9"]
    assert main([*argv, *metrics, "--dry-run", "-o", "json", "-q"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kind"] == "Exported"
    result = document["result"]
    assert (result["version"], result["dry_run"]) == (1, True)
    assert result["manifest"]["metrics"] == {"auc": 0.5, "accuracy": 0.9}
    assert result["manifest"]["warmup_batch_sizes"] == [1, 8, 32]
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("extra", "code", "error"),
    [
        (["--version", "0"], 4, "version 0 is not allowed"),
        (["--max-size", "10"], 4, "the limit is 10 B"),
        (["--max-size", "ten"], 2, "'ten' is not a number with an optional unit"),
        (["--warmup-batch-sizes", "1,b"], 2, "'1,b' is not a list of whole numbers"),
        (["--warmup-batch-sizes", "0,1"], 4, "warm-up batch size 0 is not positive"),
        (["--metric", "accuracy"], 2, "--metric 'accuracy' is not NAME=NUMBER"),
        (["--metrics-file", "nowhere.json"], 2, "metrics file nowhere.json cannot be read"),
        (["--features", "nowhere.yaml"], 3, "feature spec nowhere.yaml cannot be read"),
        (["--samples", "nowhere.npz"], 4, "file nowhere.npz does not exist"),
        (["--model", "a/b"], 4, "'a/b' is not a valid model name"),
    ],
)
def test_exit_codes(
    argv: list[str], capsys: pytest.CaptureFixture[str], extra: list[str], code: int, error: str
) -> None:
    assert main([*argv, *extra, "-q"]) == code
    assert error in capsys.readouterr().err
