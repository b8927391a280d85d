"""What a request asks of the models: the calls that gRPC and REST share.

The messages are those of TensorFlow Serving; every failure is a StatusError with its code and text.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfserving.server.tensor import Tensor
from tfserving.wire import messages_pb2 as m


@dataclass(frozen=True, slots=True, kw_only=True)
class Predicted:
    """The outputs by alias, and which model version and signature produced them."""

    outputs: dict[str, Tensor]
    name: str
    version: int
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Classified:
    """One `ClassificationResult` and where it came from."""

    result: m.ClassificationResult
    name: str
    version: int
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Regressed:
    """One `RegressionResult` and where it came from."""

    result: m.RegressionResult
    name: str
    version: int
    signature: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Described:
    """The signatures of one loaded version."""

    name: str
    version: int
    signatures: m.SignatureDefMap


class Inference:
    """Answers requests from the versions that are loaded. Thread-safe; calls block until the model has run.

    `timeout` is in seconds and bounds the run of the model; None and less than a millisecond mean no bound.
    """

    def predict(
        self,
        spec: m.ModelSpec,
        inputs: Mapping[str, Tensor],
        *,
        output_filter: Sequence[str] = (),
        timeout: float | None,
    ) -> Predicted: ...

    def classify(self, spec: m.ModelSpec, examples: Sequence[bytes], *, timeout: float | None) -> Classified: ...

    def regress(self, spec: m.ModelSpec, examples: Sequence[bytes], *, timeout: float | None) -> Regressed: ...

    def signature(self, spec: m.ModelSpec, name: str) -> m.SignatureDef | None: ...

    def metadata(self, spec: m.ModelSpec) -> Described: ...

    def status(self, name: str, version: int | None) -> list[m.ModelVersionStatus]: ...
