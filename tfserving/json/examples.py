"""JSON objects to serialized `tensorflow.Example`s, for classify and regress requests."""

from __future__ import annotations

from tfserving.json.tensors import base64_bytes, is_base64, type_name
from tfserving.json.values import JsonValue, is_double, is_utf8, members, until_nul
from tfserving.json.writer import dump
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import invalid

_SMALLEST_NORMAL_FLOAT = 2.0**-126


def read_examples(request: dict[str, JsonValue]) -> list[bytes]:
    """The serialized examples of a request body; the features of its `context` come first in each.

    Errors: INVALID_ARGUMENT.
    """
    context = b""
    if "context" in request:
        context = _example(request["context"]).SerializeToString()
    if "examples" not in request:
        # The text names classify for regress, too.
        raise invalid(
            f"JSON Value: {dump(request)} When method is classify, key 'examples' is expected and was not found"
        )
    examples = request["examples"]
    if not isinstance(examples, list):
        raise invalid(f"JSON Value: {dump(request)} Expecting 'examples' value to be an list/array")
    if not examples:
        raise invalid(f"JSON Value: {dump(request)} 'examples' value is an empty array")
    return [context + _example(example).SerializeToString() for example in examples]


def _example(value: JsonValue) -> m.Example:
    if not isinstance(value, dict):
        raise invalid(f"Example must be JSON object but got JSON {type_name(value)}")
    example = m.Example()
    for key, content in members(value):
        name = until_nul(key)
        feature = m.Feature()
        for item in content if isinstance(content, list) else [content]:
            _add(item, name, feature)
        if is_utf8(name):  # no model asks for a feature whose name is no text
            example.features.feature[name].CopyFrom(feature)
    return example


def _add(value: JsonValue, name: str, feature: m.Feature) -> None:
    if isinstance(value, str):
        _expect(feature, "bytes_list", name)
        feature.bytes_list.value.append(value.encode("utf-8", "surrogateescape"))
    elif is_base64(value):
        _expect(feature, "bytes_list", name)
        feature.bytes_list.value.append(base64_bytes(value))
    elif isinstance(value, bool):
        _expect(feature, "int64_list", name)
        feature.int64_list.value.append(int(value))
    elif is_double(value):
        _expect(feature, "float_list", name)
        assert isinstance(value, int | float)
        normal = abs(value) >= _SMALLEST_NORMAL_FLOAT or value != value
        feature.float_list.value.append(value if normal else value * 0.0)
    elif isinstance(value, int):
        _expect(feature, "int64_list", name)
        if value >= 1 << 63:
            raise invalid(f"Feature: {name} has uint64_t element. Only int64_t is supported.")
        feature.int64_list.value.append(value)
    else:
        raise invalid(f"Feature: {name} has element with unexpected JSON type: {type_name(value)}")


def _expect(feature: m.Feature, kind: str, name: str) -> None:
    """The first element decides the kind of a feature. Errors: INVALID_ARGUMENT for an element of another kind."""
    decided = feature.WhichOneof("kind")
    if decided not in (None, kind):
        raise invalid(f"Unexpected element type in feature: {name} expecting type: {decided.removesuffix('_list')}")
