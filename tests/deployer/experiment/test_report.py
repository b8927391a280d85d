"""Verdicts, capacity, findings, sizes, comparison and the report, from trials that are written down here."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_trials import BOUNDS, OBJECTIVE, experiment, spread, trial

from deployer.domain.verdict import Verdict
from deployer.experiment import capacity, compare, sizing, summary, usl
from deployer.experiment.report import folder
from deployer.experiment.results import (
    Capacity,
    Experiment,
    Kind,
    Sweep,
    Trial,
)


def capacities_of(trials: tuple[Trial, ...]) -> tuple[Capacity, ...]:
    found = (capacity.capacity(trials, n, OBJECTIVE) for n in sorted({t.replicas for t in trials}))
    return tuple(c for c in found if c is not None)


SCALED = (
    trial(0, 50, number=1),
    trial(50, 20, number=2),
    trial(90, 80, number=3),
    trial(100, 400, number=4),
    trial(0, 50, replicas=2, number=5),
    trial(100, 20, replicas=2, number=6),
    trial(174, 90, replicas=2, number=7),
    trial(190, 500, replicas=2, number=8),
)


@pytest.mark.parametrize(
    ("changed", "verdict"),
    [
        ({}, Verdict.PASS),
        ({"latency": spread(101)}, Verdict.FAIL),
        ({"errors": {"503": 21}}, Verdict.FAIL),
        ({"errors": {"503": 20}}, Verdict.PASS),
        ({"latency": spread(50, 400)}, Verdict.PASS),
        ({"latency": spread(50, 200)}, Verdict.INCONCLUSIVE),
        ({"latency": spread(90, 400)}, Verdict.INCONCLUSIVE),
        ({"invalid": ("lagged",)}, Verdict.INCONCLUSIVE),
    ],
    ids=["held", "slow", "errors", "few errors", "400 none slow", "too few", "400 one slow", "invalid"],
)
def test_a_trial_is_judged(changed: dict[str, Any], verdict: Verdict) -> None:
    assert capacity.judge(replace(trial(50, 50), **changed), OBJECTIVE) is verdict


def test_a_generator_that_lags_makes_a_trial_invalid() -> None:
    good = trial(50, 50)
    assert capacity.invalid_reasons(good, BOUNDS) == ()
    assert "p99 11.0 ms, allowed 10 ms" in capacity.invalid_reasons(replace(good, lag=spread(11)), BOUNDS)[0]
    assert "6% of requests by more than 5 ms" in capacity.invalid_reasons(replace(good, late=120), BOUNDS)[0]
    closed = replace(good, kind=Kind.CEILING, lag=spread(11))
    assert capacity.invalid_reasons(closed, BOUNDS) == (), "a closed loop has no schedule to lag behind"


def test_a_second_process_is_started_only_for_a_generator_that_was_busy() -> None:
    late = replace(trial(100, 40), invalid=("the load generator lagged",), generator_cores=0.95)
    assert capacity.needs_more_processes(late)
    assert not capacity.needs_more_processes(replace(late, generator_cores=0.3)), "others took its time"
    assert not capacity.needs_more_processes(replace(late, invalid=()))
    assert not capacity.needs_more_processes(replace(late, processes=2, generator_cores=1.9))


def test_capacity_is_the_highest_rate_that_held() -> None:
    one, two = capacities_of(SCALED)
    assert (one.rate, one.broke_at, one.trial, one.p99_ms) == (90, 100, 3, 80)
    assert (two.rate, two.broke_at, two.ceiling) == (174, 190, 220)
    assert two.cores_per_replica == pytest.approx(0.1)
    assert (
        summary.headline((one, two), OBJECTIVE)
        == "2 replicas sustain 174 requests/s at p99 ≤ 100 ms: 1.7 to 2.1× one replica."
    ), "174/100 to 190/90: the search left both capacities between two rates"
    finer = replace(one, broke_at=91), replace(two, broke_at=176)
    assert "1.93× one replica" in summary.headline(finer, OBJECTIVE)
    assert summary.headline((one,), OBJECTIVE) == "1 replica sustains 90 requests/s at p99 ≤ 100 ms."


def test_invalid_trials_do_not_count() -> None:
    better = replace(trial(95, 10, number=9), invalid=("lagged",))
    assert capacities_of((*SCALED, better))[0].rate == 90
    assert capacity.capacity([better], 1, OBJECTIVE) is None


def test_the_next_rate_narrows_the_capacity_down() -> None:
    assert capacity.next_rate([trial(50, 20), trial(100, 400)], OBJECTIVE) == 75
    assert capacity.next_rate([trial(98, 20), trial(100, 400)], OBJECTIVE) is None
    assert capacity.next_rate([trial(50, 20)], OBJECTIVE) == pytest.approx(55)
    assert capacity.next_rate([trial(50, 400)], OBJECTIVE) == 25


def test_reservations_name_what_spoils_the_figures() -> None:
    busy = tuple(replace(t, machine_busy=0.97) if t.replicas == 2 else t for t in SCALED)
    shaky = (*busy, trial(70, 300, number=9), replace(trial(60, 10, number=10), invalid=("lagged",)))
    notes = "\n".join(summary.limitations(shaky, capacities_of(shaky), OBJECTIVE, "none"))
    assert "1 of 10 trials are invalid" in notes
    assert "no spare CPU with 2 replicas" in notes
    assert "no CPU limit" in notes
    assert "a lower rate (70 requests/s) failed" in notes


def test_the_law_is_only_quoted_when_there_are_points_for_it() -> None:
    assert "too few" in summary.scaling_notes(None, 2)[0]
    points = [usl.Point(replicas=n, throughput=100 * n / (1 + 0.05 * (n - 1))) for n in (1, 2, 4)]
    assert "are too few for three parameters" in summary.scaling_notes(usl.fit(points), 3)[0]
    points += [usl.Point(replicas=n, throughput=100.5 * n / (1 + 0.05 * (n - 1))) for n in (1, 2, 4)]
    assert any("κ is not distinguishable from 0" in note for note in summary.scaling_notes(usl.fit(points), 6))


def test_sizes_follow_from_capacity() -> None:
    found = capacities_of(SCALED)
    measured = sizing.size(found, None, rate=150, cpus_per_replica=0.25)
    assert measured is not None
    assert (measured.replicas, measured.extrapolated, measured.basis) == (2, False, "measured")
    assert (measured.target_millicores, measured.target_percent) == (70, 28)
    more = sizing.size(found, None, rate=500, cpus_per_replica=None)
    assert more is not None
    assert (more.replicas, more.extrapolated, more.max_replicas, more.target_percent) == (6, True, 8, None)
    assert sizing.size((), None, rate=10, cpus_per_replica=None) is None


def rounds(rates: tuple[float, ...]) -> Experiment:
    trials = tuple(
        t
        for i, rate in enumerate(rates, 1)
        for t in (trial(rate, 50, number=2 * i, round_number=i), trial(0, 50, number=2 * i + 1, round_number=i))
    )
    return experiment(capacities_of(trials), trials)


@pytest.mark.parametrize(
    ("before", "after", "verdict"),
    [
        ((100, 101, 99), (120, 121, 119), compare.Change.MORE),
        ((120, 121, 119), (100, 101, 99), compare.Change.LESS),
        ((100, 130, 80), (120, 95, 110), compare.Change.WITHIN_SPREAD),
        ((100,), (200,), compare.Change.UNKNOWN),
    ],
)
def test_a_difference_counts_when_it_is_larger_than_the_spread(
    before: tuple[float, ...], after: tuple[float, ...], verdict: compare.Change
) -> None:
    found = {d.figure: d for d in compare.compare(rounds(before), rounds(after))}
    assert found["capacity"].verdict is verdict
    if len(before) > 1:
        assert found["ceiling"].verdict is compare.Change.WITHIN_SPREAD


def test_the_report_is_made_again_from_the_document_and_is_safe(tmp_path: Path) -> None:
    trials = (*SCALED, replace(trial(150, 30, number=9), invalid=("the load generator lagged <much>",)))
    headline = summary.headline(capacities_of(trials), OBJECTIVE)
    written = experiment(capacities_of(trials), trials, headline)
    folder.write(tmp_path, written, {t.number: "#a log\n" for t in trials})
    first = (tmp_path / folder.REPORT_HTML).read_text()
    (tmp_path / folder.REPORT_HTML).unlink()
    folder.write_report(tmp_path, folder.read(tmp_path))
    again = (tmp_path / folder.REPORT_HTML).read_text()
    assert again == first
    assert f"<h1>{headline}</h1>" in first
    assert "the load generator lagged &lt;much&gt;" in first
    assert "&lt;b&gt;a note&lt;/b&gt;" in first
    assert "http:" not in first
    assert "https:" not in first


def test_an_experiment_without_a_capacity_has_a_report_too(tmp_path: Path) -> None:
    trials = (trial(0, 50, number=1), replace(trial(50, 20, number=2), invalid=("lagged",)))
    folder.write(tmp_path, experiment((), trials, summary.headline((), OBJECTIVE)), dict.fromkeys((1, 2), "#a log\n"))
    assert "No valid trial, so no result." in (tmp_path / folder.REPORT_HTML).read_text()


def test_a_second_sweep_is_plotted_and_reported(tmp_path: Path) -> None:
    flat = tuple(
        replace(t, direct=True, number=t.number + 20, throughput=110.0, histogram=f"trial-{t.number + 20:02d}.hlog")
        for t in SCALED
    )
    through, past = capacities_of(SCALED), capacities_of(flat)
    sentence = summary.balancing(through, past)
    assert sentence.startswith("From 1 to 2 replicas throughput is 2.00× as high through the gateways,")
    assert "goes to one pod" in sentence
    assert "pins" not in summary.balancing(through, through), "only what was measured is explained"

    beside = Sweep(through="svc", sentence=sentence, capacities=past, trials=flat)
    both = replace(experiment(through, SCALED), direct=beside)
    folder.write(tmp_path, both, {t.number: "#log" for t in both.all_trials})
    assert folder.read(tmp_path) == both
    assert (tmp_path / "balancing.png").exists()
    assert sentence in (tmp_path / "report.html").read_text()
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [row["direct"] for row in rows] == ["False"] * len(SCALED) + ["True"] * len(flat)
