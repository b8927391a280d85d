"""The plan that the load generator is given and the outcome that it returns, as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from deployer.errors import SpecError
from deployer.records.endpoint import Grpc, RecordApi, Value


class OpenLoop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="open"):
    """Poisson arrivals of `rate` requests a second, whether or not answers come."""

    rate: float


class ClosedLoop(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="closed"):
    """`concurrency` clients that each send the next request when the answer to the last has come."""

    concurrency: int


class Reference(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag="reference"):
    """Every payload once, one at a time: the answers that the loaded trials are compared with."""


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One trial.

    `records` is a JSONL file, `batch` the number of records in a request. Requests that are due within `warmup` seconds
    are sent but not counted; those of the following `seconds` are. `baseline` holds the right prediction of each record
    (empty: not checked). A request that leaves later than `late_after_ms` after it was due counts as late. Above
    `max_outstanding` unanswered requests per process the next ones are not sent and count as errors.
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
    """What one generator process, or all of them together, saw in the measured window.

    `sent` requests were due in it; `answered` of these had a right answer and are in `latency` (from the moment they
    were due); `errors` counts the others by code. `completed` right answers arrived within the window. `lag` is how
    much later than due the requests left, `late` how many by more than the plan allows. Histograms are encoded.
    `cpu_seconds` is the generator's own CPU time, `started` Unix time, `predictions` the answers of a reference pass.
    `machine_busy` is the share of all cores of the generator's machine that was busy, `load_average` its load at the
    end; None where that is not known.
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
    """Read a plan. Errors: SpecError that names the path of what is wrong."""
    try:
        plan = msgspec.json.decode(text, type=Plan)
    except msgspec.MsgspecError as error:
        raise SpecError(f"the plan of a trial is not valid: {error}") from error
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
            raise SpecError(f"the plan of a trial is not valid: {name} must be positive")
    return plan


def shares(plan: Plan) -> list[Plan]:
    """One plan per process: an open loop is thinned by the schedule, the clients of a closed one are dealt out."""
    if isinstance(plan.load, Reference):
        return [plan]
    if isinstance(plan.load, ClosedLoop):
        clients = plan.load.concurrency
        dealt = [clients // plan.processes + (i < clients % plan.processes) for i in range(plan.processes)]
        return [
            msgspec.structs.replace(plan, stream=i, load=ClosedLoop(concurrency=n)) for i, n in enumerate(dealt) if n
        ]
    return [msgspec.structs.replace(plan, stream=i) for i in range(plan.processes)]


def merge(outcomes: Sequence[Outcome]) -> Outcome:
    """The outcome of several processes that ran shares of one plan."""
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
