"""Status and metadata answers: protobuf messages as the JSON that TensorFlow Serving prints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from tfserving.wire import messages_pb2 as m

_UNUSED_TENSOR_FIELDS: dict[str, list[object]] = {"resource_handle_val": [], "variant_val": []}
"""Fields of a TensorProto that this package's own message does not declare and that are always printed empty."""


def status_body(versions: Sequence[m.ModelVersionStatus]) -> bytes:
    """The answer to a status request."""
    return _text(_fields(m.GetModelStatusResponse(model_version_status=versions))).encode()


def metadata_body(name: str, version: int, signatures: m.SignatureDefMap) -> bytes:
    """The answer to a metadata request."""
    spec = m.ModelSpec(name=name)
    spec.version.value = version
    definitions = _fields(signatures)
    for signature in definitions["signature_def"].values():
        for tensor in signature["defaults"].values():
            tensor |= _UNUSED_TENSOR_FIELDS
    fields = _fields(spec)
    return (
        "{\n"
        f'"model_spec":{_text(fields)},\n'
        f'"metadata": {{"signature_def": {_text(definitions)}}}\n'
        "}\n"
    ).encode()


def _fields(message: Message) -> dict[str, Any]:
    return MessageToDict(message, always_print_fields_with_no_presence=True, preserving_proto_field_name=True)


def _text(fields: dict[str, Any]) -> str:
    return json.dumps(fields, indent=1, ensure_ascii=False) + "\n"
