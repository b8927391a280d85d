"""Run a batch: read, send, write in order, and go on where an earlier run ended."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from deployer.errors import SpecError
from deployer.records import rows
from deployer.records.columns import table_columns
from deployer.records.endpoint import RecordApi
from deployer.records.rows import Row
from deployer.release import endpoints
from deployer.release.batch import job, tables
from deployer.release.batch.ask import Asker, Outcome
from deployer.release.batch.job import BatchRequest, Described
from deployer.release.batch.output import Shard
from deployer.release.batch.pace import Pace, Rate
from deployer.release.batch.pack import pack, within
from deployer.targets.base import Progress, Target
from gateway.settings import ModelSettings, Settings
from gateway.spec import FeatureSpec

AHEAD: Final = 2
"""Chunks that are read and not yet written, as a multiple of the requests in flight: what memory holds."""
COMMIT_SECONDS: Final = 1.0
"""A killed run repeats at most this much work."""


@dataclass(kw_only=True)
class State:
    """How far a batch is, in rows; `began` and `rows_before` say where this run began."""

    total: int
    began: float
    rows_before: int = 0
    read: int = 0
    written: int = 0
    bad: int = 0
    window: int = 1

    def speed(self, now: float) -> float:
        """Rows/s of this run."""
        return (self.written - self.rows_before) / max(now - self.began, 1e-9)

    def seconds_left(self, now: float) -> float | None:
        """At the speed of this run; None while it is not known."""
        speed = self.speed(now)
        return (self.total - self.written) / speed if speed > 0 else None


@dataclass(frozen=True, kw_only=True)
class Time:
    """The clock that pace and rates go by, in seconds."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep


@dataclass(frozen=True, kw_only=True)
class BatchResult:
    """A finished batch. `rows` are those of the input, `resumed` of them were written by earlier runs.

    `seconds`, `rows_per_second`, `requests` and `refusals` (429, 503, lost connections) are of this run.
    """

    model: str
    output: str
    through: str
    rows: int
    bad: int
    resumed: int
    versions: Mapping[int, int]
    files: tuple[str, ...]
    errors_files: tuple[str, ...]
    seconds: float
    rows_per_second: float
    requests: int
    refusals: int


@dataclass(frozen=True, kw_only=True)
class Route:
    """Where a batch sends, and what the gateways say of it."""

    endpoint: RecordApi
    through: str
    settings: Settings
    model: ModelSettings
    specs: tuple[FeatureSpec, ...] = field(default=())


def batch(
    target: Target,
    request: BatchRequest,
    progress: Progress,
    report: Callable[[State], None] = lambda _: None,
    clock: Time | None = None,
) -> BatchResult:
    """Predict every row of the inputs once; `report` is called after each step.

    Errors: SpecError for inputs, a model, label or version that there is not; UsageError when the folder holds another
    batch; TargetError when the release fails; WaitTimeout when it stays busy. After an error, the same call goes on.
    """
    tables.require(request.form)
    with job.locked(request.output), target.reachable_gateways() as gateways:
        settings = endpoints.settings_in_force(target)
        through, endpoint = endpoints.endpoint(
            target,
            request.model,
            label=request.label,
            direct=False,
            timeout=request.patience,
            gateways=gateways,
            version=request.version,
        )
        assert isinstance(endpoint, RecordApi)
        model = settings.models[request.model]
        specs = specs_for(request, model)
        progress(f"counting the rows of {', '.join(request.inputs)}")
        described = job.begin(request)
        progress(f"{described.rows} rows of {request.model} through {through} to {request.output}")
        route = Route(endpoint=endpoint, through=through, settings=settings, model=model, specs=specs)
        return asyncio.run(run(described, request, route, report, clock or Time()))


def specs_for(request: BatchRequest, model: ModelSettings) -> tuple[FeatureSpec, ...]:
    """The specs of the versions that may respond. Errors: SpecError for an unknown label or version."""
    if request.label and request.label not in model.labels:
        raise SpecError(
            f"{request.model} has no label {request.label}", hint=f"it has {', '.join(model.labels) or 'none'}"
        )
    if request.version is not None and str(request.version) not in model.specs:
        raise SpecError(
            f"the gateway has no feature spec for version {request.version} of {request.model}",
            hint=f"it has {', '.join(model.specs) or 'none'}; a batch needs one",
        )
    if not model.specs:
        raise SpecError(f"{request.model} has no feature spec, so it accepts no records", hint="export with --features")
    # All of them without a version: a label may move while the batch runs.
    chosen = model.specs.values() if request.version is None else [model.specs[str(request.version)]]
    return tuple(chosen)


async def run(
    described: Described, request: BatchRequest, route: Route, report: Callable[[State], None], clock: Time
) -> BatchResult:
    """Write every shard that is not complete. Errors: TargetError, WaitTimeout."""
    shards = job.shards(described, request.output)
    state = State(total=described.rows, began=clock.now())
    for index, shard in enumerate(shards):
        first, end = described.bounds(index)
        state.written += end - first if shard.done else shard.journal.rows
        state.bad += shard.journal.bad
    state.rows_before = state.read = state.written
    asker = _asker(request, route, clock)
    try:
        for index, shard in enumerate(shards):
            if not shard.done:
                await _write(described, index, shard, request, route, asker, state, report, clock)
    finally:
        asker.close()
    return _result(described, request, route, asker, state, clock.now())


def _asker(request: BatchRequest, route: Route, clock: Time) -> Asker:
    return Asker(
        route.endpoint,
        pace=Pace(most=request.concurrency),
        rate=Rate(rows_per_second=request.max_rate) if request.max_rate else None,
        request_timeout=route.settings.limits.timeout_ms / 1000 + 5,
        patience=request.patience,
        clock=clock.now,
        sleep=clock.sleep,
    )


async def _write(
    described: Described,
    index: int,
    shard: Shard,
    request: BatchRequest,
    route: Route,
    asker: Asker,
    state: State,
    report: Callable[[State], None],
    clock: Time,
) -> None:
    """Write one shard, from where its journal ends."""
    first, end = described.bounds(index)
    start = first + shard.journal.rows
    files = [Path(file.path) for file in described.inputs]
    counts = [file.rows for file in described.inputs]
    found = rows.read(files, table_columns(route.specs), skip=start, counts=counts)
    records = request.batch if request.max_rate is None else min(request.batch, max(1, int(request.max_rate)))
    chunks = pack(itertools.islice(found, end - start), within(route.settings, records=records))
    pending: deque[asyncio.Task[list[Outcome]]] = deque()
    committed = clock.now()
    shard.open()
    try:
        while True:
            # In a thread: reading must not delay responses, whose latency sets the pace.
            chunk = await asyncio.to_thread(_next, chunks)
            if chunk is None and not pending:
                break
            if chunk is not None:
                state.read += len(chunk)
                report(state)
                pending.append(asyncio.create_task(asker.ask(chunk)))
            while pending and (chunk is None or len(pending) >= AHEAD * request.concurrency or pending[0].done()):
                outcomes = await pending.popleft()
                bad = shard.journal.bad
                shard.write(outcomes)
                state.written += len(outcomes)
                state.bad += shard.journal.bad - bad
                state.window = int(asker.pace.window)
                if clock.now() - committed >= COMMIT_SECONDS:
                    shard.commit()
                    committed = clock.now()
                report(state)
        shard.finish(tables.columns_of(route.specs))
    except BaseException:
        shard.commit()
        raise
    finally:
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        shard.close()


def _next(chunks: Iterator[tuple[Row, ...]]) -> tuple[Row, ...] | None:
    return next(chunks, None)


def _result(
    described: Described,
    request: BatchRequest,
    route: Route,
    asker: Asker,
    state: State,
    now: float,
) -> BatchResult:
    written = job.shards(described, request.output)
    versions: Counter[int] = Counter()
    for shard in written:
        versions.update(shard.journal.versions)
    return BatchResult(
        model=request.model,
        output=str(request.output),
        through=route.through,
        rows=described.rows,
        bad=sum(shard.journal.bad for shard in written),
        resumed=state.rows_before,
        versions=dict(sorted(versions.items())),
        files=tuple(str(shard.file) for shard in written),
        errors_files=tuple(str(shard.errors_file) for shard in written if shard.journal.bad),
        seconds=round(now - state.began, 3),
        rows_per_second=round(state.speed(now), 1),
        requests=asker.requests,
        refusals=asker.pace.refusals,
    )
