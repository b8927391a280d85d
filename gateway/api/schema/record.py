"""A feature spec as JSON Schema 2020-12 of one record.

It says what a schema can say: names, types, bounds, words. What only the server knows stays with it: rates and
currencies, whether base64 holds a picture, whether a number fits the tensor.
"""

from __future__ import annotations

import math
from typing import TypeAlias, assert_never, cast

from gateway.spec import (
    BoolFeature,
    CategoryFeature,
    CategoryItems,
    CodeFeature,
    CrossFeature,
    Currency,
    DifferenceFeature,
    Feature,
    FeatureSpec,
    FloatFeature,
    ImageFeature,
    IntFeature,
    ListFeature,
    RatioFeature,
    StringFeature,
    TimestampFeature,
    Transformed,
    VectorFeature,
    Vocabulary,
)

JsonSchema: TypeAlias = dict[str, object]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1


def record_schema(spec: FeatureSpec, title: str = "record") -> JsonSchema:
    """The schema of one element of `records`."""
    read: dict[str, list[JsonSchema]] = {}
    required: dict[str, None] = {}
    follows: dict[str, list[str]] = {}
    for feature in spec.features:
        for key, one in properties_of(feature).items():
            read.setdefault(key, []).append(one)
            if not feature.optional:
                required[key] = None
    for feature in spec.features:
        if isinstance(feature, FloatFeature) and feature.currency:
            read.setdefault(feature.currency.field, []).append(_currency_property(feature.currency))
            if feature.currency.default is None and feature.missing is None:
                follows[feature.key] = [feature.currency.field]
    if spec.lookup is not None:
        for key in spec.lookup.features:
            read.pop(key, None)
            required.pop(key, None)
        read.setdefault(spec.lookup.key, []).append({"type": ["string", "integer"]})
        required[spec.lookup.key] = None
    for key in spec.ignore:
        read[key] = [{"description": "Ignored."}]
    schema: JsonSchema = {
        "$schema": DIALECT,
        "title": title,
        "type": "object",
        "properties": {key: _all_of(schemas) for key, schemas in read.items()},
        "required": list(required),
        "additionalProperties": spec.extra == "ignore",
    }
    if follows:
        schema["dependentRequired"] = follows
    return schema


def properties_of(feature: Feature) -> dict[str, JsonSchema]:
    """The keys of a record that a feature reads, but for the currency of an amount."""
    nullable = not isinstance(feature, ImageFeature | CodeFeature) and feature.missing is not None
    made = {}
    for key in feature.keys if not isinstance(feature, FloatFeature) else (feature.key,):
        schema = _typed(feature)
        if nullable:
            schema = {**schema, "type": [schema["type"], "null"]}
            if "enum" in schema:
                schema["enum"] = [*cast(list[str], schema["enum"]), None]
        default = _default(feature) if key == feature.key else None
        made[key] = schema if default is None else {**schema, "default": default}
    return made


def _all_of(schemas: list[JsonSchema]) -> JsonSchema:
    different = [schema for index, schema in enumerate(schemas) if schema not in schemas[:index]]
    return different[0] if len(different) == 1 else {"allOf": different}


def _typed(feature: Feature) -> JsonSchema:
    match feature:
        case FloatFeature():
            return {"type": "number", **_bounds(feature)}
        case IntFeature():
            low = _INT64_MIN if feature.min is None else max(_INT64_MIN, math.ceil(feature.min))
            high = _INT64_MAX if feature.max is None else min(_INT64_MAX, math.floor(feature.max))
            return {"type": "integer", "minimum": low, "maximum": high}
        case RatioFeature() | DifferenceFeature():
            return {"type": "number"}
        case BoolFeature():
            return {"type": "boolean"}
        case CategoryFeature():
            return _word(feature)
        case StringFeature() | CrossFeature():
            return {"type": "string"}
        case VectorFeature():
            element = {"type": "number", **_bounds(feature)}
            return {"type": "array", "items": element, "minItems": feature.length, "maxItems": feature.length}
        case ListFeature():
            items = feature.items
            element = _word(items) if isinstance(items, CategoryItems) else {"type": "number", **_bounds(items)}
            longest = {"maxItems": feature.length} if feature.length and feature.truncate == "error" else {}
            return {"type": "array", "items": element, **longest}
        case TimestampFeature():
            if feature.format == "rfc3339":
                return {"type": "string", "format": "date-time"}
            unit = "Seconds" if feature.format == "seconds" else "Milliseconds"
            return {"type": "number", "description": f"{unit} since 1970 in UTC."}
        case CodeFeature():
            return {"description": f"Read by '{feature.entry}' of {feature.package}."}
        case ImageFeature():
            return {
                "type": "string",
                "contentEncoding": "base64",
                "description": "A PNG or JPEG file as base64, or as a data: URL.",
            }
        case _:
            assert_never(feature)


def _word(words: Vocabulary) -> JsonSchema:
    if words.vocabulary is None:
        return {"type": "string"}
    known = "enum" if words.stand_in is None and words.text is None else "examples"
    return {"type": "string", known: words.vocabulary}


def _bounds(feature: Transformed) -> JsonSchema:
    """min and max. Of money only 0: it is 0 in every currency, other amounts depend on the rates."""
    money = isinstance(feature, FloatFeature) and feature.currency is not None
    pairs = (("minimum", feature.min), ("maximum", feature.max))
    return {key: bound for key, bound in pairs if bound is not None and (bound == 0 or not money)}


def _currency_property(currency: Currency) -> JsonSchema:
    schema: JsonSchema = {"type": "string", "description": f"A currency code; amounts are converted to {currency.to}."}
    return schema if currency.default is None else {**schema, "default": currency.default}


def _default(feature: Feature) -> object:
    return getattr(feature, "default", None)
