"""Outputs into answers: labels and scores, values, rows; and outputs that do not fit their spec."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gateway.postprocess.interpret import SMALL, Array, Interpreter, OutputProblem
from gateway.spec import SpecProblem, parse_spec

LOAN = "kind: classification, labels: [deny, approve, ask]"


def answers(output: str, tensor: Array) -> list[dict[str, Any]]:
    """What a client reads, through JSON."""
    predictions = interpreter(output).interpret({"b": tensor, "other": np.zeros(1)})
    decoded = json.loads(msgspec.json.encode(predictions))
    assert isinstance(decoded, list)
    return decoded


def interpreter(output: str) -> Interpreter:
    spec = parse_spec(
        "features: [{name: x, type: float}]\ninput: {name: a, dtype: float32, shape: [-1, 1]}\n"
        f"output: {{name: b, {output}}}\n"
    )
    return Interpreter(spec.output)


def test_probabilities_as_they_are() -> None:
    tensor = np.array([[0.05, 0.91, 0.04], [0.5, 0.3, 0.2], [0.34, 0.33, 0.33]], dtype=np.float32)
    first, second, third = answers(f"{LOAN}, top_k: 2", tensor)
    assert first == {
        "top_prediction": "approve",
        "confidence": "high",
        "score": 0.91,
        "alternatives": [{"label": "approve", "score": 0.91}, {"label": "deny", "score": 0.05}],
    }
    assert second["confidence"] == "medium"
    assert third["confidence"] == "low"


def test_softmax_of_logits_that_would_overflow() -> None:
    (answer,) = answers(f"{LOAN}, activation: softmax", np.array([[1000, 1000 + math.log(3), -1000]]))
    assert answer == {
        "top_prediction": "approve",
        "confidence": "medium",
        "score": 0.75,
        "alternatives": [
            {"label": "approve", "score": 0.75},
            {"label": "deny", "score": 0.25},
            {"label": "ask", "score": 0.0},
        ],
    }


def test_sigmoid_scores_each_label_alone() -> None:
    (answer,) = answers(f"{LOAN}, activation: sigmoid", np.array([[0, math.log(3), -1e6]]))
    assert [entry["score"] for entry in answer["alternatives"]] == [0.75, 0.5, 0.0]


def test_equal_scores_keep_the_order_of_the_labels_and_five_are_reported() -> None:
    output = "kind: classification, labels: [a, b, c, d, e, f, g]"
    (answer,) = answers(output, np.full((1, 7), 0.1))
    assert [entry["label"] for entry in answer["alternatives"]] == ["a", "b", "c", "d", "e"]


@pytest.mark.parametrize("shape", [(3,), (3, 1)])
def test_binary_chooses_by_the_threshold(shape: tuple[int, ...]) -> None:
    tensor = np.array([0.25, 0.125, 0.9], dtype=np.float32).reshape(shape)
    output = "kind: binary, labels: [benign, malignant], threshold: 0.25, confidence: {high: 0.85, medium: 0.5}"
    told = [(a["top_prediction"], a["confidence"], a["score"]) for a in answers(output, tensor)]
    assert told == [("malignant", "low", 0.25), ("benign", "high", 0.875), ("malignant", "high", 0.9)]


def test_binary_from_logits_tells_both_labels() -> None:
    (answer,) = answers("kind: binary, labels: [n, y], activation: sigmoid", np.array([[-math.log(3)]]))
    assert answer["alternatives"] == [{"label": "n", "score": 0.75}, {"label": "y", "score": 0.25}]


def test_regression_returns_to_the_unit_of_the_target() -> None:
    assert answers("kind: regression, scale: 10, offset: 200", np.array([[1.5], [-2]])) == [
        {"value": 215},
        {"value": 180},
    ]


def test_raw_rows() -> None:
    assert answers("kind: raw", np.array([[1, 2], [3, 4]])) == [{"values": [1, 2]}, {"values": [3, 4]}]
    assert answers("kind: raw", np.array([["é".encode(), b"\xff"]], dtype=object)) == [
        {"values": ["é", {"b64": "/w=="}]}
    ]
    assert answers("kind: raw", np.array([True, False])) == [{"values": True}, {"values": False}]


def test_nan_and_infinity_are_null_and_leave_the_other_rows_alone() -> None:
    undecided: dict[str, object] = {"top_prediction": None, "confidence": None, "score": None, "alternatives": []}
    tensor = np.array([[math.nan, 0, 1], [0, math.inf, 0], [0, 0, 1]])
    first, second, third = answers(f"{LOAN}, activation: softmax", tensor)
    assert first == second == undecided
    assert third["top_prediction"] == "ask"
    assert answers("kind: binary, labels: [n, y]", np.array([math.nan, 1.0]))[0] == undecided
    assert answers("kind: regression", np.array([math.inf, 1])) == [{"value": None}, {"value": 1}]
    assert answers("kind: raw", np.array([[math.nan, 1]])) == [{"values": [None, 1]}]


@pytest.mark.parametrize(
    ("output", "tensor", "message"),
    [
        (LOAN, np.zeros((2, 4)), "output 'b' is float64 [2, 4], the spec reads float scores for 3 labels"),
        (LOAN, np.zeros(3), "output 'b' is float64 [3], the spec reads float scores for 3 labels"),
        (LOAN, np.zeros((2, 3), np.int32), "output 'b' is int32 [2, 3], the spec reads float scores for 3 labels"),
        ("kind: regression", np.zeros((2, 2)), "output 'b' is float64 [2, 2], the spec reads one float per record"),
        ("kind: raw", np.zeros(()), "output 'b' is float64 [], which has no rows for JSON"),
        ("kind: raw", np.zeros(2, complex), "output 'b' is complex128 [2], which has no rows for JSON"),
    ],
)
def test_an_output_that_does_not_fit_is_reported(output: str, tensor: Array, message: str) -> None:
    with pytest.raises(OutputProblem) as raised:
        interpreter(output).interpret({"b": tensor})
    assert str(raised.value) == message


def test_an_absent_output_is_reported() -> None:
    with pytest.raises(OutputProblem, match="output 'b' is absent, the model gave x, y"):
        interpreter("kind: raw").interpret({"y": np.zeros(1), "x": np.zeros(1)})


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(0, 4), st.just(3)), elements=st.floats(width=32)),
    st.sampled_from(["softmax", "sigmoid"]),
)
def test_any_logits_give_predictions_in_order(tensor: Array, activation: str) -> None:
    told = answers(f"{LOAN}, activation: {activation}", tensor)
    assert len(told) == len(tensor)
    for answer, row in zip(told, tensor, strict=True):
        scores = [entry["score"] for entry in answer["alternatives"]]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) == (3 if np.isfinite(row).all() else 0)
        assert all(0 <= score <= 1 for score in scores)


@given(
    hnp.arrays(np.float32, st.tuples(st.integers(1, 4), st.just(3)), elements=st.floats(-50, 50, width=32)),
    st.sampled_from(["softmax", "sigmoid", "none"]),
)
def test_few_rows_are_read_as_many_are(tensor: Array, activation: str) -> None:
    output = f"{LOAN}, activation: {activation}"
    many = answers(output, np.concatenate([tensor, np.zeros((SMALL, 3), np.float32)]))
    for one, other in zip(answers(output, tensor), many, strict=False):
        alone, among = ([entry["score"] for entry in a["alternatives"]] for a in (one, other))
        assert alone == pytest.approx(among, abs=2e-6)


def judged(output: str, *rows: float | list[float]) -> list[tuple[object, object, object]]:
    """What the model said, the calibrated score and the decision, of each row."""
    told = json.loads(msgspec.json.encode(interpreter(output).interpret({"b": np.array(rows, dtype=np.float64)})))
    return [(one.get("top_prediction", one.get("value")), one.get("calibrated"), one.get("decision")) for one in told]


def test_a_binary_prediction_is_decided_by_ranges_of_the_calibrated_probability() -> None:
    rules = (
        "kind: binary, labels: [honest, fraud], "
        "calibration: {isotonic: {scores: [0, 0.5, 1], probabilities: [0, 0.2, 1]}}, "
        "decision: {ranges: [{below: 0.1, decision: accept}, {below: 0.6, decision: review}, {decision: block}]}"
    )
    assert judged(rules, 0.1, 0.25, 0.5, 0.75, 0.9, math.nan) == [
        ("honest", 0.96, "accept"), ("honest", 0.9, "review"), ("fraud", 0.2, "review"), ("fraud", 0.6, "block"),
        ("fraud", 0.84, "block"), (None, None, None),
    ]  # fmt: skip


def test_abstaining_looks_at_the_score_of_the_label() -> None:
    rules = "kind: binary, labels: [no way, sure], decision: {abstain: {below: 0.8, decision: ask}}"
    assert judged(rules, 0.1, 0.3, 0.79, 0.8) == [
        ("no way", None, "no way"), ("no way", None, "ask"), ("sure", None, "ask"), ("sure", None, "sure")
    ]  # fmt: skip


def test_a_label_needs_its_threshold() -> None:
    rules = (
        "kind: classification, labels: [a, b, c], top_k: 1, "
        "decision: {thresholds: {a: 0.7, c: 0.3}, abstain: {below: 0.15, decision: ask}}"
    )
    rows = [[0.6, 0.3, 0.1], [0.7, 0.2, 0.1], [0.6, 0.1, 0.3], [0.6, 0.1, 0.2], [math.inf, 0, 0]]
    assert judged(rules, *rows) == [
        ("a", None, "b"), ("a", None, "a"), ("a", None, "c"), ("a", None, "ask"), (None, None, None)
    ]  # fmt: skip
    every = "kind: classification, labels: [a, b], decision: {thresholds: {a: 0.7, b: 0.7}}"
    assert judged(every, [0.5, 0.5]) == [("a", None, None)]


def test_platt_is_a_logistic_curve_over_the_score_after_activation() -> None:
    rules = "kind: binary, labels: [x, y], activation: sigmoid, calibration: {platt: {slope: 2, intercept: -1}}"
    assert judged(rules, 0.0, 100.0) == [("y", 0.5, None), ("y", round(1 / (1 + math.exp(-1)), 6), None)]


def test_a_value_is_decided_by_its_range() -> None:
    rules = "kind: regression, scale: 10, decision: {ranges: [{below: 5, decision: low}, {decision: high}]}"
    assert judged(rules, 0.4, 0.5, math.nan) == [(4.0, None, "low"), (5.0, None, "high"), (None, None, None)]


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("kind: regression, decision: {abstain: 1}", "output.decision: unknown key 'abstain'; known: ranges"),
        ("kind: binary, labels: [a, b], decision: {ranges: [{decision: x}, {decision: y}]}",
         "output.decision: ranges: every range but the last has below, and the last one has not"),
        ("kind: binary, labels: [a, b], calibration: {}",
         "output.calibration: calibration needs exactly one of platt and isotonic"),
        ("kind: binary, labels: [a, b], calibration: {isotonic: {scores: [1, 0], probabilities: [0, 1]}}",
         "output.calibration.isotonic: scores: 1 must be below the next one, 0"),
        ("kind: classification, labels: [a, b], decision: {thresholds: {c: 1}}",
         "output: decision.thresholds: 'c' is not among the labels a, b"),
    ],
)  # fmt: skip
def test_rules_that_contradict(output: str, message: str) -> None:
    with pytest.raises(SpecProblem) as raised:
        interpreter(output)
    assert str(raised.value) == message
