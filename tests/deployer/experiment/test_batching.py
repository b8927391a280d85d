"""The sweep of batching parameters, against a release that is faster or slower with batching."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from fake_gateway import Behaviour, FakeGateway
from fake_target import FakeTarget
from stopped_generator import Stopped

from deployer.domain.release import Batching
from deployer.errors import SpecError, UsageError
from deployer.experiment.batching.search import Cell, candidates, conclude
from deployer.experiment.batching.sweep import BatchingRequest, run
from deployer.experiment.loadgen.workers import Workers
from deployer.experiment.report import folder
from deployer.experiment.request import ExperimentRequest
from deployer.experiment.results import LagBounds, Objective
from tfserving.config import BatchingParameters

TRIED = candidates(Batching(), sizes=(4,), timeouts=(500,), threads=(1,))


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers() as started:
        yield started


def request(folder: Path) -> BatchingRequest:
    records = folder / "records.jsonl"
    records.write_text("".join(json.dumps({"record": {"x": i}}) + "\n" for i in range(4)))
    each = ExperimentRequest(
        model="digits",
        records=records,
        out=folder / "out",
        fractions=(0.8,),
        refine=0,
        warmup=0.1,
        seconds=0.3,
        max_seconds=0.3,
        ceiling_seconds=0.3,
        objective=Objective(p99_ms=60_000, error_rate=0.01),
        bounds=LagBounds(p99_ms=1e6, late_after_ms=1e6),
    )
    return BatchingRequest(each=each, candidates=TRIED, client_batches=(2,))


def test_batching_that_pays_is_written_and_the_release_is_left_as_it_was(workers: Workers, tmp_path: Path) -> None:
    with FakeGateway(Behaviour(workers=1, service=0.004)) as gateway:
        target = FakeTarget(gateway, service=0.004, batched=0.0005)
        lines: list[str] = []
        found = run(target, request(tmp_path), lines.append, workers)
    assert found.headline.startswith("Batching is worthwhile")
    assert [(cell.candidate, cell.client_batch) for cell in found.cells] == [("off", 2), (TRIED[1].name, 2)]
    off, on = found.cells
    assert on.records == 2 * on.rate > off.records > 0
    written = BatchingParameters.parse((tmp_path / "out" / "batching_parameters.txt").read_text())
    assert (written.max_batch_size, written.batch_timeout_micros, written.num_batch_threads) == (4, 500, 1)
    assert yaml.safe_load(found.section) == {
        "batching": {"max_batch_size": 4, "batch_timeout_micros": 500, "num_batch_threads": 1}
    }
    before, without, with_, after = target.batchings
    assert after == before
    assert without.parameters is None
    assert (with_.rows_per_call, with_.grpc_threads) == (4, 64)
    document = json.loads((tmp_path / "out" / "batching.json").read_text())
    assert document["sweep"]["headline"] == found.headline
    assert (tmp_path / "out" / on.folder / "report.html").exists()
    overview = tmp_path / "out" / "report.html"
    page = overview.read_text()
    assert f"<h1>{found.headline}</h1>" in page
    assert found.section in page
    for cell in found.cells:
        assert f'href="{cell.folder}/report.html">{cell.records:,.0f}</a>' in page
    overview.unlink()
    assert folder.write_again(tmp_path / "out") == overview
    assert overview.read_text() == page
    assert [line.partition(": ")[0].partition(",")[0] for line in lines if line.startswith("pair ")] == [
        "pair 1 of 2",
        "pair 2 of 2",
    ]


def test_ctrl_c_restores_the_batching_and_recommends_nothing(workers: Workers, tmp_path: Path) -> None:
    with FakeGateway(Behaviour(workers=1)) as gateway:
        target = FakeTarget(gateway, service=0.004, batched=0.0005)
        with pytest.raises(KeyboardInterrupt):
            run(target, request(tmp_path), lambda _: None, Stopped(workers, 5))
    assert target.batchings[-1] == target.batchings[0]
    document = json.loads((tmp_path / "out" / "batching.json").read_text())
    assert document["sweep"]["interrupted"] is True
    assert not (tmp_path / "out" / "batching_parameters.txt").exists()


def cell(candidate: str, client_batch: int, rate: float) -> Cell:
    return Cell(candidate=candidate, client_batch=client_batch, rate=rate, p99_ms=1, ceiling=rate, folder="f")


@pytest.mark.parametrize(
    ("off", "on", "said"),
    [
        ((100, 50), (50, 60), "No batching is better: the best candidate, size4-wait500us-threads1, sustains 0.77×"),
        ((100, 50), (101, 51), "Batching is not worthwhile: "),
        ((100, 50), (300, 0), "No candidate sustained a rate"),
        ((0, 50), (300, 60), "No conclusion: "),
        ((100, 50), (200, 50), "Batching is worthwhile: the best candidate, size4-wait500us-threads1, sustains 1.41×"),
    ],
)
def test_what_is_concluded(off: tuple[float, float], on: tuple[float, float], said: str) -> None:
    cells = [
        cell(c.name, n, r)
        for c, rates in zip(TRIED, (off, on), strict=True)
        for n, r in zip((1, 8), rates, strict=True)
    ]
    found = conclude("m", Objective(), 1, TRIED, cells, interrupted=False)
    assert found.headline.startswith(said)
    assert (found.best is not None) == said.startswith("Batching is worthwhile")


@pytest.mark.parametrize("failed", [0, 2])
def test_what_was_not_measured_is_not_judged(failed: int) -> None:
    cells = [cell(c.name, n, 100.0) for c in TRIED for n in (1, 8)]
    cells[failed] = replace(cells[failed], rate=0.0, problem="the load generator lagged")
    found = conclude("m", Objective(), 1, TRIED, cells, interrupted=False)
    assert found.best is None
    assert "invalid" in found.headline


def test_allowed_sizes_are_made_to_fit_the_largest_batch() -> None:
    base = Batching(max_batch_size=32, allowed_batch_sizes=(4, 16, 32))
    tried = candidates(base, sizes=(8, 64), timeouts=(0,), threads=(1,))
    assert [c.parameters.allowed_batch_sizes for c in tried if c.parameters] == [(4, 8), (4, 16, 32, 64)]


def test_what_cannot_be_meant_is_refused_before_anything_is_touched(workers: Workers, tmp_path: Path) -> None:
    with FakeGateway() as gateway:
        target = FakeTarget(gateway, service=0.0)
        wrong = candidates(Batching(), sizes=(0,), timeouts=(0,), threads=(1,))
        with pytest.raises(SpecError, match="max_batch_size is 0"):
            run(target, BatchingRequest(each=request(tmp_path).each, candidates=wrong), lambda _: None, workers)
        (tmp_path / "out").mkdir()
        (tmp_path / "out" / "batching.json").write_text("{}")
        with pytest.raises(UsageError, match="already"):
            run(target, request(tmp_path), lambda _: None, workers)
    assert len(target.batchings) == 1
