"""Several tensors from one record, keys that are left alone, and the sentences of the newer types."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gateway.preprocess import Compiled, Rates, RateTable, compile_spec
from gateway.preprocess.problems import RecordProblems
from gateway.spec import SpecProblem, parse_spec

FRAUD = """
features:
  - {name: amount, type: float, log1p: true, min: 0}
  - {name: clock, type: timestamp, field: at, timezone: Europe/Paris, parts: [hour, weekday]}
  - {name: merchant, type: string, text: {case: lower, strip: true}}
  - {name: tags, type: list, items: {type: category, vocabulary: [web, night]}, missing: {flag: true}}
inputs:
  numbers: {dtype: float64, shape: [-1, 3], features: [clock, amount]}
  words: {dtype: string, shape: [-1], features: [merchant]}
  hot: {dtype: int32, shape: [-1, 3], features: [tags]}
output: {name: b, kind: raw}
ignore: [user_id]
"""


def compiled(*features: str, width: int = 1, dtype: str = "float64", more: str = "") -> Compiled:
    listed = "\n".join(f"  - {{{feature}}}" for feature in features)
    return compile_spec(
        parse_spec(
            f"features:\n{listed}\ninput: {{name: a, dtype: {dtype}, shape: [-1, {width}]}}\n"
            f"output: {{name: b, kind: raw}}\n{more}"
        )
    )


def problems(subject: Compiled, *records: dict[str, object]) -> list[str]:
    with pytest.raises(RecordProblems) as raised:
        subject.tensors(records)
    return [str(problem) for problem in raised.value.problems]


def test_each_input_has_its_own_type_and_shape() -> None:
    tensors = compile_spec(parse_spec(FRAUD)).tensors(
        [
            {"amount": 1, "at": "2026-03-29T00:59:59Z", "merchant": " Shop ", "tags": ["night"], "user_id": {"x": 1}},
            {"amount": 0, "at": "2026-03-29T01:00:00Z", "merchant": "B", "tags": None},
        ]
    )
    assert list(tensors) == ["numbers", "words", "hot"]
    np.testing.assert_array_equal(tensors["numbers"], [[1, 6, math.log(2)], [3, 6, 0]], "the hour that clocks skip")
    assert tensors["words"].tolist() == [b"shop", b"b"]
    assert tensors["hot"].dtype == np.int32
    assert tensors["hot"].tolist() == [[0, 1, 0], [0, 0, 1]]


def test_problems_of_all_inputs_come_at_once() -> None:
    assert problems(
        compile_spec(parse_spec(FRAUD)),
        {"amount": -1, "at": "yesterday", "merchant": 5, "tags": ["wbe", 1], "user": 1},
        {"amount": 1, "at": "2026-02-30T00:00:00Z", "merchant": "a", "tags": "web"},
        {"amount": 1, "at": 5, "merchant": "a"},
    ) == [
        "record 0: feature 'amount': -1 is below min 0",
        "record 0: feature 'at': expected a time such as 2026-01-31T08:30:00Z (RFC 3339), got 'yesterday'",
        "record 0: feature 'merchant': expected a string, got number",
        "record 0: feature 'tags': element 1: expected a string, got number",
        "record 0: feature 'tags': element 0: unknown category 'wbe'; known: web, night",
        "record 0: feature 'user': unknown feature 'user'",
        "record 1: feature 'at': there is no time '2026-02-30T00:00:00Z'",
        "record 1: feature 'tags': expected an array, got string",
        "record 2: feature 'at': expected a time as text (RFC 3339), got number",
    ]


def test_the_one_tensor_of_a_spec_with_several_inputs_is_refused() -> None:
    with pytest.raises(ValueError, match="the spec has 3 inputs"):
        compile_spec(parse_spec(FRAUD)).vectorize([{}])


def test_unknown_keys_are_left_alone_where_the_spec_says_so() -> None:
    assert compiled("name: x, type: float", more="extra: ignore").vectorize([{"x": 1, "y": 2}]).tolist() == [[1]]
    only = compiled("name: x, type: float", more="ignore: [y]")
    assert only.vectorize([{"x": 1, "y": 2}, {"x": 3}]).tolist() == [[1], [3]]
    assert problems(only, {"x": 1, "z": 2}) == ["record 0: feature 'z': unknown feature 'z'"]


def test_a_key_that_two_features_read_is_reported_once() -> None:
    twice = compiled("name: a, type: float, field: x, min: 0", "name: b, type: float, field: x, log1p: true, min: 0",
                     width=2)  # fmt: skip
    assert twice.vectorize([{"x": 1}]).tolist() == [[1, math.log1p(1)]]
    assert problems(twice, {"x": "1"}) == ["record 0: feature 'x': expected a number, got string"]


def test_missing_values() -> None:
    income = compiled(
        "name: income, type: float, min: 5, normalize: {mean: 10, std: 2}, missing: {mean: true, flag: true}",
        "name: age, type: int, min: 18, required: true, missing: {flag: true}",
        "name: city, type: category, vocabulary: [a, b], missing: {value: b}",
        width=6,
    )
    assert income.vectorize([{"income": 12, "age": 20, "city": "a"}, {"age": None}]).tolist() == [
        [1, 0, 20, 0, 1, 0],
        [0, 1, 0, 1, 0, 1],
    ]
    assert problems(income, {"income": None, "city": None}, {"income": 1, "age": 20}) == [
        "record 0: feature 'age': missing required feature",
        "record 1: feature 'income': 1 is below min 5",
    ]


def test_missing_values_of_amounts_in_one_currency() -> None:
    spec = parse_spec(
        "features:\n"
        "  - {name: income, type: float, currency: {field: code, to: USD}, missing: {value: 7}}\n"
        "  - {name: debt, type: float, currency: {field: code, to: USD}, missing: {value: 9}}\n"
        "input: {name: a, dtype: float64, shape: [-1, 2]}\noutput: {name: b, kind: raw}\n"
    )
    subject = compile_spec(spec, Rates(RateTable(base="USD", rates={"EUR": 0.5})))
    records: list[dict[str, object]] = [{"code": "EUR", "debt": 1}, {"income": 1, "code": "EUR", "debt": None}, {}]
    assert subject.vectorize(records).tolist() == [[7, 2], [2, 9], [7, 9]]


def test_words_are_found_in_any_unicode_form() -> None:
    shop = compiled("name: shop, type: category, vocabulary: [café, bar], text: {unicode: NFC, case: lower}", width=2)
    assert shop.vectorize([{"shop": word} for word in ("café", "cafe\u0301", "CAFE\u0301", "Bar")]).tolist() == [
        [1, 0], [1, 0], [1, 0], [0, 1]
    ]  # fmt: skip
    assert problems(shop, {"shop": "cafe"}) == ["record 0: feature 'shop': unknown category 'cafe'; known: café, bar"]


def test_ratio_and_difference() -> None:
    both = compiled("name: load, type: ratio, of: [debt, income], max: 2", "name: left, type: difference, "
                    "of: [income, debt]", width=2)  # fmt: skip
    assert both.vectorize([{"debt": 1, "income": 4}]).tolist() == [[0.25, 3]]
    assert problems(both, {"debt": 1, "income": 0}, {"debt": 9, "income": 3}, {"debt": "1", "income": 1}) == [
        "record 0: feature 'income': 0, and load divides by it",
        "record 1: feature 'load': 3 is above max 2",
        "record 2: feature 'debt': expected a number, got string",
    ]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("1970-01-01T00:00:01Z", 1),
        ("1970-01-01t01:00:00.5+01:00", 0.5),
        ("1970-01-01 00:00:00.1234567z", 0.123456),
        ("2016-12-31T23:59:60Z", 1483228800),
        ("0001-01-01T00:00:00Z", -62135596800),
    ],
)
def test_every_form_of_rfc_3339(value: str, seconds: float) -> None:
    assert compiled("name: at, type: timestamp, parts: [epoch]").vectorize([{"at": value}]).tolist() == [[seconds]]


@pytest.mark.parametrize(
    "value", ["2026-01-01", "20260101T000000Z", "2026-W01-1T00:00:00Z", "2026-01-01T00:00:00", "2026-01-01T24:00:00Z",
              "0000-01-01T00:00:00Z", "2026-01-01T00:00:00+25:00", "٢٠٢٦-01-01T00:00:00Z", ""],
)  # fmt: skip
def test_what_is_no_time_in_rfc_3339(value: str) -> None:
    (problem,) = problems(compiled("name: at, type: timestamp, parts: [epoch]"), {"at": value})
    assert problem.startswith(("record 0: feature 'at': expected a time", "record 0: feature 'at': there is no time"))


def test_ages_come_from_the_clock() -> None:
    spec = parse_spec(
        "features: [{name: at, type: timestamp, format: millis, parts: [age], log1p: true, clip: {min: 0}}]\n"
        "input: {name: a, dtype: float64, shape: [-1, 1]}\noutput: {name: b, kind: raw}"
    )
    subject = compile_spec(spec, now=lambda: 100.0)
    assert subject.vectorize([{"at": 1000}, {"at": 200_000}]).tolist() == [[math.log1p(99)], [0]]


def test_a_pad_that_the_tensor_cannot_hold_is_refused() -> None:
    with pytest.raises(ValueError, match="feature 'x': pad -1 does not fit uint8"):
        compiled("name: x, type: list, length: 2, pad: -1, items: {type: category, vocabulary: [a], encoding: index}",
                 width=2, dtype="uint8")  # fmt: skip


def test_a_mean_that_is_no_whole_number_stands_in_for_whole_numbers() -> None:
    features = ["name: n, type: int, clip: {max: 1}, normalize: {mean: 1.5, std: 2}, missing: {mean: true, flag: true}",
                "name: m, type: int, log1p: true, min: 0, missing: {value: 2.5}"]  # fmt: skip
    subject = compiled(*features, width=3)
    tensor = subject.vectorize([{}, {"n": 1, "m": 3}, {"n": None}])
    gap = [-0.25, 1, math.log1p(2.5)]
    np.testing.assert_array_equal(tensor, [gap, [-0.25, 0, math.log1p(3)], gap])


@pytest.mark.parametrize(
    ("feature", "value", "told"),
    [
        ("type: timestamp, format: seconds, parts: [hour]", 1767225600123, "format: millis reads milliseconds"),
        ("type: int", float("nan"), "NaN is not a number here"),
        ("type: float, field: x", {"age": 1}, "expected a number, got object"),
    ],
)
def test_the_sentence_names_the_remedy(feature: str, value: object, told: str) -> None:
    (problem,) = problems(compiled(f"name: x, {feature}"), {"x": value})
    assert told in problem


def test_nested_records_are_told_that_records_are_flat() -> None:
    told = problems(compiled("name: user.age, type: int"), {"user": {"age": 3}})
    assert told[1].endswith("unknown feature 'user'; it is an object, and features read keys of the record itself")


@pytest.mark.parametrize(("dtype", "fits"), [("float16", 65504.0), ("float32", 3.4028234663852886e38)])
def test_the_largest_number_of_a_type_fits(dtype: str, fits: float) -> None:
    subject = compiled("name: x, type: float", dtype=dtype)
    assert subject.vectorize([{"x": fits}, {"x": -fits}]).tolist() == [[fits], [-fits]]
    assert problems(subject, {"x": fits * 1.001})


@pytest.mark.parametrize(
    ("parts", "dtype"), [("[hour, year]", "uint8"), ("[day, day_of_year]", "int8"), ("[hour, epoch]", "float16")]
)
def test_parts_that_the_tensor_cannot_hold_are_refused(parts: str, dtype: str) -> None:
    with pytest.raises(SpecProblem, match=f"gives numbers up to .*, {dtype} holds"):
        compiled(f"name: x, type: timestamp, parts: {parts}", width=2, dtype=dtype)
