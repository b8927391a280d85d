"""A feature spec as JSON Schema 2020-12 of one record.

It says what a schema can say: names, types, bounds, words. What only the server knows stays with it: rates and
currencies, whether base64 holds a picture, whether a number fits the tensor.
"""

from __future__ import annotations

import math
from typing import TypeAlias, assert_never

from gateway.spec import (
    BoolFeature,
    CategoryFeature,
    Currency,
    Feature,
    FeatureSpec,
    FloatFeature,
    ImageFeature,
    IntFeature,
    StringFeature,
    VectorFeature,
)

JsonSchema: TypeAlias = dict[str, object]

DIALECT = "https://json-schema.org/draft/2020-12/schema"

_INT64_MIN, _INT64_MAX = -(1 << 63), (1 << 63) - 1


def record_schema(spec: FeatureSpec, title: str = "record") -> JsonSchema:
    """The schema of one element of `records`."""
    properties = {feature.name: _property(feature) for feature in spec.features}
    follows: dict[str, list[str]] = {}
    for feature in spec.features:
        if isinstance(feature, FloatFeature) and feature.currency:
            properties.setdefault(feature.currency.field, _currency_property(feature.currency))
            if feature.currency.default is None:
                follows[feature.name] = [feature.currency.field]
    schema: JsonSchema = {
        "$schema": DIALECT,
        "title": title,
        "type": "object",
        "properties": properties,
        "required": [feature.name for feature in spec.features if _default(feature) is None],
        "additionalProperties": False,
    }
    if follows:
        schema["dependentRequired"] = follows
    return schema


def _property(feature: Feature) -> JsonSchema:
    schema = _typed(feature)
    default = _default(feature)
    return schema if default is None else {**schema, "default": default}


def _typed(feature: Feature) -> JsonSchema:
    match feature:
        case FloatFeature():
            return {"type": "number", **_bounds(feature)}
        case IntFeature():
            low = _INT64_MIN if feature.min is None else max(_INT64_MIN, math.ceil(feature.min))
            high = _INT64_MAX if feature.max is None else min(_INT64_MAX, math.floor(feature.max))
            return {"type": "integer", "minimum": low, "maximum": high}
        case BoolFeature():
            return {"type": "boolean"}
        case CategoryFeature():
            if feature.vocabulary is None:
                return {"type": "string"}
            known = "enum" if feature.stand_in is None else "examples"
            return {"type": "string", known: feature.vocabulary}
        case StringFeature():
            return {"type": "string"}
        case VectorFeature():
            element = {"type": "number", **_bounds(feature)}
            return {"type": "array", "items": element, "minItems": feature.length, "maxItems": feature.length}
        case ImageFeature():
            return {"type": "string", "contentEncoding": "base64", "description": "A PNG or JPEG file as base64."}
        case _:
            assert_never(feature)


def _bounds(feature: FloatFeature | VectorFeature) -> JsonSchema:
    """min and max. Of money only 0: it is 0 in every currency, other amounts depend on the rates."""
    money = isinstance(feature, FloatFeature) and feature.currency is not None
    pairs = (("minimum", feature.min), ("maximum", feature.max))
    return {key: bound for key, bound in pairs if bound is not None and (bound == 0 or not money)}


def _currency_property(currency: Currency) -> JsonSchema:
    schema: JsonSchema = {"type": "string", "description": f"A currency code; amounts are converted to {currency.to}."}
    return schema if currency.default is None else {**schema, "default": currency.default}


def _default(feature: Feature) -> object:
    return None if isinstance(feature, ImageFeature) else feature.default
