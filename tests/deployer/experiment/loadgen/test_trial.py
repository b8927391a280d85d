"""Trials against a real local server whose capacity, stalls and faults are known."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from fake_gateway import Behaviour, FakeGateway

from deployer.errors import SpecError, TargetError
from deployer.experiment.loadgen import recording
from deployer.experiment.loadgen.plan import ClosedLoop, OpenLoop, Outcome, Plan, Reference, parse_plan
from deployer.experiment.loadgen.workers import Mark, Workers
from deployer.records.endpoint import RecordApi

RECORDS = 30


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers() as started:
        yield started


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    path.write_text("".join(json.dumps({"record": {"x": i}, "expected": str(i % 3)}) + "\n" for i in range(RECORDS)))
    return str(path)


@pytest.fixture
def gateway() -> Iterator[FakeGateway]:
    with FakeGateway(Behaviour()) as fake:
        yield fake


def plan_for(gateway: FakeGateway, records: str, load: OpenLoop | ClosedLoop | Reference, **more: object) -> Plan:
    settings: dict[str, object] = {"warmup": 0.1, "seconds": 0.7, "timeout": 5.0} | more
    target = RecordApi(urls=(gateway.url,), path="/v1/models/m:predict")
    return msgspec.convert(
        {"target": msgspec.to_builtins(target), "load": msgspec.to_builtins(load), "records": records, **settings}, Plan
    )


def reference(workers: Workers, gateway: FakeGateway, records: str) -> tuple[object, ...]:
    return workers.run(plan_for(gateway, records, Reference())).predictions


def test_the_reference_pass_gives_one_prediction_a_record(workers: Workers, gateway: FakeGateway, records: str) -> None:
    assert reference(workers, gateway, records) == tuple(str(i % 3) for i in range(RECORDS))
    batched = workers.run(plan_for(gateway, records, Reference(), batch=8)).predictions
    assert batched == tuple(str(i % 3) for i in range(RECORDS)), "the last batch is filled from the front"


def test_an_open_loop_sends_what_was_scheduled(workers: Workers, gateway: FakeGateway, records: str) -> None:
    outcome = workers.run(plan_for(gateway, records, OpenLoop(rate=300), seconds=1.0, seed=5))
    again = workers.run(plan_for(gateway, records, OpenLoop(rate=300), seconds=1.0, seed=5))
    assert outcome.sent == again.sent == outcome.answered
    assert 250 < outcome.sent < 350
    assert recording.summary(outcome.latency).count == recording.summary(outcome.lag).count == outcome.sent
    assert outcome.cpu_seconds > 0


def test_a_stall_of_the_server_is_seen_by_every_request_that_was_due_in_it(
    workers: Workers, gateway: FakeGateway, records: str
) -> None:
    """Coordinated omission: a generator that waits for answers would see one slow request instead of a hundred."""
    plan = plan_for(gateway, records, OpenLoop(rate=200), seconds=2.0)

    def stall(mark: Mark) -> None:
        if mark is Mark.OPENS:
            gateway.stall(0.6, after=0.7)

    outcome = workers.run(plan, stall)
    latency = recording.summary(outcome.latency)
    assert outcome.answered == outcome.sent
    assert latency.at(99).ms > 400
    assert latency.at(90).ms > 150, "0.6 of 2 seconds were stalled, so a tenth of all requests waited at least 0.4 s"


def test_waiting_for_its_turn_counts_when_the_server_is_too_slow(
    workers: Workers, gateway: FakeGateway, records: str
) -> None:
    gateway.behaviour = Behaviour(workers=1, service=0.01)
    outcome = workers.run(plan_for(gateway, records, OpenLoop(rate=200), seconds=1.0))
    assert outcome.completed < 0.75 * outcome.sent
    assert recording.summary(outcome.latency).at(50).ms > 100


def test_a_closed_loop_finds_the_ceiling(workers: Workers, gateway: FakeGateway, records: str) -> None:
    gateway.behaviour = Behaviour(workers=2, service=0.02)
    outcome = workers.run(plan_for(gateway, records, ClosedLoop(concurrency=6), seconds=1.0))
    assert 0 < outcome.completed / outcome.seconds <= 101


def test_wrong_responses_are_errors_and_no_latencies(workers: Workers, gateway: FakeGateway, records: str) -> None:
    baseline = reference(workers, gateway, records)
    gateway.behaviour = Behaviour(wrong_every=10)
    outcome = workers.run(plan_for(gateway, records, OpenLoop(rate=300), baseline=baseline))
    assert outcome.errors["wrong answer"] == pytest.approx(outcome.sent / 10, abs=outcome.sent / 20)
    assert outcome.answered + outcome.errors["wrong answer"] == outcome.sent
    assert recording.summary(outcome.latency).count == outcome.answered
    assert "without load" in outcome.first_error


def test_errors_are_counted_by_code(workers: Workers, gateway: FakeGateway, records: str) -> None:
    gateway.behaviour = Behaviour(refuse_every=4)
    outcome = workers.run(plan_for(gateway, records, OpenLoop(rate=200)))
    assert set(outcome.errors) == {"503"}
    assert outcome.answered + outcome.errors["503"] == outcome.sent


def test_requests_without_a_response_are_timeouts_and_overflow(
    workers: Workers, gateway: FakeGateway, records: str
) -> None:
    gateway.behaviour = Behaviour(stalled=True)
    outcome = workers.run(plan_for(gateway, records, OpenLoop(rate=200), timeout=0.5, max_outstanding=60, warmup=0.0))
    assert outcome.answered == 0
    assert set(outcome.errors) == {"timeout", "overflow"}
    assert sum(outcome.errors.values()) == outcome.sent


def test_processes_share_the_load_and_their_histograms_are_merged(
    workers: Workers, gateway: FakeGateway, records: str
) -> None:
    gateway.behaviour = Behaviour(service=0.005)
    alone = workers.run(plan_for(gateway, records, OpenLoop(rate=300), seed=9))
    both = workers.run(plan_for(gateway, records, OpenLoop(rate=300), seed=9, processes=2))
    assert both.sent == alone.sent == both.answered
    latency = recording.summary(both.latency)
    assert latency.count == both.sent
    assert latency.at(50).ms >= 5
    clients = workers.run(plan_for(gateway, records, ClosedLoop(concurrency=5), processes=2))
    assert clients.completed > 0


def test_the_caller_learns_when_the_window_opens_and_closes(
    workers: Workers, gateway: FakeGateway, records: str
) -> None:
    marks: list[Mark] = []
    workers.run(plan_for(gateway, records, OpenLoop(rate=50), seconds=0.3), marks.append)
    assert marks == [Mark.OPENS, Mark.CLOSES]


def test_merged_histograms_are_the_histogram_of_all_values() -> None:
    parts = [[0.001 * i for i in range(1, 500)], [0.002 * i for i in range(1, 800)]]
    merged = recording.summary(recording.merge(recording.encode(part) for part in parts))
    whole = recording.summary(recording.encode(parts[0] + parts[1]))
    assert [p.ms for p in merged.percentiles] == [p.ms for p in whole.percentiles]
    assert merged.count == 1298
    assert merged.max_ms == pytest.approx(1598, rel=0.002)


def test_a_percentile_with_few_responses_beyond_it_is_not_resolved() -> None:
    latency = recording.summary(recording.encode([0.001 * i for i in range(1, 1001)]))
    assert [(p.percentile, p.beyond, p.resolved) for p in latency.percentiles] == [
        (50.0, 500, True),
        (90.0, 100, True),
        (99.0, 10, True),
        (99.9, 1, False),
    ]
    assert latency.at(99).ms == pytest.approx(990, rel=0.002)
    assert not recording.summary(recording.encode([])).at(50).resolved


def test_a_histogram_log_can_be_read_back(tmp_path: Path) -> None:
    from hdrh.histogram import HdrHistogram
    from hdrh.log import HistogramLogReader

    path = tmp_path / "trial.hlog"
    path.write_text(recording.log(recording.encode([0.01, 0.02]), comment="two", started=1_700_000_000.0, seconds=5))
    reader = HistogramLogReader(str(path), HdrHistogram(1, 3_600_000_000, 3))
    read = reader.get_next_interval_histogram()
    reader.close()
    assert read.get_total_count() == 2


def test_no_target_and_no_records_say_so(workers: Workers, gateway: FakeGateway, records: str, tmp_path: Path) -> None:
    nobody = RecordApi(urls=("http://127.0.0.1:1",), path="/p")
    with pytest.raises(TargetError, match="cannot use the target") as refused:
        workers.run(Plan(target=nobody, load=Reference(), records=records))
    assert "cannot connect to 127.0.0.1:1" in refused.value.cause
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"record": {"x": 1}}\n{"records": 1}\n')
    with pytest.raises(SpecError, match=r"bad.jsonl:2: .*records"):
        workers.run(plan_for(gateway, str(bad), Reference()))
    gateway.behaviour = Behaviour(refuse_every=1)
    with pytest.raises(TargetError, match="503"):
        workers.run(plan_for(gateway, records, Reference()))


def test_the_generator_runs_on_its_own_and_stays_light(gateway: FakeGateway, records: str, tmp_path: Path) -> None:
    plan, out = tmp_path / "plan.json", tmp_path / "result.json"
    plan.write_bytes(msgspec.json.encode(plan_for(gateway, records, OpenLoop(rate=100), seconds=0.5)))
    command = (
        "import sys, deployer.experiment.loadgen.run\n"
        "from deployer.experiment.loadgen.__main__ import main\n"
        "code = main(sys.argv[1:])\n"
        "print({m for m in ('typer', 'kubernetes', 'tensorflow', 'matplotlib') if m in sys.modules}); sys.exit(code)"
    )
    done = subprocess.run(
        [sys.executable, "-c", command, "--plan", str(plan), "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    first, second, modules = done.stdout.splitlines()
    assert json.loads(first)["window"] == "opens"
    assert json.loads(second)["window"] == "closes"
    assert modules == "set()"
    outcome = msgspec.json.decode(out.read_bytes(), type=Outcome)
    assert outcome.answered == outcome.sent > 0


def test_a_plan_that_cannot_be_meant_is_refused_by_path() -> None:
    text = msgspec.json.encode(
        Plan(target=RecordApi(urls=("http://h:1",), path="/p"), load=OpenLoop(rate=1), records="r", batch=0)
    )
    with pytest.raises(SpecError, match="batch"):
        parse_plan(text)
    with pytest.raises(SpecError, match="ratio"):
        parse_plan(text.replace(b'"rate"', b'"ratio"'))
