"""Measure whether batching in the model server is worthwhile, and with which parameters."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from deployer.errors import ExperimentInvalid, SpecError, UsageError
from deployer.experiment.batching import search
from deployer.experiment.batching.search import Candidate, Cell, Sweep
from deployer.experiment.loadgen.workers import Workers
from deployer.experiment.pace import about
from deployer.experiment.report import folder
from deployer.experiment.request import ExperimentRequest, outline
from deployer.experiment.run import Generator, say_if_busy
from deployer.experiment.run import run_held as run_experiment
from deployer.files import replace_file
from deployer.release import spec
from deployer.release.render import server_files
from deployer.release.render.gateway_file import ROWS_PER_CALL
from deployer.release.render.server_flags import BATCHING_FILE
from deployer.release.threads import MIN_GRPC_THREADS
from deployer.targets.base import Progress, Rebatchable, ReplicaBatching
from deployer.targets.history import exclusively
from tfserving.config.text import ConfigError


@dataclass(frozen=True, kw_only=True)
class BatchingRequest:
    """What to measure. `each` is the experiment for every pair of candidate and number of records per request.

    Its `out` is the folder of the whole sweep; its `batch` and its `replicas` (the current number) are replaced.
    """

    each: ExperimentRequest
    candidates: tuple[Candidate, ...]
    client_batches: tuple[int, ...] = (1, 8, 32, 128)


def run(target: Rebatchable, request: BatchingRequest, progress: Progress, generator: Generator | None = None) -> Sweep:
    """Measure every pair, write the folder and return the result. The batching of the release is restored afterwards.

    On Ctrl-C the finished part is written, and KeyboardInterrupt is raised.
    Errors: UsageError and SpecError for invalid requests, and those of the target.
    """
    check(request)
    if generator is None:
        with Workers() as workers:
            return run(target, request, progress, workers)
    with exclusively(target.history()):
        return _swept(target, request, progress, generator)


def _swept(target: Rebatchable, request: BatchingRequest, progress: Progress, generator: Generator) -> Sweep:
    before, count = target.batching(), len(target.replicas())
    each = replace(request.each, replicas=(count,))
    cells: list[Cell] = []
    total, began = len(request.candidates) * len(request.client_batches), time.monotonic()
    say_if_busy(target, generator, progress, total * outline(each, through="", records=0).seconds)
    interrupted = True
    try:
        for candidate in request.candidates:
            progress(f"restarting the replicas with batching {candidate.name}")
            wanted = _replica_batching(candidate, before)
            target.with_batching(wanted, timeout=each.scale_timeout, progress=progress)
            for client_batch in request.client_batches:
                left = (time.monotonic() - began) / len(cells) * (total - len(cells)) if cells else 0.0
                rest = f", {about(left)} left" if left else ""
                progress(
                    f"pair {len(cells) + 1} of {total}{rest}: {candidate.name}, {client_batch} records per request"
                )
                cells.append(_measure(target, each, candidate, client_batch, progress, generator))
        interrupted = False
    finally:
        sweep = search.conclude(each.model, each.objective, count, request.candidates, cells, interrupted=interrupted)
        _write(request.each.out, sweep)
        progress("restoring the previous batching")
        target.with_batching(before, timeout=each.scale_timeout, progress=progress)
    return sweep


def check(request: BatchingRequest) -> None:
    """Validate a request before anything changes. Errors: UsageError, SpecError."""
    if (request.each.out / folder.BATCHING_JSON).exists():
        raise UsageError(f"{request.each.out} already has a batching experiment", hint="choose another --out")
    if request.each.direct:
        raise UsageError(
            "batching is measured through the gateway",
            hint="leave out --direct; the gateway splits requests that exceed a batch",
        )
    if not request.client_batches or min(request.client_batches) < 1:
        raise SpecError("a request needs at least 1 record", hint="for example --batches 1,8,32")
    for candidate in request.candidates:
        _text(candidate)


def _text(candidate: Candidate) -> str | None:
    if candidate.parameters is None:
        return None
    try:
        return server_files.batching_text(candidate.name, spec.batching_parameters(candidate.parameters))
    except ConfigError as error:
        raise SpecError(f"batching {candidate.name} is invalid: {error}", hint=spec.REFERENCE) from error


def _replica_batching(candidate: Candidate, before: ReplicaBatching) -> ReplicaBatching:
    """A request holds a gRPC thread while it waits for its batch, so there are threads for two full batches."""
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
    problem = ""
    try:
        found = run_experiment(target, replace(each, batch=client_batch, out=each.out / name), progress, generator)
    except ExperimentInvalid as error:
        found, problem = folder.read(each.out / name), f"{error.message}: {error.cause}"
    sustained = found.capacities[0] if found.capacities else None
    if sustained is None and not problem:
        problem = "no valid open-loop trial"
    return Cell(
        candidate=candidate.name,
        client_batch=client_batch,
        rate=sustained.rate if sustained else 0.0,
        p99_ms=sustained.p99_ms if sustained else None,
        ceiling=max((t.throughput for t in found.trials if t.concurrency), default=0.0),
        folder=name,
        problem=problem,
    )


def _write(out: Path, sweep: Sweep) -> None:
    out.mkdir(parents=True, exist_ok=True)
    folder.write_batching(out, sweep)
    if sweep.best is not None and (text := _text(sweep.best)) is not None:
        replace_file(out / BATCHING_FILE, text.encode())
