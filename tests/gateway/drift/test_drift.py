"""Records counted into bins: what is counted of each type, and how many are counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deployer.models.features.training import statistics
from gateway.drift import Drift, Watch
from gateway.drift.live import RECORDS_A_SECOND, TOGETHER
from gateway.postprocess.predictions import Alternative, LabelPrediction
from gateway.preprocess import Rates, RateTable, compile_spec
from gateway.spec import SpecProblem, parse_spec
from gateway.spec.statistics import with_statistics

SPEC = """features:
  - {name: a, type: float, missing: {value: 0}}
  - {name: price, type: float, currency: {field: unit, to: USD}}
  - {name: word, type: category, vocabulary: [x, y], unknown: x, text: {case: lower}, missing: {value: x}}
  - {name: flag, type: bool}
  - {name: v, type: vector, length: 2}
  - {name: l, type: list, length: 2, items: {type: number}, truncate: end}
input: {name: i, dtype: float32, shape: [-1, 9]}
output: {name: o, kind: binary, labels: ["no", "yes"]}
"""
STATISTICS = """{"records": 9, "features": [
  {"name": "a", "edges": [0, 10], "counts": [3, 3, 3]},
  {"name": "price", "edges": [10], "counts": [5, 4]},
  {"name": "word", "words": ["x"], "counts": [5, 2], "missing": 2},
  {"name": "flag", "words": ["true", "false"], "counts": [5, 4, 0]},
  {"name": "v", "edges": [2], "counts": [5, 4]},
  {"name": "l", "edges": [1.5], "counts": [5, 4]}],
 "scores": [{"name": "score", "edges": [0.5], "counts": [5, 4]}]}"""
RECORDS: list[dict[str, object]] = [
    {"a": -1, "price": 9, "unit": "USD", "word": "X", "flag": True, "v": [1, 2], "l": [1, 2, 3]},
    {"a": 0, "price": 9, "unit": "EUR", "word": "y", "flag": False, "v": [3, 2], "l": [1]},
    {"a": None, "price": 90, "unit": "EUR", "word": "z", "flag": False, "v": [3, 2], "l": []},
    {"price": 90, "unit": "USD", "word": None, "flag": False, "v": [3, 2], "l": []},
]


@pytest.fixture
def watch() -> Watch:
    spec = parse_spec(with_statistics(SPEC, STATISTICS))
    assert spec.statistics is not None
    rates = Rates(RateTable(base="USD", rates={"EUR": 0.5}))
    compile_spec(spec, rates).tensors(RECORDS)
    return Watch(spec, spec.statistics, rates)


def said(score: float) -> LabelPrediction:
    pairs = [Alternative("no", 1 - score), Alternative("yes", score)]
    return LabelPrediction("yes", "high", score, pairs)


def test_words_outside_a_vocabulary_file_are_unknown_live_and_in_training(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("x\ny\nw\n")
    text = """features: [{name: word, type: category, vocabulary_file: words.txt, encoding: index, unknown: x}]
input: {name: i, dtype: int64, shape: [-1, 1]}
output: {name: o, kind: regression}
"""
    (tmp_path / "features.yaml").write_text(text)
    (tmp_path / "rows.jsonl").write_text("".join(f'{{"word": "{word}"}}\n' for word in "xxyqq"))
    trained = statistics(
        tmp_path / "features.yaml",
        [str(tmp_path / "rows.jsonl")],
        None,
        lambda tensors: {"o": np.zeros(len(tensors["i"]), np.float32)},
    )
    (words,) = trained.features
    assert (words.words, words.counts, words.unknown) == (["x", "y"], [2, 1, 0], 2)

    spec = parse_spec(text)
    watch = Watch(spec, trained, None, tmp_path)
    records = [{"word": word} for word in ("x", "w", "z", "z", "z")]
    counted = {one.name: row.tolist() for kind, one, row in watch.count(records, [], spec.output) if kind == "feature"}
    assert counted["word"] == [1, 0, 1, 0, 3], "x, y, other known words, missing, unknown"


def test_each_type_is_counted_as_it_comes(watch: Watch) -> None:
    output = parse_spec(SPEC).output
    found = {one.name: row.tolist() for _, one, row in watch.count(RECORDS, [said(0.2), said(0.9)] * 2, output)}
    assert found == {
        "a": [1, 1, 0, 2, 0],
        "price": [1, 3, 0, 0],
        "word": [1, 1, 1, 1],
        "flag": [1, 3, 0, 0, 0],
        "v": [1, 3, 0, 0],
        "l": [3, 1, 0, 0],
        "score": [2, 2, 0, 0],
    }


def test_records_are_counted_together_and_sampled_above_a_rate(watch: Watch) -> None:
    now = [0.0]
    drift = Drift(time=lambda: now[0], chance=np.random.default_rng(1).random)
    output, watches = parse_spec(SPEC).output, {1: watch}

    def total() -> float:
        return sum(value for labels, value in drift.read().items() if labels[5] == "a")

    drift.take("m", 1, "stable", RECORDS, [said(0.5)] * 4, watches, output)
    assert total() == 4
    for _ in range(TOGETHER):
        drift.take("m", 1, "stable", RECORDS[:1], [said(0.5)], watches, output)
    assert total() == 4 + TOGETHER
    drift.take("m", 1, "stable", RECORDS * 1000, [said(0.5)] * 4000, watches, output)
    assert total() == RECORDS_A_SECOND
    bins = {labels[-1]: value for labels, value in drift.read().items() if labels[5] == "a"}
    assert bins["missing"] == pytest.approx((RECORDS_A_SECOND - TOGETHER) / 2, rel=0.2)
    drift.take("m", 1, "stable", RECORDS, [said(0.5)] * 4, watches, output)
    assert total() == RECORDS_A_SECOND
    now[0] = 1.0
    drift.take("m", 1, "stable", RECORDS, [said(0.5)] * 4, watches, output)
    assert total() == RECORDS_A_SECOND + 4
    drift.keep([("m", 2)])
    assert total() == 0


def test_records_of_another_version_are_counted_as_far_as_they_can_be(watch: Watch) -> None:
    output = parse_spec(SPEC).output
    strange: list[dict[str, object]] = [{**RECORDS[0], "a": "text", "v": None}]
    found = {one.name for _, one, _ in watch.count(strange, [said(0.5)], output)}
    assert found == {"price", "word", "flag", "v", "l", "score"}


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ('{"records": 1, "features": [{"name": "a", "edges": [1], "counts": [1]}]}', "1 bounds need 2 counts"),
        (
            '{"records": 1, "features": [{"name": "a", "edges": [2, 1], "counts": [1, 0, 0]}]}',
            "must be finite and rise",
        ),
        ('{"records": 1, "features": [{"name": "a", "counts": [1]}]}', "exactly one of edges and words"),
        ('{"records": 1, "features": [{"name": "a", "words": ["x", "x"], "counts": [1, 0, 0]}]}', "must be unique"),
    ],
)
def test_statistics_that_make_no_sense_are_refused(wrong: str, told: str) -> None:
    with pytest.raises(SpecProblem, match=told):
        parse_spec(with_statistics(SPEC, wrong))


def test_statistics_join_a_spec_in_any_style() -> None:
    flow = "{features: [{name: a, type: float}], input: {name: i, dtype: float32, shape: [-1, 1]}, " + (
        "output: {name: o, kind: raw}}"
    )
    found = parse_spec(with_statistics(flow, STATISTICS)).statistics
    assert found is not None
    assert found == parse_spec(with_statistics(SPEC, STATISTICS)).statistics
    assert with_statistics(SPEC, None) == SPEC
