"""`deployer predict`: send records to a release; if expected values are known, compute the accuracy."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from deployer.errors import SpecError, TargetError, UsageError
from deployer.records import files
from deployer.records.endpoint import Grpc, RecordApi, Value
from deployer.records.expected import accuracy
from deployer.records.files import Batch, Line, Sample
from deployer.records.rows import Row
from deployer.records.send import SendFailed, sender, value_of
from deployer.release import endpoints
from deployer.release.batch import tables
from deployer.release.batch.ask import Asker, Outcome, Problem
from deployer.release.batch.ask import Bad as Refused
from deployer.release.batch.pace import Pace
from deployer.release.batch.pack import pack, within
from deployer.release.batch.tables import Format
from deployer.targets.base import Progress, Target
from tfserving.wire.messages_pb2 import PredictResponse

NAMED = 3
"""Bad records that an error names."""


@dataclass(frozen=True, kw_only=True)
class PredictRequest:
    """What to send, and where.

    `records` is a JSONL file, see `deployer.records.files`; `-` is standard input. Without `label` the gateway
    routes by its weights. `direct` sends tensors by gRPC to one replica, bypassing the gateway. One request has at
    most `batch` records (fewer if the gateway takes fewer), `concurrency` requests are in flight; `timeout` bounds
    each request, and the time without any response, in seconds. With `skip_bad`, bad records are skipped and the
    others predicted.
    """

    model: str
    records: Path
    label: str = ""
    direct: bool = False
    batch: int = 64
    concurrency: int = 4
    timeout: float = 30.0
    skip_bad: bool = False


@dataclass(frozen=True, kw_only=True)
class Alternative:
    """A label and its score."""

    label: str
    score: float


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One prediction (a label, a number or a row of numbers), the version that made it, and the expected value.

    `row` is the number of the record in the file, counted from 1. `score` and `alternatives` are those of a
    classification.
    """

    row: int
    prediction: Value
    version: int
    score: float | None = None
    alternatives: tuple[Alternative, ...] = ()
    expected: object = None


@dataclass(frozen=True, kw_only=True)
class BadRecord:
    """A record without a prediction: its number, its line in the file, and every reason."""

    row: int
    line: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """All predictions in the order of the records. `versions` counts them by version; `accuracy` is None if no record
    has an expected value."""

    model: str
    label: str
    through: str
    versions: Mapping[int, int]
    accuracy: float | None
    answers: tuple[Prediction, ...]
    bad: tuple[BadRecord, ...] = ()


def predict(
    target: Target, request: PredictRequest, progress: Progress, lines: Sequence[Line] | None = None
) -> Predicted:
    """Send every record once: those of the file, or `lines` if they have been read from it.

    Errors: SpecError for records that the release rejects (its error message is the cause), TargetError when it does
    not respond or is not running, WaitTimeout when it stays busy.
    """
    if request.direct and request.skip_bad:
        raise UsageError("--skip-bad needs the gateway, which validates the records", hint="leave out --direct")
    lines = files.read(request.records) if lines is None else lines
    if not request.skip_bad:
        for line in lines:
            files.readable(request.records, line)
    with target.reachable_gateways() as gateways:
        through, endpoint = endpoints.endpoint(
            target,
            request.model,
            label=request.label,
            direct=request.direct,
            timeout=request.timeout,
            gateways=gateways,
        )
        progress(f"sending {len(lines)} record{'' if len(lines) == 1 else 's'} of {request.model} to {through}")
        if isinstance(endpoint, Grpc):
            samples = [line.sample for line in lines if line.sample is not None]
            found, bad = asyncio.run(_send(endpoint, samples, request, through)), []
        else:
            limits = within(endpoints.settings_in_force(target), records=request.batch)
            chunks = list(pack(_rows(lines, request.records), limits))
            outcomes = asyncio.run(_ask(endpoint, chunks, request))
            found, bad = _predictions(outcomes, lines), list(_bad(outcomes))
    if bad and not request.skip_bad:
        raise _refusal(request, bad, len(lines))
    return Predicted(
        model=request.model,
        label=request.label,
        through=through,
        versions=dict(sorted(Counter(one.version for one in found).items())),
        accuracy=accuracy([Sample(expected=one.expected) for one in found], [one.prediction for one in found]),
        answers=tuple(found),
        bad=tuple(bad),
    )


def _rows(lines: Sequence[Line], file: Path) -> Iterator[Row]:
    for number, line in enumerate(lines, 1):
        record, problem = b"", line.problem
        if line.sample is not None:
            record = b"" if line.sample.record is None else msgspec.json.encode(line.sample.record)
            problem = "" if record else 'the gateway needs lines with "record", not "inputs"'
        yield Row(number=number, file=file, line=line.number, record=record, problem=problem)


async def _ask(endpoint: RecordApi, chunks: Sequence[tuple[Row, ...]], request: PredictRequest) -> list[Outcome]:
    asker = Asker(
        endpoint,
        pace=Pace(most=request.concurrency),
        rate=None,
        request_timeout=request.timeout,
        patience=request.timeout,
    )
    tasks = [asyncio.create_task(asker.ask(chunk)) for chunk in chunks]
    try:
        return [outcome for outcomes in await asyncio.gather(*tasks) for outcome in outcomes]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        asker.close()


def _predictions(outcomes: Sequence[Outcome], lines: Sequence[Line]) -> list[Prediction]:
    found = []
    for outcome in outcomes:
        if isinstance(outcome, Refused):
            continue
        prediction: dict[str, Any] = msgspec.json.decode(outcome.prediction)
        sample = lines[outcome.row.number - 1].sample
        found.append(
            Prediction(
                row=outcome.row.number,
                prediction=value_of(prediction),
                version=outcome.version,
                score=prediction.get("score"),
                alternatives=tuple(Alternative(**one) for one in prediction.get("alternatives", ())),
                expected=sample.expected if sample is not None else None,
            )
        )
    return found


def _bad(outcomes: Sequence[Outcome]) -> Iterator[BadRecord]:
    for outcome in outcomes:
        if isinstance(outcome, Refused):
            yield BadRecord(row=outcome.row.number, line=outcome.row.line, problems=outcome.problems)


def _refusal(request: PredictRequest, bad: Sequence[BadRecord], total: int) -> SpecError:
    named = [f"line {record.line}: {'; '.join(map(str, record.problems))}" for record in bad[:NAMED]]
    more = [f"and {len(bad) - NAMED} more"] if len(bad) > NAMED else []
    return SpecError(
        f"{request.model} refuses {len(bad)} of {total} records of {request.records}",
        cause="\n".join([*named, *more]),
        hint="correct them, or predict the others with --skip-bad",
    )


def write(found: Predicted, path: Path) -> None:
    """Write the predictions in the format of the suffix, by one rename. Errors: UsageError (suffix), OSError."""
    form = format_of(path)
    columns = ["row", "version", "prediction"]
    columns += ["score", "alternatives"] if any(one.alternatives for one in found.answers) else []
    columns += ["expected"] if any(one.expected is not None for one in found.answers) else []
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        tables.write((msgspec.to_builtins(one) for one in found.answers), draft, form, tuple(columns))
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def format_of(path: Path) -> Format:
    """The format of a suffix. Errors: UsageError, also when a library for it is missing."""
    suffixes = [f".{form}" for form in Format]
    if path.suffix not in suffixes:
        raise UsageError(f"{path} has no suffix of a known format", hint=f"one of {', '.join(suffixes)}")
    form = Format(path.suffix[1:])
    tables.require(form)
    return form


async def _send(endpoint: Grpc, samples: Sequence[Sample], request: PredictRequest, through: str) -> list[Prediction]:
    client = sender(endpoint, timeout=request.timeout)
    free = asyncio.Semaphore(request.concurrency)
    batches = files.batches(samples, min(request.batch, len(samples)))

    async def send_batch(batch: Batch) -> list[Prediction]:
        async with free:
            body = await client.send(client.payload(batch))
        version = PredictResponse.FromString(body).model_spec.version.value
        rows = client.predictions(body)
        return [
            Prediction(row=index + 1, prediction=row, version=version, expected=sample.expected)
            for index, row, sample in zip(batch.indices, rows, batch.samples, strict=True)
        ]

    try:
        await client.open(min(request.concurrency, len(batches)))
        nested = await asyncio.gather(*(send_batch(batch) for batch in batches))
    except SendFailed as error:
        raise _refused(error, request, through) from error
    finally:
        await client.close()
    return [one for part in nested for one in part][: len(samples)]


def _refused(error: SendFailed, request: PredictRequest, through: str) -> SpecError | TargetError:
    problem = str(error)
    if error.code == "INVALID_ARGUMENT":
        return SpecError(
            f"{request.model} rejected records of {request.records}",
            cause=problem,
            hint="`deployer status` shows models, versions and labels",
        )
    return TargetError(f"{through} returned {error.code}", cause=problem, hint="`deployer status` shows what is served")
