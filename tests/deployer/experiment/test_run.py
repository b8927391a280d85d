"""An experiment against a release of known capacity: a fake gateway on a real socket, one worker a replica."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from fake_gateway import Behaviour, FakeGateway
from fake_target import FakeTarget
from stopped_generator import Stopped

from deployer.errors import ExperimentInvalid, SpecError, UsageError
from deployer.experiment.loadgen.workers import Workers
from deployer.experiment.report import folder
from deployer.experiment.request import ExperimentRequest
from deployer.experiment.results import Experiment, Kind, LagBounds, Objective
from deployer.experiment.run import run
from deployer.targets.base import CpuReading

SERVICE = 0.01
"""Seconds a request takes, so one replica carries less than 100 requests a second."""


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers() as started:
        yield started


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("records") / "records.jsonl"
    path.write_text("".join(json.dumps({"record": {"x": i}, "expected": str(i % 3)}) + "\n" for i in range(12)))
    return path


@pytest.fixture
def target() -> Iterator[FakeTarget]:
    with FakeGateway() as gateway:
        yield FakeTarget(gateway, service=0.0)


def small(records: Path, out: Path, **more: Any) -> ExperimentRequest:
    request = ExperimentRequest(
        model="digits",
        records=records,
        out=out,
        replicas=(1, 2),
        rates=(400.0,),
        refine=0,
        warmup=0.2,
        seconds=0.9,
        max_seconds=0.9,
        ceiling_seconds=0.4,
        objective=Objective(p99_ms=400),
        bounds=LagBounds(p99_ms=1e6, late_after_ms=1e6),
    )
    return replace(request, **more)


@pytest.fixture(scope="module")
def finished(
    workers: Workers, records: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Experiment, Path, FakeTarget, list[str]]:
    out, told = tmp_path_factory.mktemp("experiment") / "out", list[str]()
    with FakeGateway(Behaviour(workers=1, service=SERVICE)) as gateway:
        target = FakeTarget(gateway, service=SERVICE)
        patient = Objective(p99_ms=60_000)  # held on a slow machine too: what is tested is not its speed
        request = small(records, out, rates=(160.0,), seconds=2.2, max_seconds=2.2, objective=patient)
        return run(target, request, told.append, workers), out, target, told


Finished = tuple[Experiment, Path, FakeTarget, list[str]]


def test_a_capacity_is_found_for_every_number_of_replicas(finished: Finished) -> None:
    experiment, _, _, _ = finished
    one, two = experiment.capacities
    assert 0 < one.ceiling < 1 / SERVICE
    assert 0 < two.ceiling < 2 / SERVICE
    assert (one.rate, two.rate) == (160, 160), "an objective this patient is kept at any rate"
    assert experiment.headline == "2 replicas sustain 160 requests/s at p99 ≤ 60000 ms: 1.00× one replica."
    assert experiment.accuracy == 1.0


def test_the_folder_holds_everything(finished: Finished) -> None:
    experiment, out, _, _ = finished
    assert folder.read(out) == experiment
    document = json.loads((out / "experiment.json").read_text())
    assert document["schemaVersion"] == "v1"
    rows = list(csv.DictReader((out / "trials.csv").read_text().splitlines()))
    assert len(rows) == len(experiment.trials)
    assert {row["valid"] for row in rows} == {"True"}
    for trial in experiment.trials:
        assert (out / trial.histogram).read_text().startswith("#trial")
    assert {p.name for p in out.glob("*.png")} == {"throughput.png", "latency.png", "cpu.png"}


def test_cpu_is_recorded_and_the_release_is_left_as_it_was(finished: Finished) -> None:
    experiment, _, target, told = finished
    assert target.scaled == [1, 1, 2, 1]
    assert all(trial.cores("replica") > 0 for trial in experiment.trials)
    assert experiment.environment.cpu_limit == "cgroup v2 0.5 CPU"
    assert experiment.environment.cores >= 1
    assert any("scaling to 2 replicas" in sentence for sentence in told)


def test_what_gateways_count_is_recorded_and_shown(finished: Finished) -> None:
    experiment, out, _, _ = finished
    assert [round(t.stages.stages_ms["backend"], 6) for t in experiment.trials] == [2.0] * len(experiment.trials)
    assert all(t.stages.rows_per_batch is None for t in experiment.trials)
    report = (out / "report.html").read_text()
    assert "Stages of a request" in report
    assert "<th>backend<br>ms</th>" in report


def test_the_report_is_one_file_with_the_headline_and_asks_nobody(finished: Finished) -> None:
    experiment, out, _, _ = finished
    text = (out / "report.html").read_text()
    assert experiment.headline in text
    assert "http" not in text.replace(experiment.settings.through, ""), "no address but that of the gateway it measured"
    assert 'src="data:image/svg+xml;base64,' in text
    for reference in ("src=", "href=", "url(", "@import", "<script", "<link"):
        assert all(part.startswith('"data:') for part in text.split(reference)[1:])


def test_ctrl_c_keeps_what_was_finished(workers: Workers, records: Path, target: FakeTarget, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        run(target, small(records, out), lambda _: None, Stopped(workers, after=3))
    experiment = folder.read(out)
    assert experiment.interrupted
    assert len(experiment.trials) == 2, "the reference pass is no trial"
    assert "interrupted" in (out / "report.html").read_text()


def test_a_generator_that_lags_in_every_trial_proves_nothing(
    workers: Workers, records: Path, target: FakeTarget, tmp_path: Path
) -> None:
    impossible = LagBounds(p99_ms=1e-6, late_after_ms=1e6)
    request = small(records, tmp_path / "out", replicas=(1,), bounds=impossible)
    with pytest.raises(ExperimentInvalid, match="lagged in every trial"):
        run(target, request, lambda _: None, workers)
    experiment = folder.read(tmp_path / "out")
    assert {t.valid for t in experiment.trials if t.kind is Kind.OPEN} == {False}
    assert "the load generator lagged" in (tmp_path / "out" / "report.html").read_text()


def test_a_fast_wrong_response_is_an_error(workers: Workers, records: Path, target: FakeTarget, tmp_path: Path) -> None:
    class Lying(FakeTarget):
        def cpu_readings(self) -> Mapping[str, CpuReading]:
            self.gateway.behaviour = Behaviour(workers=4, wrong_every=5)
            return super().cpu_readings()

    request = small(records, tmp_path / "out", replicas=(1,))
    experiment = run(Lying(target.gateway, service=0.0), request, lambda _: None, workers)
    assert experiment.capacities[0].rate == 0
    assert experiment.headline.startswith("No rate was sustained")
    assert any("differed from those without load" in note for note in experiment.notes)


def test_what_cannot_be_meant_is_refused(workers: Workers, records: Path, target: FakeTarget, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="at least 1"):
        run(target, small(records, tmp_path / "a", replicas=(0, 1)), lambda _: None, workers)
    other = ExperimentRequest(model="other", records=records, out=tmp_path / "b")
    with pytest.raises(SpecError, match="no model other"):
        run(target, other, lambda _: None, workers)
    with pytest.raises(SpecError, match="rates must be above 0"):
        run(target, small(records, tmp_path / "d", rates=(-5.0,)), lambda _: None, workers)
    with pytest.raises(SpecError, match="must be above 0 ms"):
        run(target, small(records, tmp_path / "d", objective=Objective(p99_ms=0)), lambda _: None, workers)
    assert not (tmp_path / "b").exists(), "nothing was measured, so no folder is left"
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "experiment.json").write_text("{}")
    with pytest.raises(UsageError, match="already"):
        run(target, small(records, tmp_path / "c"), lambda _: None, workers)
