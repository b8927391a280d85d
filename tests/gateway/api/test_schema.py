"""The schemas that clients read say the same as the code that judges their records."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from gateway.api.schema import JsonSchema, openapi, record_schema
from gateway.preprocess import Rates, RateTable, compile_spec
from gateway.preprocess.problems import RecordProblems
from gateway.spec import parse_spec

LOAN = parse_spec("""
features:
  - {name: income, type: float, currency: {field: currency, to: EUR}, min: 0, max: 1000}
  - {name: debt, type: float, default: 0, currency: {field: debt_currency, to: EUR}}
  - {name: rate, type: float, min: -1.5, max: 2, default: 0}
  - {name: age, type: int, min: 0.5, max: 99}
  - {name: purpose, type: category, vocabulary: [car, home]}
  - {name: city, type: category, vocabulary: [x, other], unknown: other}
  - {name: area, type: category, encoding: hash_bucket, buckets: 8, default: none}
  - {name: owner, type: bool, default: false}
  - {name: history, type: vector, length: 2, max: 1}
input: {name: a, dtype: float64, shape: [-1, 12]}
output: {name: b, kind: regression}
""")
VECTORIZE = compile_spec(LOAN, Rates(RateTable(base="EUR", rates={}))).vectorize
IMAGE = parse_spec("""
features: [{name: photo, type: image, image: {width: 2, height: 2}}]
input: {name: a, dtype: float32, shape: [-1, 2, 2, 3]}
output: {name: b, kind: classification, labels: [x, y]}
""")

good = {
    "income": st.floats(0, 1000) | st.integers(0, 1000),
    "currency": st.just("EUR"),
    "debt": st.floats(0, 1000),
    "debt_currency": st.just("EUR"),
    "rate": st.floats(-1.5, 2),
    "age": st.integers(1, 99) | st.just(42.0),
    "purpose": st.sampled_from(["car", "home"]),
    "city": st.sampled_from(["x", "y"]),
    "area": st.text("abc"),
    "owner": st.booleans(),
    "history": st.lists(st.floats(-5, 1), min_size=2, max_size=2),
}
anything = (
    st.none()
    | st.booleans()
    | st.integers(-2, 101)
    | st.floats(-2, 2)
    | st.sampled_from(["", "car", "x", "EUR"])
    | st.lists(st.floats(-1, 2) | st.text("a", max_size=1), max_size=3)
    | st.just({"a": 1})
)
good_records = st.fixed_dictionaries({}, optional=good) | st.fixed_dictionaries(good)
broken = st.dictionaries(st.sampled_from([*good, "stranger"]), anything, max_size=2)
records = st.builds(lambda record, fault: {**record, **fault}, good_records, st.just({}) | broken)


def schema_says(record: object) -> bool:
    """The schema's verdict, with what only the server knows left out: EUR is the only currency, amounts end at 1000."""
    return bool(Draft202012Validator(record_schema(LOAN)).is_valid(record))


def vectorize_says(record: dict[str, Any]) -> bool:
    try:
        VECTORIZE([record])
    except RecordProblems as refusal:
        return all("EUR is above max" in it.problem or "unknown currency" in it.problem for it in refusal.problems)
    return True


@given(records)
def test_schema_and_vectorize_agree(record: dict[str, Any]) -> None:
    assert schema_says(record) == vectorize_says(record), record


def test_what_the_schema_of_a_record_says() -> None:
    schema: dict[str, Any] = record_schema(LOAN, "loan")
    Draft202012Validator.check_schema(schema)
    assert schema["title"] == "loan"
    assert schema["required"] == ["income", "age", "purpose", "city", "history"]
    assert schema["dependentRequired"] == {"income": ["currency"], "debt": ["debt_currency"]}
    assert schema["properties"]["income"] == {"type": "number", "minimum": 0}
    assert schema["properties"]["age"] == {"type": "integer", "minimum": 1, "maximum": 99}
    assert schema["properties"]["rate"]["default"] == 0
    assert schema["properties"]["purpose"] == {"type": "string", "enum": ["car", "home"]}
    assert schema["properties"]["city"] == {"type": "string", "examples": ["x", "other"]}
    photo = record_schema(IMAGE)["properties"]["photo"]  # type: ignore[index]
    assert photo["contentEncoding"] == "base64"


def document() -> dict[str, Any]:
    return openapi({"loan": {1: LOAN, 2: LOAN}, "photo set": {7: IMAGE}, "plain": {}}, version="abc")


def schemas_in(node: object) -> Iterator[JsonSchema]:
    if isinstance(node, dict):
        if "schema" in node and isinstance(node["schema"], dict):
            yield node["schema"]
        for value in node.values():
            yield from schemas_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from schemas_in(value)


def references_in(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from references_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from references_in(value)


def test_every_schema_of_the_document_is_one_and_every_reference_leads_somewhere() -> None:
    told = document()
    components = told["components"]["schemas"]
    for schema in [*components.values(), *schemas_in(told["paths"])]:
        Draft202012Validator.check_schema(schema)
    targets = {f"#/components/schemas/{name}" for name in components}
    assert set(references_in(told)) <= targets
    operations = [op["operationId"] for path in told["paths"].values() for op in path.values()]
    assert len(operations) == len(set(operations))


def test_path_parameters_are_declared() -> None:
    for path, operations in document()["paths"].items():
        for operation in operations.values():
            declared = {"{" + p["name"] + "}" for p in operation.get("parameters", []) if p["in"] == "path"}
            assert declared == {part.split(":")[0] for part in path.split("/") if part.startswith("{")}


def test_every_route_is_there() -> None:
    paths = document()["paths"]
    models = {"loan": True, "photo%20set": True, "plain": False}
    expected = {"/openapi.json", "/v1/models"}
    for model, takes_records in models.items():
        for choice in ("", "/versions/{version}", "/labels/{label}"):
            base = f"/v1/models/{model}{choice}"
            expected |= {base, f"{base}:predict", f"{base}:classify", f"{base}:regress", f"{base}/metadata"}
            expected |= {f"{base}/schema"} if takes_records else set()
    assert set(paths) == expected


@pytest.mark.parametrize(
    ("body", "fits"),
    [
        ({"version": "v1", "records": [{"photo": "aGk="}]}, True),
        ({"version": "v1", "records": [{"photo": "aGk="}], "metadata": {"request_id": "1", "locale": "de"}}, True),
        ({"instances": [[1, 2]]}, True),
        ({"inputs": {"a": [1]}}, True),
        ({"version": "v1", "records": []}, False),
        ({"records": [{"photo": "aGk="}]}, True),
        ({"records": [{"photo": "aGk="}], "sign": "x"}, False),
        ({"version": "v2", "records": [{"photo": "aGk="}]}, False),
        ({"version": "v1", "records": [{"foto": "aGk="}]}, False),
        ({}, False),
    ],
)
def test_the_body_of_predict(body: object, fits: bool) -> None:
    told = document()
    request = told["paths"]["/v1/models/photo%20set:predict"]["post"]["requestBody"]["content"]["application/json"]
    validator = Draft202012Validator({**request["schema"], "components": told["components"]})
    assert validator.is_valid(body) is fits
