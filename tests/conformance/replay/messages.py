"""Protobuf messages as JSON, so that recordings can be read and compared.

Only the fields that are on the wire appear, in the names of the .proto files; texts that cannot be printed, and bytes,
are {"b64": …}. Fields that the message type does not have are listed under "unknown_fields".
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Iterator
from typing import Any, TypeAlias

from google.protobuf import descriptor_pb2, descriptor_pool, empty_pb2, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.unknown_fields import UnknownFieldSet

from replay.cases import Answer, Json
from tfserving.wire import messages_pb2
from tfserving.wire.methods import METHODS

_Type: TypeAlias = Any  # Descriptor and FieldDescriptor: the stubs have two of each, one without fields
_Field: TypeAlias = Any

_LENGTH_DELIMITED = 2
_FIXED = {FieldDescriptor.TYPE_FLOAT: "<f", FieldDescriptor.TYPE_DOUBLE: "<d"}
_SIGNED = (FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_ENUM)


def _health() -> tuple[type[Message], type[Message]]:
    """The two messages of grpc.health.v1.Health/Check, which no package of ours has."""
    file = descriptor_pb2.FileDescriptorProto(name="health.proto", package="conformance", syntax="proto3")
    for name, field, kind in (("Request", "service", "TYPE_STRING"), ("Response", "status", "TYPE_INT32")):
        file.message_type.add(name=name).field.add(name=field, number=1, type=kind, label="LABEL_OPTIONAL")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    request, response = (
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"conformance.{name}"))
        for name in ("Request", "Response")
    )
    return request, response


_TYPES: dict[str, tuple[type[Message], type[Message]]] = {
    **{method.path: (method.request, method.response) for method in METHODS},
    "/grpc.health.v1.Health/Check": _health(),
}


def request_type(path: str) -> type[Message]:
    """The message that a method takes; an empty one for a method that nobody has."""
    return _TYPES.get(path, (empty_pb2.Empty, empty_pb2.Empty))[0]


def response_type(path: str) -> type[Message]:
    """The message that a method returns; an empty one for a method that nobody has."""
    return _TYPES.get(path, (empty_pb2.Empty, empty_pb2.Empty))[1]


def decode(kind: _Type, data: bytes) -> Answer:
    """A message as JSON. Raises google.protobuf.message.DecodeError for bytes that are none."""
    found: dict[str, Any] = {}
    # Read as a message without fields, all fields of the wire are "unknown" ones: nothing is dropped, also no zero.
    unread: Any = UnknownFieldSet(empty_pb2.Empty.FromString(data))
    for item in unread:
        field = kind.fields_by_number.get(item.field_number)
        if field is None:
            found.setdefault("unknown_fields", []).append(item.field_number)
        elif _is_map(field):
            found.setdefault(field.name, {}).update([_entry(field, item.data)])
        elif field.is_repeated:
            found.setdefault(field.name, []).extend(_values(field, item.wire_type, item.data))
        else:
            found[field.name] = _value(field, item.data)
    if str(found.get("type_url", "")).endswith(".SignatureDefMap") and "value" in found:
        found["value"] = decode(messages_pb2.SignatureDefMap.DESCRIPTOR, _bytes(found["value"]))
    return found


def encode(kind: type[Message], content: Any) -> bytes:
    """The opposite: the bytes of a message from its JSON. Raises ValueError or TypeError for what it cannot hold."""
    message = kind()
    _fill(message, content)
    return message.SerializeToString(deterministic=True)


def _is_map(field: _Field) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def _entry(field: _Field, data: bytes) -> tuple[str, Json]:
    value = field.message_type.fields_by_name["value"]
    entry = decode(field.message_type, data)
    name = entry.get("key", "")
    default: Json = {} if value.message_type else value.default_value
    return (name if isinstance(name, str) else _bytes(name).decode("utf-8", "replace")), entry.get("value", default)


def _values(field: _Field, wire_type: int, data: Any) -> Iterator[Json]:
    if wire_type != _LENGTH_DELIMITED or field.type in (
        FieldDescriptor.TYPE_MESSAGE,
        FieldDescriptor.TYPE_STRING,
        FieldDescriptor.TYPE_BYTES,
    ):
        yield _value(field, data)
    elif field.type in _FIXED:
        for (number,) in struct.iter_unpack(_FIXED[field.type], data):
            yield number
    else:
        for number in _varints(data):
            yield _value(field, number)


def _varints(data: bytes) -> Iterator[int]:
    number = shift = 0
    for byte in data:
        number |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield number
            number = shift = 0


def _value(field: _Field, data: Any) -> Json:
    wants_bytes = field.message_type is not None or _textual(field)
    if isinstance(data, UnknownFieldSet) or isinstance(data, bytes) != wants_bytes:
        return {"wrong_wire_type": field.number}
    if field.message_type is not None:
        return decode(field.message_type, data)
    if _textual(field):
        return _text(data)
    if field.type == FieldDescriptor.TYPE_FLOAT:
        return float(struct.unpack("<f", data.to_bytes(4, "little"))[0])
    if field.type == FieldDescriptor.TYPE_DOUBLE:
        return float(struct.unpack("<d", data.to_bytes(8, "little"))[0])
    if field.type == FieldDescriptor.TYPE_BOOL:
        return bool(data)
    return int(data - (1 << 64) if field.type in _SIGNED and data >= 1 << 63 else data)


def _textual(field: _Field) -> bool:
    return field.type in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)


def _text(data: bytes) -> Json:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text = "\0"
    if all(letter >= " " or letter in "\n\t" for letter in text):
        return text
    return {"b64": base64.b64encode(data).decode()}


def _bytes(value: Any) -> bytes:
    return base64.b64decode(value["b64"]) if isinstance(value, dict) else value.encode("utf-8", "surrogatepass")


def _fill(message: Message, content: dict[str, Any]) -> None:
    fields: Any = message.DESCRIPTOR.fields_by_name
    if missing := [name for name in content if name not in fields]:
        raise ValueError(f"{message.DESCRIPTOR.name} has no field {', '.join(missing)}")
    for field in sorted((fields[name] for name in content), key=lambda field: field.number):
        value, target = content[field.name], getattr(message, field.name)
        if _is_map(field):
            for key, item in value.items():
                if field.message_type.fields_by_name["value"].message_type:
                    _fill(target[key], item)
                else:
                    target[key] = item
        elif field.message_type is not None and field.is_repeated:
            for item in value:
                _fill(target.add(), item)
        elif field.message_type is not None:
            target.SetInParent()
            _fill(target, value)
        elif field.is_repeated:
            target.extend(_scalar(field, item) for item in value)
        else:
            setattr(message, field.name, _scalar(field, value))


def _scalar(field: _Field, value: Any) -> Any:
    if field.type == FieldDescriptor.TYPE_BYTES:
        return _bytes(value)
    return _bytes(value).decode() if field.type == FieldDescriptor.TYPE_STRING else value
