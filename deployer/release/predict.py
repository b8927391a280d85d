"""`deployer predict`: send records to a release; if expected values are known, compute the accuracy."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from deployer.errors import SpecError, TargetError
from deployer.records import files
from deployer.records.endpoint import Grpc, RecordApi, Value
from deployer.records.expected import accuracy
from deployer.records.files import Batch, Sample
from deployer.records.send import SendFailed, sender
from deployer.release import endpoints
from deployer.targets.base import Progress, Target
from tfserving.wire.messages_pb2 import PredictResponse


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """What to send, and where.

    `records` is a JSONL file, see `deployer.records.files`. Without `label` the gateway routes by its weights.
    `direct` sends tensors by gRPC to one replica, bypassing the gateway. One request has `batch` records,
    `concurrency` requests are in flight, each with a timeout of `timeout` seconds.
    """

    model: str
    records: Path
    label: str = ""
    direct: bool = False
    batch: int = 64
    concurrency: int = 4
    timeout: float = 30.0


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One prediction (a label, a number or a row of numbers), the version that made it, and the expected value."""

    prediction: Value
    version: int
    expected: object = None


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """All predictions in the order of the records. `versions` counts them by version; `accuracy` is None if no record
    has an expected value."""

    model: str
    label: str
    through: str
    versions: Mapping[int, int]
    accuracy: float | None
    answers: tuple[Answer, ...]


def predict(target: Target, request: PredictRequest, progress: Progress) -> Predicted:
    """Send every record once.

    Errors: SpecError for records that the release rejects (its error message is the cause), TargetError when it does
    not respond or is not running.
    """
    samples = files.load(request.records)
    with target.reachable_gateways() as gateways:
        through, endpoint = endpoints.endpoint(
            target,
            request.model,
            label=request.label,
            direct=request.direct,
            timeout=request.timeout,
            gateways=gateways,
        )
        progress(f"sending {len(samples)} record{'' if len(samples) == 1 else 's'} of {request.model} to {through}")
        found = asyncio.run(_send(endpoint, samples, request, through))
    return Predicted(
        model=request.model,
        label=request.label,
        through=through,
        versions=dict(sorted(Counter(answer.version for answer in found).items())),
        accuracy=accuracy(samples, [answer.prediction for answer in found]),
        answers=tuple(found),
    )


async def _send(
    endpoint: RecordApi | Grpc, samples: tuple[Sample, ...], request: PredictRequest, through: str
) -> list[Answer]:
    client = sender(endpoint, timeout=request.timeout)
    free = asyncio.Semaphore(request.concurrency)
    batches = files.batches(samples, min(request.batch, len(samples)))

    async def send_batch(batch: Batch) -> list[Answer]:
        async with free:
            body = await client.send(client.payload(batch))
        version = _version(endpoint, body)
        rows = client.predictions(body)
        return [
            Answer(prediction=row, version=version, expected=sample.expected)
            for row, sample in zip(rows, batch.samples, strict=True)
        ]

    try:
        await client.open(min(request.concurrency, len(batches)))
        nested = await asyncio.gather(*(send_batch(batch) for batch in batches))
    except SendFailed as error:
        raise _refused(error, request, through) from error
    finally:
        await client.close()
    return [answer for answers in nested for answer in answers][: len(samples)]


class _Metadata(msgspec.Struct):
    model_version: int


class _RecordsResponse(msgspec.Struct):
    metadata: _Metadata


def _version(endpoint: RecordApi | Grpc, body: bytes) -> int:
    if isinstance(endpoint, Grpc):
        return PredictResponse.FromString(body).model_spec.version.value
    try:
        return msgspec.json.decode(body, type=_RecordsResponse).metadata.model_version
    except msgspec.MsgspecError as error:
        raise SendFailed("malformed", "a response without metadata.model_version") from error


class _ErrorBody(msgspec.Struct):
    error: str


def _refused(error: SendFailed, request: PredictRequest, through: str) -> SpecError | TargetError:
    try:
        problem = msgspec.json.decode(str(error), type=_ErrorBody).error
    except msgspec.MsgspecError:
        problem = str(error)
    if error.code in ("400", "INVALID_ARGUMENT"):
        return SpecError(
            f"{request.model} rejected records of {request.records}",
            cause=problem,
            hint=f"records are numbered from 0 in each request of {request.batch}; use --batch 1 to find the line"
            if "record " in problem
            else "`deployer status` shows models, versions and labels",
        )
    return TargetError(f"{through} returned {error.code}", cause=problem, hint="`deployer status` shows what is served")
