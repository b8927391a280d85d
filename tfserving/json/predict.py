"""The body of a predict request in JSON: its signature, its tensors, and the form in which it wants its response."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from tfserving.json import writer
from tfserving.json.tensors import Inputs, from_inputs, from_instances
from tfserving.json.values import JsonValue
from tfserving.wire import messages_pb2 as m
from tfserving.wire.methods import DEFAULT_SIGNATURE
from tfserving.wire.status import StatusError, invalid
from tfserving.wire.tensor import Tensor
from tfserving.wire.tensors import DTYPES

Document = dict[str, JsonValue]


def signature_name(document: Document) -> str:
    """The signature that a request names, empty for the default. Errors: INVALID_ARGUMENT when that is no text."""
    name = document.get("signature_name", "")
    if not isinstance(name, str):
        raise _wrong(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return name


def input_types(definition: m.SignatureDef | None, name: str) -> Inputs:
    """The inputs of signature `name` ("" = the default); `definition` is None where the version has none of that name.

    Errors: INVALID_ARGUMENT without a definition, or when it has no inputs.
    """
    if definition is None:
        raise invalid(f'Serving signature name: "{name or DEFAULT_SIGNATURE}" not found in signature def')
    if not definition.inputs:
        raise invalid(f"Failed to get input map for signature: {name or 'DEFAULT'}")
    return {alias: DTYPES[info.dtype] for alias, info in definition.inputs.items()}


def tensors(document: Document, types: Inputs) -> dict[str, Tensor]:
    """The tensors of `instances` or `inputs`, by alias. Errors: as of `from_instances` and `from_inputs`."""
    if "instances" in document:
        if "inputs" in document:
            raise _wrong(
                document, "Not formatted correctly expecting only one of 'inputs' or 'instances' keys to exist "
            )
        instances = document["instances"]
        if not isinstance(instances, list):
            raise _wrong(document, "Expecting 'instances' to be an list/array")
        if not instances:
            raise _wrong(document, "No values in 'instances' array")
        return from_instances(instances, types)
    if "inputs" in document:
        return from_inputs(document["inputs"], types)
    raise invalid("Missing 'inputs' or 'instances' key")


def body_writer(document: Document) -> Callable[[Mapping[str, Tensor]], bytes]:
    """What writes the response: by rows to `instances`, by columns to `inputs`."""
    return writer.row_body if "instances" in document else writer.column_body


def _wrong(document: Document, what: str) -> StatusError:
    return invalid(f"JSON Value: {writer.dump(document)} {what}")
