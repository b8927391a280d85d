"""Records into tensors: the numbers, and the sentence for every record that cannot become one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from zlib import crc32

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.preprocess import Compiled, RateProblem, Rates, RateTable, compile_spec
from gateway.preprocess.problems import SHOWN_MAX, RecordProblems
from gateway.spec import SpecProblem, parse_spec

RATES = RateTable(base="USD", rates={"EUR": 0.5, "JPY": 100.0})


def compiled(*features: str, width: int | None = None, dtype: str = "float32", rates: Rates | None = None) -> Compiled:
    listed = "\n".join(f"  - {{{feature}}}" for feature in features)
    return compile_spec(
        parse_spec(
            f"features:\n{listed}\n"
            f"input: {{name: a, dtype: {dtype}, shape: [-1, {len(features) if width is None else width}]}}\n"
            "output: {name: b, kind: raw}\n"
        ),
        rates,
    )


def problems(compiled: Compiled, *records: object) -> list[str]:
    with pytest.raises(RecordProblems) as raised:
        compiled.vectorize(records)  # type: ignore[arg-type]  # some are no records on purpose
    assert raised.value.total == len(raised.value.problems)
    return [str(problem) for problem in raised.value.problems]


def test_columns_stand_in_the_order_of_the_features() -> None:
    loan = compiled(
        "name: purpose, type: category, vocabulary: [car, home, other], unknown: other",
        "name: income, type: float, normalize: {mean: 100, std: 50}",
        "name: age, type: int, min_max: {min: 20, max: 70}",
        "name: owner, type: bool, default: true",
        "name: debt, type: float, log1p: true, min: 0, clip: {max: 9}",
        width=7,
    )
    tensor = loan.vectorize(
        [
            {"purpose": "home", "income": 150, "age": 45, "owner": False, "debt": 0.0},
            {"debt": 1e9, "age": 20.0, "income": 0.0, "purpose": "boat"},
        ]
    )
    assert tensor.dtype == np.float32
    expected = [[0, 1, 0, 1, 0.5, 0, 0], [0, 0, 1, -2, 0, 1, math.log(10)]]
    np.testing.assert_allclose(tensor, expected, rtol=1e-6)


def test_the_tensor_has_the_shape_of_the_signature() -> None:
    assert compiled("name: x, type: float").vectorize([]).shape == (0, 1)
    matrix = compile_spec(
        parse_spec(
            "features: [{name: x, type: vector, length: 6}]\n"
            "input: {name: a, dtype: float64, shape: [-1, 2, 3]}\noutput: {name: b, kind: raw}"
        )
    )
    assert matrix.vectorize([{"x": [1, 2, 3, 4, 5, 6.5]}]).tolist() == [[[1, 2, 3], [4, 5, 6.5]]]


def test_whole_numbers_stay_exact_in_integer_tensors() -> None:
    ids = compiled("name: id, type: int, clip: {min: 0}", dtype="int64")
    assert ids.vectorize([{"id": 2**63 - 1}, {"id": -5}]).tolist() == [[2**63 - 1], [0]]
    small = compiled("name: id, type: int", dtype="int8")
    assert problems(small, {"id": 200}) == ["record 0: feature 'id': 200 does not fit int8"]


def test_index_and_hash_bucket() -> None:
    words = compiled(
        "name: size, type: category, vocabulary: [s, m, l], encoding: index",
        "name: city, type: category, encoding: hash_bucket, buckets: 1000",
        dtype="int32",
    )
    assert words.vectorize([{"size": "l", "city": "Zürich"}]).tolist() == [[2, crc32("Zürich".encode()) % 1000]]


def test_strings_travel_as_utf8() -> None:
    text = compiled("name: text, type: string", "name: lang, type: string, default: en", dtype="string")
    assert text.vectorize([{"text": "été"}]).tolist() == [["été".encode(), b"en"]]
    assert problems(text, {"text": "\ud800"}, {"text": 3}) == [
        "record 0: feature 'text': not valid Unicode text: it has half of a surrogate pair",
        "record 1: feature 'text': expected a string, got number",
    ]


def test_bools_in_a_bool_tensor() -> None:
    assert compiled("name: x, type: bool", dtype="bool").vectorize([{"x": True}, {"x": False}]).tolist() == [
        [True],
        [False],
    ]


def test_every_problem_of_every_record_is_reported_at_once() -> None:
    loan = compiled(
        "name: income, type: float, min: 0, max: 1.5e6",
        "name: age, type: int",
        "name: purpose, type: category, vocabulary: [car, home]",
        "name: owner, type: bool",
        width=5,
    )
    good = {"income": 5, "age": 3, "purpose": "car", "owner": True}
    assert problems(
        loan,
        good,
        {**good, "income": "12", "age": 1.5, "purpose": "boat", "owner": 1},
        {"incom": 1, "age": 3, "purpose": "car", "owner": True},
        {**good, "income": -0.5, "age": None},
        {**good, "income": 2e6, "age": 2**70, "purpose": ["car"]},
        {**good, "income": math.nan},
        {**good, "income": -math.inf},
        {**good, "income": True},
        {**good, "age": "x", "income": 10**400},
    ) == [
        "record 1: feature 'income': expected a number, got string",
        "record 1: feature 'age': expected a whole number, got 1.5",
        "record 1: feature 'purpose': unknown category 'boat'; known: car, home",
        "record 1: feature 'owner': expected true or false, got number",
        "record 2: feature 'income': missing required feature",
        "record 2: feature 'incom': unknown feature 'incom'; did you mean 'income'?",
        "record 3: feature 'income': -0.5 is below min 0",
        "record 3: feature 'age': expected a whole number, got null",
        "record 4: feature 'income': 2000000 is above max 1500000",
        "record 4: feature 'age': too large for int64",
        "record 4: feature 'purpose': expected a string, got array",
        "record 5: feature 'income': NaN is not a number here",
        "record 6: feature 'income': Infinity is not a number here",
        "record 7: feature 'income': expected a number, got boolean",
        "record 8: feature 'income': too large for float32",
        "record 8: feature 'age': expected a whole number, got string",
    ]


def test_an_unknown_word_is_reported_next_to_words_of_the_wrong_type() -> None:
    purpose = compiled("name: purpose, type: category, vocabulary: [car, home]", width=2)
    assert problems(purpose, {"purpose": "boat"}, {"purpose": 1}, {}) == [
        "record 0: feature 'purpose': unknown category 'boat'; known: car, home",
        "record 1: feature 'purpose': expected a string, got number",
        "record 2: feature 'purpose': missing required feature",
    ]


def test_records_that_are_no_objects() -> None:
    assert problems(compiled("name: x, type: float"), {"x": 1}, 5, None) == [
        "record 1: expected an object, got number",
        "record 2: expected an object, got null",
    ]


def test_vectors_name_the_element() -> None:
    vector = compiled("name: v, type: vector, length: 3, min: 0, normalize: {mean: 1, std: 2}", width=3)
    assert vector.vectorize([{"v": [1, 3, 5.0]}]).tolist() == [[0, 1, 2]]
    assert problems(vector, {"v": [1, "2", 3]}, {"v": [1, 2]}, {"v": 5}, {}, {"v": [0, -1, math.nan]}) == [
        "record 0: feature 'v': element 1: expected a number, got string",
        "record 1: feature 'v': expected 3 numbers, got 2",
        "record 2: feature 'v': expected an array of 3 numbers, got number",
        "record 3: feature 'v': missing required feature",
        "record 4: feature 'v': element 1: -1 is below min 0",
        "record 4: feature 'v': element 2: NaN is not a number here",
    ]


def test_many_problems_are_counted_and_the_first_hundred_are_reported() -> None:
    floats = compiled("name: x, type: float", "name: y, type: float")
    with pytest.raises(RecordProblems) as raised:
        floats.vectorize([{"x": "a", "y": None, f"z{index}": 1} for index in range(5000)])
    assert raised.value.total == 15000
    assert len(raised.value.problems) == SHOWN_MAX
    assert [problem.record for problem in raised.value.problems[:4]] == [0, 0, 0, 1]
    assert str(raised.value) == "record 0: feature 'x': expected a number, got string (and 14999 more)"


def test_a_long_value_is_not_repeated_in_full() -> None:
    purpose = compiled("name: purpose, type: category, vocabulary: [car, home]", width=2)
    (problem,) = problems(purpose, {"purpose": "x" * 100_000})
    assert len(problem) < 200


def test_a_tensor_that_cannot_be_carried_is_refused_before_it_is_made() -> None:
    vector = compiled("name: v, type: vector, length: 100000", width=100_000)
    assert problems(vector, *[{}] * 3000) == ["record 2684: too many records; one request to this model holds 2684"]


@pytest.mark.parametrize(
    ("feature", "dtype", "value", "fits"),
    [
        ("type: float", "float32", 3.3e38, True),
        ("type: float", "float32", 3.5e38, False),
        ("type: float, normalize: {mean: 0, std: 0.001}", "float32", 1e37, False),
        ("type: float, clip: {max: 10}", "float32", 1e300, True),
        ("type: int", "float16", 70_000, False),
        ("type: int, min_max: {min: 0, max: 1000000}", "float16", 70_000, True),
        ("type: float, log1p: true, min: 0", "float16", 1e300, True),
    ],
)
def test_a_number_that_would_overflow_the_tensor_is_refused(feature: str, dtype: str, value: float, fits: bool) -> None:
    block = compiled(f"name: x, {feature}", dtype=dtype)
    if fits:
        assert np.isfinite(block.vectorize([{"x": value}])).all()
    else:
        (problem,) = problems(block, {"x": value})
        assert problem.endswith(f"does not fit {dtype}")


MONEY = "name: income, type: float, currency: {field: currency, to: EUR}, min: 10"


def test_money_is_converted_before_its_bounds_are_checked() -> None:
    income = compiled(MONEY, rates=Rates(RATES))
    records = [{"income": 20, "currency": code} for code in ("EUR", "USD")] + [{"income": 4000, "currency": "JPY"}]
    assert income.vectorize(records).tolist() == [[20], [10], [20]]
    assert problems(
        income,
        {"income": 19, "currency": "USD"},
        {"income": 20, "currency": "XXX"},
        {"income": 20},
        {"income": 20, "currency": None},
        {"income": "a", "currency": "USD"},
    ) == [
        "record 0: feature 'income': 9.5 EUR is below min 10",
        "record 1: feature 'income': unknown currency 'XXX' in field 'currency'; known: EUR, JPY, USD",
        "record 2: feature 'income': missing field 'currency', the currency of the amount",
        "record 3: feature 'income': field 'currency': expected a currency as a string, got null",
        "record 4: feature 'income': expected a number, got string",
    ]


def test_a_default_amount_is_in_the_currency_of_the_model_and_a_default_currency_is_stated() -> None:
    income = compiled(
        "name: income, type: float, default: 7, currency: {field: currency, to: EUR, default: USD}", rates=Rates(RATES)
    )
    assert income.vectorize([{}, {"income": 20}, {"currency": "JPY"}]).tolist() == [[7], [10], [7]]


def test_new_rates_take_effect_and_bad_tables_do_not() -> None:
    rates = Rates(RATES)
    income = compiled(MONEY, rates=rates)
    rates.replace(RateTable(base="EUR", rates={"USD": 2.0}))
    assert income.vectorize([{"income": 100, "currency": "USD"}]).tolist() == [[50]]
    with pytest.raises(RateProblem, match="the new rate table lacks EUR, which a feature spec converts into"):
        rates.replace(RateTable(base="USD", rates={}))
    assert income.vectorize([{"income": 100, "currency": "USD"}]).tolist() == [[50]]


def test_a_spec_with_money_needs_rates_with_its_currency() -> None:
    with pytest.raises(SpecProblem, match="features: income: currency needs a table of exchange rates"):
        compiled(MONEY)
    with pytest.raises(SpecProblem, match="currency 'EUR' is not in the rate table; it has USD"):
        compiled(MONEY, rates=Rates(RateTable(base="USD", rates={})))


def test_rate_files(tmp_path: Path) -> None:
    path = tmp_path / "rates.json"
    path.write_text(json.dumps({"base": "USD", "date": "2026-01-01", "rates": {"EUR": 0.5, "USD": 1}}))
    assert RateTable.load(path).factors("EUR") == {"EUR": 1, "USD": 0.5}
    for content, message in [
        ('{"base": "USD", "rates": {"EUR": 0}}', "rates: EUR is 0.0, a rate must be a finite number above 0"),
        ('{"base": "USD", "rates": {"EUR": "1"}}', "Expected `float`, got `str` - at `$.rates[...]`"),
        ('{"base": "USD", "rates": {"USD": 2}}', "rates: USD is the base and has rate 2.0, it must be 1"),
    ]:
        path.write_text(content)
        with pytest.raises(RateProblem) as raised:
            RateTable.load(path)
        assert str(raised.value) == f"{path}: {message}"
    path.write_text('{"base": "USD"')
    with pytest.raises(RateProblem, match=r"rates\.json:1: Input data was truncated"):
        RateTable.load(path)
    with pytest.raises(RateProblem, match="cannot be read: No such file"):
        RateTable.load(tmp_path / "absent.json")


MIXED = compiled(
    "name: f, type: float, min: -100, max: 100, default: 1, normalize: {mean: 3, std: 7}",
    "name: i, type: int, min: 0",
    "name: c, type: category, vocabulary: [a, b], unknown: b",
    "name: b, type: bool, default: false",
    "name: v, type: vector, length: 2, clip: {min: 0, max: 1}",
    width=7,
)

json_scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(["", "a", "b", "1"])
json_values = json_scalars | st.lists(json_scalars, max_size=3) | st.just({"a": 1})
json_records = st.fixed_dictionaries({}, optional=dict.fromkeys(("f", "i", "c", "b", "v", "x"), json_values))


@given(st.lists(json_records, max_size=4))
def test_whatever_json_a_client_sends_it_is_a_finite_tensor_or_problems(records: list[dict[str, object]]) -> None:
    try:
        tensor = MIXED.vectorize(records)
    except RecordProblems as refusal:
        told = [problem.record for problem in refusal.problems]
    else:
        told = []
        assert tensor.shape == (len(records), 7)
        assert np.isfinite(tensor).all()
    assert all(0 <= record < len(records) for record in told)


good_records = st.fixed_dictionaries(
    {
        "i": st.integers(0, 2**62),
        "c": st.text(max_size=2),
        "v": st.lists(st.floats(-5, 5), min_size=2, max_size=2),
    },
    optional={"f": st.floats(-100, 100) | st.integers(-100, 100), "b": st.booleans()},
)


@given(st.lists(good_records, min_size=1, max_size=5))
def test_a_record_becomes_the_same_row_whatever_stands_beside_it(records: list[dict[str, object]]) -> None:
    together = MIXED.vectorize(records)
    alone = np.concatenate([MIXED.vectorize([record]) for record in records])
    np.testing.assert_array_equal(together, alone)
