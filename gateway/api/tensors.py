"""TensorFlow Serving's own request bodies: JSON to tensors and back, by its rules and with its errors.

The element types come from the signature of the version that should answer. When another one answers and its inputs
have other types, the request is converted again for that exact version.
"""

from __future__ import annotations

from typing import Final

from gateway.active import Model
from gateway.backends.model_server import Metadata, ModelServer, Prediction
from gateway.backends.signatures import Signatures
from gateway.errors import Unavailable
from gateway.observe.metrics import Metrics
from gateway.observe.trace import Trace
from gateway.routing.labels import Choice
from tfserving.json import writer
from tfserving.json.reader import read_object
from tfserving.json.tensors import Inputs, from_inputs, from_instances
from tfserving.json.values import JsonValue
from tfserving.wire.status import StatusError, invalid
from tfserving.wire.tensor import Tensor
from tfserving.wire.tensors import DTYPES, to_proto

ATTEMPTS: Final = 3
DEFAULT_SIGNATURE: Final = "serving_default"

Document = dict[str, JsonValue]


def read_document(body: bytes) -> Document:
    """The body of a request and that its signature name is text. Errors: StatusError."""
    document = read_object(body)
    if not isinstance(document.get("signature_name", ""), str):
        raise _wrong(document, "not formatted correctly. 'signature_name' key must be a string value.")
    return document


class TensorApi:
    """Answers bodies with `instances` or `inputs`."""

    def __init__(self, server: ModelServer, signatures: Signatures, metrics: Metrics) -> None:
        self._server = server
        self._signatures = signatures
        self._metrics = metrics

    async def predict(self, model: Model, choice: Choice, document: Document, deadline: float, trace: Trace) -> bytes:
        """The answer's body. Errors: StatusError, RpcError, Unavailable."""
        signature = str(document.get("signature_name", ""))
        metadata = await self._signatures.of(model, choice, deadline)
        for _ in range(ATTEMPTS):
            types = _input_types(metadata, signature)
            tensors = _tensors(document, types)
            trace.mark("decode")
            inputs = {
                name: to_proto(tensor.array, dtype=tensor.dtype).SerializeToString() for name, tensor in tensors.items()
            }
            prediction = await self._server.predict(model.name, choice, signature, inputs, deadline)
            trace.mark("backend")
            trace.version = str(prediction.version)
            if prediction.version != metadata.version:
                if choice.version is None:
                    model.resolved[choice] = prediction.version
                metadata = await self._signatures.of(model, Choice(version=prediction.version), deadline)
                if _input_types(metadata, signature) != types:
                    self._metrics.mismatches.add(model.name)
                    choice = Choice(version=prediction.version)
                    continue
            return _answer(document, prediction)
        raise Unavailable(f"model '{model.name}': the version that answers keeps changing; try later", stage="backend")


def _input_types(metadata: Metadata, signature: str) -> Inputs:
    definition = metadata.signatures.signature_def.get(signature or DEFAULT_SIGNATURE)
    if definition is None:
        raise invalid(f'Serving signature name: "{signature or DEFAULT_SIGNATURE}" not found in signature def')
    if not definition.inputs:
        raise invalid(f"Failed to get input map for signature: {signature or 'DEFAULT'}")
    return {name: DTYPES[info.dtype] for name, info in definition.inputs.items()}


def _tensors(document: Document, types: Inputs) -> dict[str, Tensor]:
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


def _answer(document: Document, prediction: Prediction) -> bytes:
    outputs = {name: Tensor(DTYPES[prediction.dtypes[name]], array) for name, array in prediction.outputs.items()}
    return writer.row_body(outputs) if "instances" in document else writer.column_body(outputs)


def _wrong(document: Document, what: str) -> StatusError:
    return invalid(f"JSON Value: {writer.dump(document)} {what}")
