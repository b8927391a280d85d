"""The OpenAPI 3.1 document of a gateway: its routes, and the records of each model and version that it knows."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import msgspec

from gateway.api.schema.record import JsonSchema, record_schema
from gateway.postprocess.predictions import LabelPrediction, RowPrediction, ValuePrediction
from gateway.preprocess.problems import Problem
from gateway.spec import Binary, Classification, CodeOutput, FeatureSpec, Raw, Regression

_JSON = "application/json"
_REF = "#/components/schemas/{name}"

_PREDICTIONS: dict[type, type] = {
    Classification: LabelPrediction,
    Binary: LabelPrediction,
    Regression: ValuePrediction,
    Raw: RowPrediction,
    CodeOutput: RowPrediction,
}

_ERRORS = {
    "400": "The request is invalid: every problem with record, feature and reason.",
    "404": "No such model, version or label.",
    "408": "The body did not arrive in time.",
    "413": "The body is larger than the limit.",
    "429": "Overloaded; try again after Retry-After.",
    "500": "The model failed, or its output is not what its feature spec says.",
    "503": "No model server is available now; try again after Retry-After.",
    "504": "No response before the deadline.",
}

_TENSOR_REQUESTS: dict[str, JsonSchema] = {
    "InstancesRequest": {
        "description": "TensorFlow Serving's row format.",
        "type": "object",
        "properties": {"instances": {"type": "array"}, "signature_name": {"type": "string"}},
        "required": ["instances"],
    },
    "InputsRequest": {
        "description": "TensorFlow Serving's columnar format.",
        "type": "object",
        "properties": {"inputs": {}, "signature_name": {"type": "string"}},
        "required": ["inputs"],
    },
    "ExamplesRequest": {
        "description": "TensorFlow Serving's Examples: features by name, those of `context` for all of them.",
        "type": "object",
        "properties": {
            "examples": {"type": "array", "minItems": 1, "items": {"type": "object"}},
            "context": {"type": "object"},
            "signature_name": {"type": "string"},
        },
        "required": ["examples"],
    },
    "ExamplesAnswer": {
        "description": "For each Example its [label, score] pairs, or its number.",
        "type": "object",
        "properties": {"results": {"type": "array"}},
        "required": ["results"],
    },
    "InstancesAnswer": {
        "type": "object",
        "properties": {"predictions": {"type": "array"}},
        "required": ["predictions"],
    },
    "InputsAnswer": {"type": "object", "properties": {"outputs": {}}, "required": ["outputs"]},
}

_PLAIN_ROUTES = {
    "/v1/models": ("listModels", "The models of this gateway, with labels and versions.", _JSON),
    "/openapi.json": ("openapi", "This document.", _JSON),
}

_STATUS = "The states of the model's versions, as in TensorFlow Serving."
_METADATA = "The signatures of a version."
_SCHEMA = "JSON Schema of a record."


def openapi(models: Mapping[str, Mapping[int, FeatureSpec]], version: str = "1") -> JsonSchema:
    """The document for these models, each with the feature spec of every version that has one.

    `version` is the version of the document, for instance the hash of the config.
    """
    schemas: dict[str, object] = {**_shared_schemas(), **_TENSOR_REQUESTS}
    paths: dict[str, object] = {path: {"get": _plain(*route)} for path, route in _PLAIN_ROUTES.items()}
    for model, specs in sorted(models.items()):
        key = re.sub(r"[^A-Za-z0-9._-]", "_", model)
        schemas.update(_model_schemas(key, model, specs))
        paths.update(_model_paths(key, model, takes_records=bool(specs)))
    return {
        "openapi": "3.1.0",
        "info": {"title": "TensorFlow model gateway", "version": version},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _shared_schemas() -> dict[str, object]:
    _, schemas = msgspec.json.schema_components(
        [LabelPrediction, ValuePrediction, RowPrediction, Problem], ref_template=_REF
    )
    metadata: JsonSchema = {"type": "object", "properties": {"request_id": {"type": "string"}}}
    return {
        **schemas,
        "Metadata": metadata,
        "Error": {
            "type": "object",
            "properties": {
                "error": {"type": "string"},
                "details": {"type": "array", "items": _ref("Problem")},
                "metadata": _ref("Metadata"),
            },
            "required": ["error"],
        },
    }


def _model_schemas(key: str, model: str, specs: Mapping[int, FeatureSpec]) -> dict[str, object]:
    if not specs:
        return {}
    records = {
        f"{key}.v{number}.Record": record_schema(spec, title=f"record of {model} version {number}")
        for number, spec in sorted(specs.items())
    }
    predictions = sorted({_PREDICTIONS[type(spec.output)].__name__ for spec in specs.values()})
    return {
        **records,
        f"{key}.RecordsRequest": {
            "type": "object",
            "properties": {
                "version": {"const": "v1", "description": "The version of this request format."},
                "metadata": _ref("Metadata"),
                "records": {"type": "array", "minItems": 1, "items": _any_of(list(records))},
            },
            "required": ["records"],
            "additionalProperties": False,
        },
        f"{key}.RecordsAnswer": {
            "type": "object",
            "properties": {
                "version": {"const": "v1"},
                "predictions": {"type": "array", "items": _any_of(predictions)},
                "outputs": {
                    "type": "object",
                    "description": "The rows of the outputs that the feature spec passes through.",
                    "additionalProperties": {"type": "array"},
                },
                "metadata": {
                    **_ref("Metadata"),
                    "properties": {
                        "model": {"const": model},
                        "model_version": {"type": "integer"},
                        "version_label": {"type": ["string", "null"]},
                    },
                },
            },
            "required": ["version", "predictions", "metadata"],
        },
    }


def _model_paths(key: str, model: str, *, takes_records: bool) -> dict[str, object]:
    base = f"/v1/models/{quote(model, safe='')}"
    number = _parameter("version", {"type": "integer", "minimum": 1}, "A version number.")
    label = _parameter("label", {"type": "string"}, "A version label, such as stable.")
    paths: dict[str, object] = {}
    for suffix, choice, parameters in (
        ("", "", []),
        ("Version", "/versions/{version}", [number]),
        ("Label", "/labels/{label}", [label]),
    ):
        paths[f"{base}{choice}:predict"] = {"post": _predict(f"predict{suffix}.{key}", key, parameters, takes_records)}
        for verb in ("classify", "regress"):
            operation = _on_examples(f"{verb}{suffix}.{key}", verb, parameters)
            paths[f"{base}{choice}:{verb}"] = {"post": operation}
        paths[f"{base}{choice}"] = {"get": _plain(f"status{suffix}.{key}", _STATUS, _JSON, parameters)}
        paths[f"{base}{choice}/metadata"] = {"get": _plain(f"metadata{suffix}.{key}", _METADATA, _JSON, parameters)}
        if takes_records:
            paths[f"{base}{choice}/schema"] = {"get": _plain(f"schema{suffix}.{key}", _SCHEMA, _JSON, parameters)}
    return paths


def _predict(operation: str, key: str, parameters: Sequence[JsonSchema], takes_records: bool) -> JsonSchema:
    kinds = [f"{key}.Records"] if takes_records else []
    summary = "Predict: records by feature name, or tensors as in TensorFlow Serving."
    return _on_bodies(operation, summary, [*kinds, "Instances", "Inputs"], parameters)


def _on_examples(operation: str, verb: str, parameters: Sequence[JsonSchema]) -> JsonSchema:
    return _on_bodies(operation, f"{verb.capitalize()} Examples, as in TensorFlow Serving.", ["Examples"], parameters)


def _on_bodies(operation: str, summary: str, kinds: Sequence[str], parameters: Sequence[JsonSchema]) -> JsonSchema:
    """An operation that takes one of several kinds of body."""
    timeout: JsonSchema = {
        "name": "x-request-timeout-ms",
        "in": "header",
        "schema": {"type": "integer", "minimum": 1},
        "description": "The time that the client will wait.",
    }
    request_id: JsonSchema = {
        "name": "x-request-id",
        "in": "header",
        "schema": {"type": "string"},
        "description": "Returned in the response; generated if absent.",
    }
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": [*parameters, timeout, request_id],
        "requestBody": {"required": True, "content": _content(_any_of([f"{kind}Request" for kind in kinds]))},
        "responses": {
            "200": {"description": "The response.", "content": _content(_any_of([f"{kind}Answer" for kind in kinds]))},
            **{
                code: {"description": description, "content": _content(_ref("Error"))}
                for code, description in _ERRORS.items()
            },
        },
    }


def _plain(operation: str, summary: str, media_type: str, parameters: Sequence[JsonSchema] = ()) -> JsonSchema:
    return {
        "operationId": operation,
        "summary": summary,
        "parameters": [*parameters],
        "responses": {"200": {"description": summary, "content": {media_type: {}}}},
    }


def _parameter(name: str, schema: JsonSchema, description: str) -> JsonSchema:
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


def _content(schema: JsonSchema) -> JsonSchema:
    return {_JSON: {"schema": schema}}


def _any_of(names: list[str]) -> JsonSchema:
    return _ref(names[0]) if len(names) == 1 else {"anyOf": [_ref(name) for name in names]}


def _ref(name: str) -> JsonSchema:
    return {"$ref": _REF.format(name=name)}
