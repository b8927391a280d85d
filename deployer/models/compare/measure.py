"""Measures versions of a model, each on a model server of its own, with the same records one after the other."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from deployer.domain.gate import Gate, Metric
from deployer.domain.store import DEFAULT_SIGNATURE
from deployer.errors import ExportError, SpecError
from deployer.models.compare.result import Comparison, Measured, front
from deployer.models.features.holdout import Holdout, plain_answers
from deployer.models.proof.served import load_error
from deployer.records import files
from deployer.targets.base import Progress
from deployer.targets.local.memory import resident
from deployer.targets.local.one_server import TFLITE, OneServer, Program, one_server
from deployer.targets.storage import manifest, signatures
from deployer.targets.storage.layout import ModelStore
from tfserving.client import ModelServerError
from tfserving.wire.tensors import Array

NAME = "version"
CHUNK = 64
"""Records in a request of the pass for accuracy."""
WARM_UP = 50
LOAD_TIMEOUT = 300.0
CALL_TIMEOUT = 120.0
GATES = (Metric.ACCURACY, Metric.P50, Metric.P99, Metric.SIZE, Metric.LOAD_TIME, Metric.MEMORY)
"""Metrics of gates that a comparison knows; other gates are about traffic."""


@dataclass(frozen=True, kw_only=True)
class CompareRequest:
    """What to compare. `threads` are those of a replica inside and between operations.

    `requests` is the number of one-record requests to each version; `gates` are checked where they are about a
    measured figure.
    """

    store: Path
    model: str
    versions: tuple[int, ...]
    records: Path
    signature: str = DEFAULT_SIGNATURE
    rates: Path | None = None
    requests: int = 1000
    threads: int = 1
    gates: tuple[Gate, ...] = ()
    program: Program = field(default_factory=Program)

    def __post_init__(self) -> None:
        if len(set(self.versions)) < 2:
            raise SpecError("a comparison needs two versions", hint="deployer models compare MODEL 2 3")


@dataclass(kw_only=True)
class _Candidate:
    version: int
    path: Path
    server: OneServer
    rows: dict[str, Array]
    holdout: Holdout | None
    latencies: list[float] = field(default_factory=list)
    cpu: float = 0.0


def compare(request: CompareRequest, *, progress: Progress) -> Comparison:
    """Serve every version and send the records to all of them in turn, so that noise of the machine meets all alike.

    Errors: SpecError for records that a version does not take; ExportError for a version that does not load.
    """
    store = ModelStore(root=request.store, model=request.model)
    samples = files.load(request.records)
    flags = (
        *TFLITE[:1],
        f"--num_tflite_pools={request.threads}",
        f"--tensorflow_intra_op_parallelism={request.threads}",
        f"--tensorflow_inter_op_parallelism={request.threads}",
    )
    with ExitStack() as stack:
        candidates = []
        for version in dict.fromkeys(request.versions):
            path = store.path(version)
            holdout, rows = _rows(path, samples, request)
            progress(f"loading version {version}")
            server = stack.enter_context(one_server(request.program, {NAME: path}, flags=flags, timeout=LOAD_TIMEOUT))
            for message in server.failed.values():
                raise load_error(message, warm_up=True)
            candidates.append(_Candidate(version=version, path=path, server=server, rows=rows, holdout=holdout))
        answers = {one.version: _answers(one, request) for one in candidates}
        progress(f"sending {request.requests} requests of one record to each version")
        _time(candidates, request)
        measured = tuple(_measured(one, answers[one.version], samples, request) for one in candidates)
    return Comparison(
        model=request.model,
        records=len(samples),
        requests=request.requests,
        threads=request.threads,
        versions=measured,
        front=front(measured),
        gates=tuple(gate.text for gate in request.gates if gate.metric in GATES and not gate.of_stable),
    )


def _rows(
    path: Path, samples: Sequence[files.Sample], request: CompareRequest
) -> tuple[Holdout | None, dict[str, Array]]:
    """The records as tensors of a version: as `inputs` has them, or by the feature spec, which also reads outputs."""
    declared = signatures.read(path).signature(request.signature).inputs
    if all(sample.inputs is not None for sample in samples):
        given = [sample.inputs for sample in samples if sample.inputs is not None]
        try:
            return None, {
                name: np.array([row[name] for row in given], object if fact.dtype == "string" else fact.dtype)
                for name, fact in declared.items()
            }
        except (KeyError, ValueError, TypeError) as error:
            raise SpecError(
                f"the inputs of {request.records} do not fit version {path.name}",
                cause=f"{type(error).__name__}: {error}",
                hint='write {"inputs": {INPUT: one row}, "expected": …} for each input of the signature',
            ) from error
    features = path / manifest.FEATURES
    if not features.exists():
        raise SpecError(
            f"version {path.name} has no feature spec, so it takes no records",
            hint='write lines of {"inputs": {INPUT: one row}, "expected": …}',
        )
    holdout = Holdout(features, request.rates, f"version {path.name}")
    return holdout, holdout.tensors([sample.record or {} for sample in samples])


def _answers(one: _Candidate, request: CompareRequest) -> list[Any]:
    count = len(next(iter(one.rows.values())))
    found: list[Any] = []
    for start in range(0, count, CHUNK):
        outputs = _predict(one, {name: rows[start : start + CHUNK] for name, rows in one.rows.items()}, request)
        if one.holdout is not None:
            found += one.holdout.answers(outputs)
        else:
            found += plain_answers(outputs[min(outputs)])
    return found


def _predict(one: _Candidate, inputs: Mapping[str, Array], request: CompareRequest) -> Mapping[str, Array]:
    try:
        return one.server.client.predict(NAME, dict(inputs), signature=request.signature, timeout=CALL_TIMEOUT).outputs
    except ModelServerError as error:
        raise ExportError(
            f"version {one.version} rejects the records", cause=error.message, hint="check --records"
        ) from error


def _time(candidates: Sequence[_Candidate], request: CompareRequest) -> None:
    count = len(next(iter(candidates[0].rows.values())))
    single = [{name: one.rows[name] for name in one.rows} for one in candidates]
    for number in range(-WARM_UP, request.requests):
        if number == 0:
            for one in candidates:
                one.cpu = one.server.running.cpu_seconds()
        at = number % count
        for one, rows in zip(candidates, single, strict=True):
            inputs = {name: values[at : at + 1] for name, values in rows.items()}
            began = time.perf_counter()
            _predict(one, inputs, request)
            if number >= 0:
                one.latencies.append(time.perf_counter() - began)
    for one in candidates:
        one.cpu = one.server.running.cpu_seconds() - one.cpu


def _measured(
    one: _Candidate, answers: Sequence[Any], samples: Sequence[files.Sample], request: CompareRequest
) -> Measured:
    known = manifest.read(one.path) if (one.path / manifest.MANIFEST).exists() else None
    accuracy, error = _score(answers, samples, numeric=one.holdout is not None and one.holdout.numeric)
    p50, p99 = (float(value) * 1e3 for value in np.percentile(one.latencies, [50, 99]))
    size = known.size if known else sum(file.stat().st_size for file in one.path.rglob("*") if file.is_file())
    memory, load = resident(one.server.running.pid) or 0, one.server.load_seconds
    values = {
        Metric.ACCURACY: accuracy,
        Metric.P50: p50,
        Metric.P99: p99,
        Metric.SIZE: float(size),
        Metric.LOAD_TIME: load,
        Metric.MEMORY: float(memory),
    }
    failed = tuple(
        gate.text
        for gate in request.gates
        if not gate.of_stable and (value := values.get(gate.metric)) is not None and not gate.holds(value)
    )
    return Measured(
        version=one.version,
        format=str(known.format) if known else "savedmodel",
        quantize=str(known.quantize) if known else "none",
        accuracy=accuracy,
        error=error,
        p50_ms=p50,
        p99_ms=p99,
        cpu_ms=one.cpu / request.requests * 1e3,
        size=size,
        load_seconds=load,
        memory=memory,
        failed_gates=failed,
    )


def _score(
    answers: Sequence[Any], samples: Sequence[files.Sample], *, numeric: bool
) -> tuple[float | None, float | None]:
    """The share of right answers, or the mean absolute error of numbers; both None without expected values."""
    judged = [(answer, sample.expected) for answer, sample in zip(answers, samples, strict=True)]
    judged = [(answer, expected) for answer, expected in judged if expected is not None]
    if not judged:
        return None, None
    if numeric or any(isinstance(answer, float) for answer, _ in judged):
        try:
            return None, float(np.mean([abs(float(answer) - float(expected)) for answer, expected in judged]))
        except (TypeError, ValueError) as error:
            raise SpecError("the predictions are numbers, and an expected value is none", cause=str(error)) from error
    return sum(str(answer) == str(expected) for answer, expected in judged) / len(judged), None
