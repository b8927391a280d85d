"""Every type and transform against a slow, obvious reference: the tensor of valid records, the problems of others."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from slow_records import Document, Wrong, row, width

from gateway.api.schema import record_schema
from gateway.preprocess import compile_spec
from gateway.preprocess.problems import RecordProblems
from gateway.spec import FeatureSpec, parse_spec

NOW = 1_800_000_000.25
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe", "Africa/Monrovia"]
PARTS = ["year", "month", "day", "hour", "minute", "second", "weekday", "day_of_year", "epoch", "age", "hour_sin",
         "hour_cos", "weekday_sin", "month_cos", "day_sin", "minute_cos", "second_sin", "day_of_year_cos"]  # fmt: skip

small = st.integers(-20, 20).map(lambda value: value / 4)
scaling = st.sampled_from([
    {}, {"normalize": {"mean": 1.25, "std": 3.0}}, {"min_max": {"min": -1.0, "max": 7.0}},
    {"bucketize": {"boundaries": [-1.0, 0.0, 2.5], "encoding": "index"}}, {"bucketize": {"boundaries": [0.5, 1.5]}},
])  # fmt: skip
curves = st.sampled_from([
    {}, {"min": -2.5}, {"max": 4.0}, {"clip": {"min": -1.0, "max": 3.0}}, {"log1p": True, "min": -0.5},
    {"log": True, "clip": {"min": 0.25}}, {"sqrt": True, "min": 0.0}, {"power": 3.0, "clip": {"min": 0.0}},
    {"power": -1.5, "min": 0.5},
])  # fmt: skip
transforms = st.builds(lambda one, other: one | other, curves, scaling)
texts = st.sampled_from([{}, {"unicode": "NFC"}, {"case": "lower"}, {"case": "fold", "unicode": "NFKC", "strip": True}])
WORDS = ["a", "b", "é", "cafe", "straße", "other"]
vocabulary = st.sampled_from([
    {"vocabulary": ["a", "b", "other"], "unknown": "other"}, {"vocabulary": ["a", "b", "café"], "encoding": "index"},
    {"encoding": "hash_bucket", "buckets": 7},
])  # fmt: skip
word_rules = st.builds(lambda one, other: one | ({"text": other} if other else {}), vocabulary, texts)
flags = st.sampled_from([{}, {"missing": {"flag": True}}])


def of_type(kind: str, *parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Document]:
    def merged(*chosen: Document) -> Document:
        made: Document = {"type": kind}
        for one in chosen:
            made |= one
        return made

    return st.builds(merged, *parts)


def with_values(rules: Document) -> Document:
    """What stands in must be within the bounds, whatever they are."""
    if rules.get("missing") == "value":
        return rules | {"missing": {"value": 2.0, "flag": True}}
    if rules.get("missing") == "mean":
        mean = "normalize" in rules and not {"log1p", "log", "sqrt", "power"} & rules.keys()
        return rules | {"missing": {"mean": True} if mean else {"value": 3.0}}
    return rules


absent: st.SearchStrategy[Any] = st.sampled_from(
    [{}, {"default": 2.0}, {"missing": {"flag": True}}, {"missing": "value"}, {"missing": "mean"}]
)
presence = st.sampled_from([{}, {"field": "shared"}])
strategies: list[st.SearchStrategy[Document]] = [
    of_type("float", transforms, absent, presence).map(with_values),
    of_type("int", transforms, absent.filter(lambda rules: "default" not in rules)).map(with_values),
    of_type("vector", transforms, st.just({"length": 2}), absent.filter(lambda rules: "default" not in rules)).map(
        with_values
    ),
    of_type("bool", st.sampled_from([{}, {"default": True}, {"missing": {"value": True, "flag": True}}])),
    of_type("category", word_rules, flags, presence),
    of_type(
        "cross",
        st.sampled_from([{"encoding": "one_hot", "buckets": 3}, {"buckets": 100}]),
        st.sampled_from([{}, {"missing": {"flag": True}}, {"missing": {"value": "none"}}]),
        st.just({"of": ["shared", "other"]}),
    ),
    of_type(
        "timestamp",
        st.lists(st.sampled_from(PARTS), min_size=2, max_size=5, unique=True).map(lambda parts: {"parts": parts}),
        st.sampled_from(["rfc3339", "seconds", "millis"]).map(lambda form: {"format": form}),
        st.sampled_from(ZONES).map(lambda zone: {"timezone": zone}),
        flags,
    ),
    of_type("timestamp", scaling, st.just({"parts": ["elapsed"], "since": "other"}), flags),
    of_type(
        "list",
        transforms.filter(lambda rules: "encoding" in rules.get("bucketize", {"encoding": 1})).map(
            lambda rules: {"items": {"type": "number"} | rules}
        ),
        st.sampled_from(["end", "start", "error"]).map(lambda cut: {"length": 2, "truncate": cut, "pad": -1.5}),
        flags,
    ),
    of_type(
        "list",
        word_rules.map(
            lambda rules: {"items": {"type": "category"} | rules} | ({} if "unknown" in rules else {"length": 3})
        ),
        flags,
    ),
    of_type(
        "ratio", transforms, st.just({"of": ["shared", "other"]}), st.sampled_from([{}, {"zero": 2.0}]), absent
    ).map(with_values),
    of_type("difference", transforms, st.just({"of": ["shared", "other"]}), absent).map(with_values),
]
moments = st.datetimes(datetime(1902, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))
word = st.sampled_from([*WORDS, "café", "CAFÉ ", "A", "ﬁ", "x", ""])
value = st.one_of(
    st.none(), st.booleans(), small, small, st.integers(-3, 5), word, word,
    moments.map(datetime.isoformat), moments.map(lambda at: at.strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20)),
    moments.map(datetime.timestamp), st.lists(small, max_size=3), st.lists(word, max_size=3),
    st.sampled_from([float("nan"), float("inf"), 1e16, -1e16, "2026-02-30T00:00:00Z", "2026-01-01", {}]),
)  # fmt: skip
records = st.dictionaries(st.sampled_from(["f0", "f1", "f2", "shared", "other"]), value)


def spec(features: list[Document]) -> FeatureSpec:
    columns = sum(map(width, features))
    document = {
        "features": features,
        "input": {"name": "x", "dtype": "float64", "shape": [-1, columns]},
        "output": {"name": "y", "kind": "raw"},
        "extra": "ignore",
    }
    return parse_spec(json.dumps(document))


def named(features: list[Document]) -> list[Document]:
    return [feature | {"name": f"f{index}"} for index, feature in enumerate(features)]


@pytest.mark.parametrize("strategy", strategies, ids=range(len(strategies)))
def test_one_feature_of_any_kind_is_as_the_reference_has_it(strategy: st.SearchStrategy[Document]) -> None:
    @settings(max_examples=150)
    @given(strategy, st.lists(records, min_size=1, max_size=3))
    def holds(feature: Document, some: list[Document]) -> None:
        agree(named([feature]), some)

    holds()


@settings(max_examples=150)
@given(st.lists(st.one_of(strategies), min_size=2, max_size=3), st.lists(records, min_size=1, max_size=3))
def test_features_beside_each_other_are_as_the_reference_has_them(
    features: list[Document], some: list[Document]
) -> None:
    agree(named(features), some)


def agree(features: list[Document], some: list[Document]) -> None:
    expected: list[list[float]] = []
    wrong: set[tuple[int, str]] = set()
    for index, record in enumerate(some):
        try:
            expected.append(row(features, record, now=NOW))
        except Wrong as problem:
            wrong |= {(index, key) for key in problem.keys}
    subject = compile_spec(spec(features), now=lambda: NOW)
    if wrong:
        with pytest.raises(RecordProblems) as refusal:
            subject.vectorize(some)
        assert {(problem.record, problem.feature) for problem in refusal.value.problems} == wrong
    else:
        np.testing.assert_allclose(subject.vectorize(some), expected, rtol=1e-14, atol=1e-15)
        schema = Draft202012Validator(record_schema(spec(features)))
        assert all(map(schema.is_valid, some)), "the schema refuses what the gateway takes"


@given(st.lists(moments, min_size=40, max_size=40), st.sampled_from(ZONES))
def test_many_times_at_once_are_read_as_one_by_one(many: list[datetime], zone: str) -> None:
    features: list[dict[str, Any]] = [{"name": "t", "type": "timestamp", "timezone": zone, "parts": PARTS}]
    texts = [at.strftime("%Y-%m-%dT%H:%M:%SZ").zfill(20) for at in many]
    agree(features, [{"t": text} for text in texts])
    agree(features, [{"t": text} for text in [*texts, "2026-02-29T00:00:00Z", "2026-01-01T24:00:00Z"]])
    shifted = [f"{text[:-1]}{'+-'[index % 2]}{index % 24:02}:{index:02}" for index, text in enumerate(texts)]
    agree(features, [{"t": text} for text in shifted])
    agree(features, [{"t": text} for text in [*shifted, f"{texts[0][:-1]}+24:00"]])


@given(st.lists(moments, min_size=40, max_size=40), st.sampled_from(["seconds", "millis"]), st.booleans())
def test_many_numbers_at_once_are_read_as_one_by_one(many: list[datetime], form: str, whole: bool) -> None:
    features: list[dict[str, Any]] = [{"name": "t", "type": "timestamp", "format": form, "parts": PARTS}]
    factor = 1 if form == "seconds" else 1000
    numbers = [round(at.timestamp() * factor) if whole else at.timestamp() * factor for at in many]
    agree(features, [{"t": number} for number in numbers])
    agree(features, [{"t": number} for number in [*numbers, 1e17, -1e17, 10**30, float("nan")]])
