"""Find out whether batching in the model server pays, and with which parameters."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec

from deployer.errors import ExperimentInvalid, SpecError, UsageError
from deployer.experiment import run as experiment
from deployer.experiment.batching import search
from deployer.experiment.batching.search import Candidate, Cell, Sweep
from deployer.experiment.loadgen.workers import Workers
from deployer.experiment.report import folder
from deployer.experiment.request import ExperimentRequest
from deployer.experiment.run import Generator
from deployer.files import replace_file
from deployer.release import spec
from deployer.release.render import server_files
from deployer.release.render.gateway_file import ROWS_PER_CALL
from deployer.release.render.server_flags import BATCHING_FILE
from deployer.release.threads import MIN_GRPC_THREADS
from deployer.targets.base import Progress, Rebatchable, ReplicaBatching
from tfserving.config.text import ConfigError

DOCUMENT = "batching.json"


@dataclass(frozen=True, kw_only=True)
class BatchingRequest:
    """What to try. `each` is the experiment that is made of every pair of candidate and number of records in a request.

    Its `out` is the folder of the whole sweep, its `batch` is replaced, and so are its `replicas`: by what runs now.
    """

    each: ExperimentRequest
    candidates: tuple[Candidate, ...]
    client_batches: tuple[int, ...] = (1, 8, 32, 128)


def run(target: Rebatchable, request: BatchingRequest, progress: Progress, generator: Generator | None = None) -> Sweep:
    """Measure every pair, write the folder and return what follows. The release batches as before afterwards.

    Ctrl-C ends it early: what was finished is written, and KeyboardInterrupt goes on.
    Errors: UsageError and SpecError for requests that cannot be meant, and those of the target.
    """
    check(request)
    if generator is None:
        with Workers() as workers:
            return run(target, request, progress, workers)
    before, count = target.batching(), len(target.replicas())
    each = replace(request.each, replicas=(count,))
    cells: list[Cell] = []
    interrupted = True
    try:
        for candidate in request.candidates:
            progress(f"restarting the replicas with batching {candidate.name}")
            wanted = _replica_batching(candidate, before)
            target.with_batching(wanted, timeout=each.scale_timeout, progress=progress)
            for client_batch in request.client_batches:
                cells.append(_measure(target, each, candidate, client_batch, progress, generator))
        interrupted = False
    finally:
        sweep = search.conclude(each.model, each.objective, count, request.candidates, cells, interrupted=interrupted)
        _write(request.each.out, sweep)
        progress("restoring the batching that was in force")
        target.with_batching(before, timeout=each.scale_timeout, progress=progress)
    return sweep


def check(request: BatchingRequest) -> None:
    """Refuse what cannot be meant, before anything is touched. Errors: UsageError, SpecError."""
    if (request.each.out / DOCUMENT).exists():
        raise UsageError(f"{request.each.out} holds a batching experiment already", hint="choose another --out")
    if request.each.direct:
        raise UsageError("batching is measured through the gateway", hint="it splits what does not fit into a batch")
    if not request.client_batches or min(request.client_batches) < 1:
        raise SpecError("a request holds at least 1 record", hint="for example --batches 1,8,32")
    for candidate in request.candidates:
        _text(candidate)


def _text(candidate: Candidate) -> str | None:
    if candidate.parameters is None:
        return None
    try:
        return server_files.batching_text(candidate.name, spec.batching_parameters(candidate.parameters))
    except ConfigError as error:
        raise SpecError(f"batching {candidate.name} cannot be: {error}", hint=spec.REFERENCE) from error


def _replica_batching(candidate: Candidate, before: ReplicaBatching) -> ReplicaBatching:
    """A request holds a gRPC thread while it waits for its batch, hence room for two full batches."""
    if candidate.parameters is None:
        return replace(before, parameters=None, rows_per_call=ROWS_PER_CALL)
    size = candidate.parameters.max_batch_size
    threads = max(before.grpc_threads or MIN_GRPC_THREADS, 2 * size)
    return ReplicaBatching(parameters=_text(candidate), grpc_threads=threads, rows_per_call=size)


def _measure(
    target: Rebatchable,
    each: ExperimentRequest,
    candidate: Candidate,
    client_batch: int,
    progress: Progress,
    generator: Generator,
) -> Cell:
    name = f"{candidate.name}-batch{client_batch}"
    progress(f"{candidate.name}, {client_batch} records in a request")
    problem = ""
    try:
        found = experiment.run(target, replace(each, batch=client_batch, out=each.out / name), progress, generator)
    except ExperimentInvalid as error:
        found, problem = folder.read(each.out / name), f"{error.message}: {error.cause}"
    carried = found.capacities[0] if found.capacities else None
    if carried is None and not problem:
        problem = "no valid open-loop trial"
    return Cell(
        candidate=candidate.name,
        client_batch=client_batch,
        rate=carried.rate if carried else 0.0,
        p99_ms=carried.p99_ms if carried else None,
        ceiling=max((t.throughput for t in found.trials if t.concurrency), default=0.0),
        folder=name,
        problem=problem,
    )


class _Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    schema_version: str = "v1"
    kind: str = "BatchingExperiment"
    sweep: Sweep


def _write(out: Path, sweep: Sweep) -> None:
    out.mkdir(parents=True, exist_ok=True)
    replace_file(out / DOCUMENT, msgspec.json.format(msgspec.json.encode(_Document(sweep=sweep)), indent=2))
    if sweep.best is not None and (text := _text(sweep.best)) is not None:
        replace_file(out / BATCHING_FILE, text.encode())
