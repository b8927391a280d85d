"""The plan and the outcome of a load generator, as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from deployer.decode import json_as
from deployer.errors import SpecError
from deployer.records.endpoint import Grpc, RecordApi, Value


class OpenLoop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="open"):
    """Poisson arrivals of `rate` requests a second, independent of responses."""

    rate: float


class ClosedLoop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="closed"):
    """`concurrency` clients; each sends the next request after the response to the last one."""

    concurrency: int


class Reference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="reference"):
    """Every payload once, one at a time: the reference for responses under load."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One trial.

    `records` is a JSONL file, `batch` the number of records per request. Requests due within `warmup` seconds are sent
    but not counted; those of the following `seconds` are. `baseline` has the expected prediction of each record (empty:
    not checked). A request that is sent more than `late_after_ms` after it was due counts as late. With more than
    `max_outstanding` requests in flight per process, further requests are not sent and count as errors.
    """

    target: RecordApi | Grpc
    load: OpenLoop | ClosedLoop | Reference
    records: str
    batch: int = 1
    seed: int = 1
    warmup: float = 1.0
    seconds: float = 5.0
    timeout: float = 10.0
    processes: int = 1
    stream: int = 0
    late_after_ms: float = 10.0
    max_outstanding: int = 1000
    baseline: tuple[Value, ...] = ()


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The measurements of one generator process, or of all together, in the measured window.

    `sent` requests were due in the window; `answered` of them had a correct response and are in `latency` (from the
    time they were due); `errors` counts the others by code. `completed` correct responses arrived within the window.
    `lag` is how much later than due requests were sent, `late` the number of requests later than the plan allows.
    Histograms are encoded. `cpu_seconds` is the generator's own CPU time, `started` a Unix time, `predictions` the
    predictions of a reference pass. `machine_busy` is the busy share of all cores of the generator's machine,
    `load_average` its load average at the end; None if unknown.
    """

    sent: int
    answered: int
    completed: int
    late: int
    errors: dict[str, int]
    latency: str
    lag: str
    seconds: float
    started: float
    cpu_seconds: float
    first_error: str = ""
    predictions: tuple[Value, ...] = ()
    machine_busy: float | None = None
    load_average: float | None = None


def parse_plan(text: bytes) -> Plan:
    """Parse a plan. Errors: SpecError that names the path of the wrong value."""
    try:
        plan = json_as(text, Plan)
    except msgspec.MsgspecError as error:
        raise SpecError(f"the plan of a trial is invalid: {error}") from error
    for name, valid in (
        ("batch", plan.batch >= 1),
        ("processes", plan.processes >= 1),
        ("seconds", plan.seconds > 0),
        ("warmup", plan.warmup >= 0),
        ("timeout", plan.timeout > 0),
        ("load.rate", not isinstance(plan.load, OpenLoop) or plan.load.rate > 0),
        ("load.concurrency", not isinstance(plan.load, ClosedLoop) or plan.load.concurrency >= 1),
    ):
        if not valid:
            raise SpecError(f"the plan of a trial is invalid: {name} must be positive")
    return plan


def shares(plan: Plan) -> list[Plan]:
    """One plan per process: the schedule splits an open loop; the clients of a closed loop are distributed."""
    if isinstance(plan.load, Reference):
        return [plan]
    if isinstance(plan.load, ClosedLoop):
        clients = plan.load.concurrency
        clients_by_process = [clients // plan.processes + (i < clients % plan.processes) for i in range(plan.processes)]
        return [
            msgspec.structs.replace(plan, stream=i, load=ClosedLoop(concurrency=n))
            for i, n in enumerate(clients_by_process)
            if n
        ]
    return [msgspec.structs.replace(plan, stream=i) for i in range(plan.processes)]


def merge(outcomes: Sequence[Outcome]) -> Outcome:
    """Merge the outcomes of several processes that ran shares of one plan."""
    from deployer.experiment.loadgen import recording

    first = outcomes[0]
    if len(outcomes) == 1:
        return first
    errors: dict[str, int] = {}
    for outcome in outcomes:
        for code, count in outcome.errors.items():
            errors[code] = errors.get(code, 0) + count
    return Outcome(
        sent=sum(o.sent for o in outcomes),
        answered=sum(o.answered for o in outcomes),
        completed=sum(o.completed for o in outcomes),
        late=sum(o.late for o in outcomes),
        errors=errors,
        latency=recording.merge(o.latency for o in outcomes),
        lag=recording.merge(o.lag for o in outcomes),
        seconds=first.seconds,
        started=first.started,
        cpu_seconds=sum(o.cpu_seconds for o in outcomes),
        first_error=next((o.first_error for o in outcomes if o.first_error), ""),
    )
