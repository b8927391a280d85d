"""TensorFlow Serving's own request bodies: JSON to tensors and back, by its rules and with its errors.

The element types come from the signature of the version that should answer. When another one responds and its inputs
have other types, the request is converted again for that exact version.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from gateway.active import Model
from gateway.backends.model_server import Metadata, ModelServer, Prediction
from gateway.backends.signatures import Signatures
from gateway.errors import Unavailable
from gateway.observe.metrics import Metrics
from gateway.observe.trace import Trace
from gateway.routing.labels import Choice
from tfserving.json import predict, writer
from tfserving.json.predict import Document
from tfserving.json.reader import read_object
from tfserving.json.tensors import Inputs
from tfserving.wire.methods import DEFAULT_SIGNATURE
from tfserving.wire.tensor import Tensor
from tfserving.wire.tensors import DTYPES, to_proto

ATTEMPTS: Final = 3


def read_document(body: bytes) -> Document:
    """The body of a request and that its signature name is text. Errors: StatusError."""
    document = read_object(body)
    predict.signature_name(document)
    return document


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A body read for one version. `inputs` are serialized TensorProtos; `by_rows` says how to write the response."""

    signature: str
    by_rows: bool
    inputs: Mapping[str, bytes]


Read = Callable[[Metadata], Awaitable[Asked]]
"""What reads a body by the signatures of a version. Errors: StatusError, GatewayError."""


def small(document: Document) -> Read:
    """Reads a body that has been decoded."""

    async def read(metadata: Metadata) -> Asked:
        signature = str(document.get("signature_name", ""))
        tensors = predict.tensors(document, _input_types(metadata, signature))
        inputs = {
            name: to_proto(tensor.array, dtype=tensor.dtype).SerializeToString() for name, tensor in tensors.items()
        }
        return Asked(signature=signature, by_rows="instances" in document, inputs=inputs)

    return read


class TensorApi:
    """Answers bodies with `instances` or `inputs`."""

    def __init__(self, server: ModelServer, signatures: Signatures, metrics: Metrics) -> None:
        self._server = server
        self._signatures = signatures
        self._metrics = metrics

    async def predict(self, model: Model, choice: Choice, read: Read, deadline: float, trace: Trace) -> bytes:
        """The response's body. Errors: StatusError, RpcError, GatewayError."""
        metadata = await self._signatures.of(model, choice, deadline)
        for _ in range(ATTEMPTS):
            asked = await read(metadata)
            trace.mark("decode")
            types = _input_types(metadata, asked.signature)
            prediction = await self._server.predict(model.name, choice, asked.signature, asked.inputs, deadline, trace)
            trace.mark("backend")
            trace.version = str(prediction.version)
            if prediction.version != metadata.version:
                if choice.version is None:
                    model.resolved[choice] = prediction.version
                metadata = await self._signatures.of(model, Choice(version=prediction.version), deadline)
                if _input_types(metadata, asked.signature) != types:
                    self._metrics.mismatches.add(model.name)
                    choice = Choice(version=prediction.version)
                    continue
            return _answer(asked, prediction)
        raise Unavailable(f"model '{model.name}': the version that responds keeps changing; try later", stage="backend")


def _input_types(metadata: Metadata, signature: str) -> Inputs:
    return predict.input_types(metadata.signatures.signature_def.get(signature or DEFAULT_SIGNATURE), signature)


def _answer(asked: Asked, prediction: Prediction) -> bytes:
    outputs = {name: Tensor(DTYPES[prediction.dtypes[name]], array) for name, array in prediction.outputs.items()}
    return writer.row_body(outputs) if asked.by_rows else writer.column_body(outputs)
