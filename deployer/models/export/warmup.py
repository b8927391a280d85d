"""Warm-up requests: a model server runs them after it has loaded a version, before the version is AVAILABLE.

There is one record per batch size, because kernels are selected and memory is allocated per shape. If a record fails,
or there are more than 1000, TensorFlow Serving does not load the version; so they are replayed before it is published.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deployer.errors import ExportError
from deployer.models.export.sample_inputs import Inputs, take_rows
from deployer.models.export.savedmodel import WrittenModel, read_records, write_records
from tfserving.wire import messages_pb2 as m
from tfserving.wire.tensors import to_array, to_proto

MAX_RECORDS = 1000
"""TensorFlow Serving's limit (kMaxNumRecords)."""


def write(path: Path, *, model: str, signature: str, inputs: Inputs, batch_sizes: Sequence[int]) -> None:
    """Write one PredictionLog per batch size, or one with all `inputs` without batch sizes.

    Errors: ExportError for sizes that are not positive or too many.
    """
    if len(batch_sizes) > MAX_RECORDS:
        raise ExportError(f"{len(batch_sizes)} warm-up batch sizes; a server allows {MAX_RECORDS}", hint="use fewer")
    if any(size < 1 for size in batch_sizes):
        raise ExportError(f"warm-up batch size {min(batch_sizes)} is not positive", hint="use sizes from 1")
    batches = [take_rows(inputs, size) for size in batch_sizes] or [inputs]
    write_records(path, [_record(model, signature, batch) for batch in batches])


def replay(path: Path, written: WrittenModel) -> int:
    """Run every record through the SavedModel, like a server; returns the count. Errors: ExportError."""
    records = read_records(path)
    for record in records:
        request = m.PredictionLog.FromString(record).predict_log.request
        inputs = {name: to_array(proto) for name, proto in request.inputs.items()}
        written.run(request.model_spec.signature_name, inputs)
    return len(records)


def _record(model: str, signature: str, inputs: Inputs) -> bytes:
    request = m.PredictRequest(model_spec=m.ModelSpec(name=model, signature_name=signature))
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(to_proto(array))
    return m.PredictionLog(predict_log=m.PredictLog(request=request)).SerializeToString(deterministic=True)
