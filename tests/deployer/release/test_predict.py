"""`predict` through a real gateway: scores, bad records, requests within the limits, and the files it writes."""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as parquet
import pytest
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config, spec
from gateway_target import gateway_target

from deployer.errors import SpecError, UsageError
from deployer.release.predict import Predicted, PredictRequest, format_of, predict, write
from deployer.targets.base import Target

OUTPUT = {"name": "y", "kind": "binary", "labels": ["no", "yes"], "activation": "sigmoid"}


@pytest.fixture(scope="module")
def server() -> Iterator[FakeModelServer]:
    fake = FakeModelServer()
    yield fake
    fake.stop()


@pytest.fixture(scope="module")
def target(server: FakeModelServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    models = {"m": {"labels": {"stable": 1}, "specs": {"1": spec() | {"output": OUTPUT}}}}
    content = config(server.address, limits={"max_records": 10, "max_body_bytes": 1000}, models=models)
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"), content)
    yield gateway_target(process.url, content)
    process.stop()


def records(path: Path, *lines: object) -> Path:
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def ask(target: Target, path: Path, **more: Any) -> Predicted:
    return predict(target, PredictRequest(model="m", records=path, label="stable", **more), lambda _: None)


def test_predictions_have_scores_and_alternatives_in_the_order_of_the_file(
    target: Target, server: FakeModelServer, tmp_path: Path
) -> None:
    lines = [{"record": {"a": (-1) ** n * 0.1, "b": 0}, "expected": "no" if n % 2 else "yes"} for n in range(25)]
    before = len(server.seen)
    found = ask(target, records(tmp_path / "r.jsonl", *lines), batch=1000)
    assert found.accuracy == 1.0
    assert [answer.row for answer in found.answers] == list(range(1, 26))
    first = found.answers[0]
    assert first.prediction == "yes"
    assert first.score is not None
    assert first.score == pytest.approx(0.731, abs=1e-3)
    assert [(one.label, one.score) for one in first.alternatives] == [
        ("yes", first.score), ("no", pytest.approx(1 - first.score))
    ]  # fmt: skip
    assert max(call.rows for call in server.seen[before:]) <= 10, "split by the gateway's limit"


def test_bad_records_are_named_by_their_lines_and_can_be_skipped(target: Target, tmp_path: Path) -> None:
    good = {"record": {"a": 1, "b": 0}}
    path = records(tmp_path / "r.jsonl", good, "", {"record": {"a": "x"}}, good, '{"record": {"a": 1')
    with pytest.raises(SpecError, match=r"r\.jsonl:5: not JSON"):
        ask(target, path)
    found = ask(target, path, skip_bad=True)
    assert [answer.row for answer in found.answers] == [1, 3]
    assert [(bad.row, bad.line) for bad in found.bad] == [(2, 3), (4, 5)]
    assert {problem.feature for problem in found.bad[0].problems} == {"a", "b"}
    with pytest.raises(SpecError) as refused:
        ask(target, records(tmp_path / "r2.jsonl", good, "", {"record": {"a": "x", "b": 1}}))
    assert "refuses 1 of 2 records" in refused.value.message
    assert "line 3: feature 'a'" in refused.value.cause
    assert "--skip-bad" in refused.value.hint
    with pytest.raises(UsageError, match="--skip-bad needs the gateway"):
        ask(target, path, skip_bad=True, direct=True)


def test_a_byte_that_is_not_utf8_and_a_nan_are_named_and_a_byte_order_mark_is_not_in_the_way(
    target: Target, tmp_path: Path
) -> None:
    path = tmp_path / "r.jsonl"
    path.write_bytes(b'\xef\xbb\xbf{"record": {"a": 1, "b": 1}}\n{"record": {"a": "\xe9"}}\n')
    with pytest.raises(SpecError, match="jsonl:2: not UTF-8: byte 0xe9"):
        ask(target, path)
    with pytest.raises(SpecError, match="jsonl:1: not JSON: NaN is not a JSON number"):
        ask(target, records(path, '{"record": {"a": NaN, "b": 1}}'))


def test_records_come_from_standard_input_too(target: Target, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stdin:
        buffer = io.BytesIO(b'{"record": {"a": 1, "b": 1}}\n')

    monkeypatch.setattr(sys, "stdin", Stdin)
    assert len(ask(target, Path("-")).answers) == 1


def read(path: Path) -> list[Any]:
    match path.suffix:
        case ".csv":
            return list(csv.DictReader(io.StringIO(path.read_text())))
        case ".parquet":
            return list(parquet.read_table(path).to_pylist())
        case _:
            return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_the_predictions_are_written_in_the_format_of_the_suffix(target: Target, tmp_path: Path, suffix: str) -> None:
    lines = [{"record": {"a": n, "b": 0}, "expected": "yes"} for n in range(3)]
    found = ask(target, records(tmp_path / "r.jsonl", *lines))
    write(found, tmp_path / f"out.{suffix}")
    rows = read(tmp_path / f"out.{suffix}")
    columns = ["row", "version", "prediction", "score", "alternatives", "expected"]
    assert [list(row) for row in rows] == [columns] * 3
    assert [int(row["row"]) for row in rows] == [1, 2, 3]
    assert [row["prediction"] for row in rows] == ["yes"] * 3
    assert [float(row["score"]) for row in rows] == [answer.score for answer in found.answers]
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"out.{suffix}", "r.jsonl"], "no draft stays"
    with pytest.raises(UsageError, match="known format"):
        format_of(tmp_path / "out.txt")
