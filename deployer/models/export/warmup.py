"""Warm-up requests: a model server runs them after it has loaded a version, before the version is AVAILABLE.

There is one record per batch size, because kernels are selected and memory is allocated per shape. If a record fails,
or there are more than 1000, TensorFlow Serving does not load the version; so export replays them on a model server
before it publishes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from google.protobuf.message import DecodeError

from deployer.errors import ExportError
from deployer.models.export.samples import Inputs, take_rows
from tfserving.wire import messages_pb2 as m
from tfserving.wire.tensors import to_proto
from tfserving.wire.tfrecords import NotRecords, framed, masked, records

MAX_RECORDS = 1000
"""TensorFlow Serving's limit (kMaxNumRecords)."""


def write(path: Path, *, model: str, signature: str, inputs: Inputs, batch_sizes: Sequence[int]) -> int:
    """Write one PredictionLog per batch size, or one with all `inputs` without batch sizes.

    Returns the number. Errors: ExportError for sizes that are not positive or too many.
    """
    if len(batch_sizes) > MAX_RECORDS:
        raise ExportError(f"{len(batch_sizes)} warm-up batch sizes; a server allows {MAX_RECORDS}", hint="use fewer")
    if any(size < 1 for size in batch_sizes):
        raise ExportError(f"warm-up batch size {min(batch_sizes)} is not positive", hint="use sizes from 1")
    batches: list[Mapping[str, object]] = [take_rows(inputs, size) for size in batch_sizes] or [inputs]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(_framed(_record(model, signature, batch)) for batch in batches))
    return len(batches)


def count(path: Path) -> int:
    """The number of requests in a warm-up file. Errors: ExportError for any other file."""
    found = 0
    try:
        with path.open("rb") as stream:
            for record in records(stream):
                m.PredictionLog.FromString(record)
                found += 1
    except (NotRecords, DecodeError) as error:
        raise ExportError(
            f"{path} is not a file of warm-up requests",
            cause=str(error),
            hint="use --warmup new, which replaces it with requests from the sample inputs",
        ) from error
    return found


def _framed(data: bytes) -> bytes:
    import google_crc32c  # a checksum in Python would take seconds for large data

    return framed(data, masked(google_crc32c.value(data)))


def _record(model: str, signature: str, inputs: Mapping[str, object]) -> bytes:
    request = m.PredictRequest(model_spec=m.ModelSpec(name=model, signature_name=signature))
    for name, array in inputs.items():
        request.inputs[name].CopyFrom(to_proto(array))  # type: ignore[arg-type]
    return m.PredictionLog(predict_log=m.PredictLog(request=request)).SerializeToString(deterministic=True)
