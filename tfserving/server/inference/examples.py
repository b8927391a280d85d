"""Classify and Regress: which tensors of a signature they use, and how outputs become results. Pure functions.

The checks, their order and their texts are TensorFlow Serving's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from google.protobuf import text_format

from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import StatusError, invalid
from tfserving.wire.tensor import Tensor
from tfserving.wire.tensors import BY_NAME

CLASSIFY_METHOD = "tensorflow/serving/classify"
REGRESS_METHOD = "tensorflow/serving/regress"

_FLOAT, _STRING = BY_NAME["float"], BY_NAME["string"]


@dataclass(frozen=True, slots=True)
class Wiring:
    """Tensor names of a classify or regress signature: one input, and the outputs in the order they are used."""

    input: str
    outputs: tuple[str, ...]


def classify_wiring(signature: m.SignatureDef, *, check_method: bool) -> Wiring:
    """Input "inputs", outputs "classes" and "scores" (at least one). Errors: StatusError INVALID_ARGUMENT."""
    if check_method and signature.method_name != CLASSIFY_METHOD:
        raise invalid(
            f"Expected classification signature method_name to be {CLASSIFY_METHOD}. Was: {signature.method_name}"
        )
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) not in (1, 2):
        raise invalid(f"Expected one or two output Tensors, found {len(signature.outputs)}")
    if "inputs" not in signature.inputs:
        raise invalid(f"No classification inputs found in SignatureDef: {_debug(signature)}")
    names = tuple(signature.outputs[key].name for key in ("classes", "scores") if key in signature.outputs)
    if not names:
        raise invalid(
            'Expected classification signature outputs to contain at least one of "classes" or "scores". '
            f"Signature was: {_debug(signature)}"
        )
    return Wiring(signature.inputs["inputs"].name, names)


def regress_wiring(signature: m.SignatureDef, *, check_method: bool) -> Wiring:
    """Input "inputs", output "outputs". Errors: StatusError INVALID_ARGUMENT."""
    if check_method and signature.method_name != REGRESS_METHOD:
        raise invalid(f"Expected regression signature method_name to be {REGRESS_METHOD}. Was: {signature.method_name}")
    if len(signature.inputs) != 1:
        raise invalid("Expected one input Tensor.")
    if len(signature.outputs) != 1:
        raise invalid("Expected one output Tensor.")
    if "inputs" not in signature.inputs:
        raise invalid(f"No regression inputs found in SignatureDef: {_debug(signature)}")
    if "outputs" not in signature.outputs:
        raise invalid(f"No regression outputs found in SignatureDef: {_debug(signature)}")
    return Wiring(signature.inputs["inputs"].name, (signature.outputs["outputs"].name,))


def example_tensor(examples: Sequence[bytes]) -> Tensor:
    """Serialised Examples as the 1-D string tensor that a model parses. Errors: StatusError when there are none."""
    if not examples:
        raise invalid("Input is empty.")
    array = np.empty(len(examples), object)
    array[:] = examples
    return Tensor(_STRING, array)


def serialized_examples(given: m.Input) -> list[bytes]:
    """The Examples of a request, each with the context of the list in front of it (a merge on the wire)."""
    if given.WhichOneof("kind") == "example_list_with_context":
        context = given.example_list_with_context.context.SerializeToString()
        return [context + example.SerializeToString() for example in given.example_list_with_context.examples]
    return [example.SerializeToString() for example in given.example_list.examples]


def classification(signature: m.SignatureDef, outputs: Sequence[Tensor], rows: int) -> m.ClassificationResult:
    """Labels and scores of each row; a missing label is empty, a missing score 0. Errors: StatusError."""
    found = dict(zip([key for key in ("classes", "scores") if key in signature.outputs], outputs, strict=True))
    for key, tensor in found.items():
        wanted = _STRING if key == "classes" else _FLOAT
        if len(tensor.shape) != 2:
            raise invalid(f"Expected Tensor shape: [batch_size num_classes] but got {_shape(tensor)}")
        if tensor.dtype is not wanted:
            raise invalid(f"Expected {key} Tensor of DT_{wanted.name.upper()}. Got: {_type_name(tensor)}")
        if tensor.shape[0] != rows:
            raise invalid(f"Expected {key} output batch size of {rows}. Got: {tensor.shape[0]}")
    width = next(iter(found.values())).shape[1]
    if len(found) == 2 and found["scores"].shape[1] != width:
        raise invalid(
            f"Tensors class and score should match in dim_size(1). Got {width} vs. {found['scores'].shape[1]}"
        )
    labels = found["classes"].array.tolist() if "classes" in found else [[b""] * width] * rows
    scores = found["scores"].array.tolist() if "scores" in found else [[0.0] * width] * rows
    result = m.ClassificationResult()
    for row_labels, row_scores in zip(labels, scores, strict=True):
        classes = result.classifications.add().classes
        for label, score in zip(row_labels, row_scores, strict=True):
            classes.add(label=label, score=score)
    return result


def regression(outputs: Sequence[Tensor], rows: int) -> m.RegressionResult:
    """The value of each row. Errors: StatusError."""
    (tensor,) = outputs
    if not (len(tensor.shape) == 1 or (len(tensor.shape) == 2 and tensor.shape[1] == 1)):
        raise invalid(
            f"Expected output Tensor shape to be either [batch_size] or [batch_size, 1] but got {_shape(tensor)}"
        )
    if tensor.shape[0] != rows:
        raise invalid(f"Input batch size did not match output batch size: {rows} vs. {tensor.shape[0]}")
    if tensor.dtype is not _FLOAT:
        raise invalid(f"Expected output Tensor of DT_FLOAT.  Got: {_type_name(tensor)}")
    return m.RegressionResult(regressions=[m.Regression(value=value) for value in tensor.array.ravel().tolist()])


def no_such_signature(name: str) -> StatusError:
    """The error of Classify and Regress for an unknown signature; Predict's has another code and text."""
    return invalid(f"No signature was found with the name: {name}")


def _debug(signature: m.SignatureDef) -> str:
    return text_format.MessageToString(signature)


def _shape(tensor: Tensor) -> str:
    return "[" + ",".join(map(str, tensor.shape)) + "]"


def _type_name(tensor: Tensor) -> str:
    return m.DataType.Name(tensor.dtype.number)
