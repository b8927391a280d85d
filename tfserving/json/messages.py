"""Status and metadata answers: protobuf messages as the JSON that TensorFlow Serving prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import Code

_UNUSED_TENSOR_FIELDS: dict[str, list[object]] = {"resource_handle_val": [], "variant_val": []}
"""Fields of a TensorProto that this package's own message does not declare and that are always printed empty."""

_FLOAT_FIELDS = {"float_val": 1e6, "double_val": 1e15, "scomplex_val": 1e6, "dcomplex_val": 1e15}
"""Fields whose whole numbers are printed without a point, up to where the exponent form starts."""


def status_body(versions: Sequence[m.ModelVersionStatus]) -> bytes:
    """The response to a status request."""
    entries = [_fields(version) for version in versions]
    for entry, version in zip(entries, versions, strict=True):
        entry.setdefault("status", {"error_code": 0, "error_message": ""})["error_code"] = Code(
            version.status.error_code
        ).name
    return _text({"model_version_status": entries}).encode()


def metadata_body(name: str, version: int, signatures: m.SignatureDefMap) -> bytes:
    """The response to a metadata request."""
    spec = m.ModelSpec(name=name)
    spec.version.value = version
    definitions = _fields(signatures)
    for signature in definitions["signature_def"].values():
        for tensor in signature["defaults"].values():
            tensor |= _UNUSED_TENSOR_FIELDS
            for field, limit in _FLOAT_FIELDS.items():
                tensor[field] = [int(v) if abs(v) < limit and v == int(v) else v for v in tensor[field]]
    fields = _fields(spec)
    return (f'{{\n"model_spec":{_text(fields)},\n"metadata": {{"signature_def": {_text(definitions)}}}\n}}\n').encode()


def _fields(message: Message) -> dict[str, Any]:
    return MessageToDict(message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True)


def _text(fields: dict[str, Any]) -> str:
    return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"
