"""`deployer features` as a person runs it: a skeleton from data, all problems at once, and proven skew."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
import yaml

from deployer.cli.__main__ import main
from gateway.preprocess import Rates, RateTable, compile_spec
from gateway.spec import parse_spec

SPEC = """features:
  - {name: income, type: float, normalize: {mean: 50, std: 10}}
  - {name: purpose, type: category, vocabulary: [car, home]}
input: {name: x, dtype: float32, shape: [-1, 3]}
output: {name: y, kind: regression}
"""


class Loan(tf.Module):  # type: ignore[misc]  # has no types
    @tf.function(input_signature=[tf.TensorSpec([None, 3], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def serve(self, x: Any) -> Any:
        return {"y": tf.reduce_sum(x, axis=1, keepdims=True), "z": x}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("loan") / "saved"
    module = Loan()
    tf.saved_model.save(module, str(path), signatures={"serving_default": module.serve})
    return path


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    records = [
        {
            "income": 40 + index,
            "purpose": ["car", "home"][index % 2],
            "id": f"user-{index}",
            "at": "2026-01-01T08:00:00Z",
        }
        | ({"debt": index * 0.5} if index % 4 else {})
        for index in range(40)
    ]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return path


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    """The result in JSON."""
    return json.loads(capsys.readouterr().out)["result"]


def test_a_skeleton_has_what_the_data_shows(
    model: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "features.yaml"
    assert main(["features", "init", str(model), "--data", str(rows), "--file", str(file)]) == 0
    text = file.read_text()
    skeleton = yaml.safe_load(text)
    features = {feature["name"]: feature for feature in skeleton["features"]}
    assert features["income"] == {"name": "income", "type": "int", "normalize": {"mean": 59.5, "std": 11.5434}}
    assert features["purpose"]["vocabulary"] == ["car", "home"]
    assert features["at"]["type"] == "timestamp"
    assert features["debt"]["missing"] == {"mean": True, "flag": True}
    assert "25.0% missing" in text
    assert skeleton["ignore"] == ["id"]
    assert skeleton["input"] == {"name": "x", "dtype": "float32", "shape": [-1, 3]}
    assert main(["features", "init", str(model), "--file", str(file)]) == 2, "it is not replaced without --force"
    capsys.readouterr()


def test_a_skeleton_without_data_is_valid_as_it_is(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "features.yaml"
    assert main(["features", "init", str(model), "--file", str(file)]) == 0
    assert [feature.name for feature in parse_spec(file.read_text()).features] == ["x_0", "x_1", "x_2"]
    assert main(["features", "check", str(file), "--model", str(model)]) == 0
    assert capsys.readouterr().out.endswith("no problems\n")


def test_problems_of_signature_currency_and_data_come_together(
    model: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, rates = tmp_path / "features.yaml", tmp_path / "rates.json"
    spec.write_text(
        "features:\n"
        "  - {name: income, type: float, currency: {field: code, to: EUR}}\n"
        "  - {name: purpose, type: category, vocabulary: [car, home]}\n"
        "input: {name: x, dtype: float64, shape: [-1, 3]}\n"
        "output: {name: score, kind: regression}\n"
    )
    rates.write_text('{"base": "USD", "rates": {}}')
    code = main(["features", "check", str(spec), "--model", str(model), "--rates", str(rates), "-o", "json"])
    assert code == 3
    assert told(capsys)["problems"] == [
        "line 4: input.dtype: the spec fills 'x' with float64, the signature takes float32",
        "line 5: output.name: the spec reads 'score', the signature's outputs are 'y', 'z'",
        f"line 2: features: income: currency 'EUR' is not in the rate table {rates}; it has USD",
    ]
    spec.write_text(SPEC + "ignore: [id]\n")
    assert main(["features", "check", str(spec), "--model", str(model), "--data", str(rows), "-o", "json"]) == 3
    result = told(capsys)
    assert (result["rows"], result["bad_rows"]) == (40, 40)
    assert result["problems"][0] == f"{rows}:1: feature 'at': unknown feature 'at'"


def test_every_refused_row_is_found_though_a_response_lists_a_hundred(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, data = tmp_path / "features.yaml", tmp_path / "rows.csv"
    spec.write_text(SPEC)
    lines = [f"{index},{'boat' if index % 2 else 'car'}" for index in range(1500)]
    data.write_text("income,purpose\n" + "\n".join(lines) + "\n")
    assert main(["features", "check", str(spec), "--data", str(data), "-o", "json"]) == 3
    result = told(capsys)
    assert (result["rows"], result["bad_rows"], len(result["problems"])) == (1500, 750, 100)
    assert result["problems"][0] == f"{data}:3: feature 'purpose': unknown category 'boat'; known: car, home"


def test_skew_names_feature_and_rows(rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, expected = tmp_path / "features.yaml", tmp_path / "tensors.npz"
    spec.write_text(SPEC + "extra: ignore\n")
    records = [json.loads(line) for line in rows.read_text().splitlines()]
    tensor = compile_spec(parse_spec(spec.read_text())).vectorize(records)
    check = ["features", "check", str(spec), "--data", str(rows), "--expected", str(expected), "-o", "json"]
    np.savez(expected, x=tensor)
    assert main(check) == 0
    assert told(capsys)["skew"]["max_difference"] == 0
    tensor[[3, 30], 0] += 0.5
    np.savez(expected, x=tensor)
    assert main(check) == 3
    skew = told(capsys)["skew"]
    assert (skew["rows"], skew["differing_rows"], skew["max_difference"]) == (40, 2, 0.5)
    assert {one["feature"]: one["first_rows"] for one in skew["features"]} == {"income": [4, 31], "purpose": []}
    assert main([*check, "--tolerance", "1"]) == 0
    np.savez(expected, x=tensor[:10])
    capsys.readouterr()
    assert main(check) == 3
    assert "--expected has 10 rows of 'x', and --data has 40" in capsys.readouterr().out


def test_text_that_differs_is_skew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec, data, expected = tmp_path / "features.yaml", tmp_path / "rows.jsonl", tmp_path / "tensors.npz"
    spec.write_text(
        "features: [{name: t, type: string, text: {case: lower}}]\n"
        "input: {name: x, dtype: string, shape: [-1, 1]}\noutput: {name: y, kind: raw}\n"
    )
    data.write_text('{"t": "Ab"}\n{"t": "é"}\n')
    check = ["features", "check", str(spec), "--data", str(data), "--expected", str(expected)]
    np.savez(expected, x=np.array([["ab"], ["é"]]))
    assert main(check) == 0
    np.savez(expected, x=np.array([["Ab"], ["é"]]))
    assert main(check) == 3
    assert "x.t: 1 rows, up to inf, first in rows 1" in capsys.readouterr().out


def test_an_export_keeps_the_skew_in_the_manifest_and_refuses_bad_rows(
    model: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, expected, store = tmp_path / "features.yaml", tmp_path / "tensors.npz", tmp_path / "store"
    spec.write_text(SPEC + "extra: ignore\n")
    records = [json.loads(line) for line in rows.read_text().splitlines()]
    tensor = compile_spec(parse_spec(spec.read_text()), Rates(RateTable(base="EUR", rates={}))).vectorize(records)
    np.savez(expected, x=tensor + np.float32(0.25))
    export = ["export", str(model), "--store", str(store), "--model", "loan", "--features", str(spec)]
    assert main([*export, "--data", str(rows), "--expected", str(expected)]) == 0
    manifest = json.loads((store / "loan" / "1" / "assets.extra" / "manifest.json").read_text())
    assert manifest["skew"] == {"rows": 40, "max_difference": pytest.approx(0.25, abs=1e-6)}
    rows.write_text('{"income": "1", "purpose": "car"}\n')
    capsys.readouterr()
    assert main([*export, "--data", str(rows)]) == 3
    assert f"{rows}:1: feature 'income': expected a number, got string" in capsys.readouterr().err
    assert not (store / "loan" / "2").exists()


def test_an_export_takes_the_vocabulary_file_along(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec, store = tmp_path / "features.yaml", tmp_path / "store"
    spec.write_text(
        "features:\n  - {name: a, type: vector, length: 2}\n"
        "  - {name: city, type: category, encoding: index, vocabulary_file: cities.txt, text: {case: lower}}\n"
        "input: {name: x, dtype: float32, shape: [-1, 3]}\noutput: {name: y, kind: regression}\n"
    )
    export = ["export", str(model), "--store", str(store), "--model", "trips", "--features", str(spec)]
    for content, problem in [
        (None, "cities.txt cannot be read"),
        ("oslo\nRome\n", "'Rome' of the vocabulary is never found"),
    ]:
        if content is not None:
            (tmp_path / "cities.txt").write_text(content)
        assert main(export) == 3
        assert f"line 3: {'vocabulary file' if content is None else 'feature'}" in (said := capsys.readouterr().err)
        assert problem in said
    (tmp_path / "cities.txt").write_text("oslo\nrome\n")
    assert main(export) == 0
    assert (store / "trips" / "1" / "assets.extra" / "cities.txt").read_text() == "oslo\nrome\n"
    assert "assets.extra/cities.txt" in json.loads((store / "trips/1/assets.extra/manifest.json").read_text())["files"]


def test_a_skeleton_says_what_to_decide_about_odd_columns(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = tmp_path / "odd.jsonl"
    odd = [
        {"ms": 1_767_225_600_000 + at, "s": 1_767_225_600 + at, "same": 7, "user": {"id": at}, "void": None}
        for at in range(30)
    ]
    rows.write_text("".join(json.dumps(record) + "\n" for record in odd))
    assert main(["features", "init", str(model), "--data", str(rows), "--file", "-"]) == 0
    text = capsys.readouterr().out
    for key, comment in [
        ("ms", "decide: a time? then type: timestamp, format: millis"),
        ("s", "decide: a time? then type: timestamp, format: seconds"),
        ("same", "always 7: decide: leave it out"),
        ("user", "decide: features read keys of the record itself; the data has 30 object"),
        ("void", "decide: nothing to learn from; the data has no value; 100.0% missing"),
    ]:
        (line,) = [line for line in text.splitlines() if f"name: {key}," in line]
        assert comment in line
