"""Pictures of experiments: no legend or label covers a line, a point or another label, whatever was measured."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from made_trials import OBJECTIVE, experiment, trial
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Annotation

from deployer.experiment import capacity, summary, usl
from deployer.experiment.report import folder, labels, plots
from deployer.experiment.results import Capacity, CpuUse, Experiment, Sweep, Trial

COUNTS = [(1,), (1, 2), (2, 3), (1, 2, 4), (1, 2, 3, 4, 6, 8), (1, 16)]


def measured(
    counts: tuple[int, ...], *, each: float = 50.0, contention: float = 0.05, rounds: int = 1, first: int = 1
) -> tuple[Trial, ...]:
    """Trials of every count in every round: a ceiling, and rates from half the capacity to past it."""
    found: list[Trial] = []
    for number in range(1, rounds + 1):
        for count in counts:
            able = each * count / (1 + contention * (count - 1)) * (1 + 0.02 * ((number * 7 + count * 3) % 5 - 2))
            use = (*(CpuUse(name=f"replica-{i}", role="replica", cores=0.2) for i in range(count)),)
            common = {"replicas": count, "round_number": number}
            found.append(replace(trial(0, 50, **common, number=first + len(found)), throughput=able * 1.2, cpu=use))
            for share, p99 in ((0.5, 20), (0.7, 28), (0.85, 60), (0.97, 88), (1.08, 160), (1.2, 900)):
                found.append(replace(trial(able * share, p99, **common, number=first + len(found)), cpu=use))
    return tuple(found)


def capacities(trials: tuple[Trial, ...]) -> tuple[Capacity, ...]:
    found = (capacity.capacity(trials, n, OBJECTIVE) for n in sorted({t.replicas for t in trials}))
    return tuple(c for c in found if c is not None)


def whole(counts: tuple[int, ...], *, contention: float, rounds: int) -> Experiment:
    trials = measured(counts, contention=contention, rounds=rounds)
    flat = measured(counts, each=45.0, contention=0.9, first=500)
    found = capacities(trials)
    points = [usl.Point(replicas=c.replicas, throughput=rate) for c in found for rate in c.by_round if rate]
    beside = Sweep(through="one channel", sentence="", capacities=capacities(flat), trials=flat)
    return replace(experiment(found, trials), direct=beside, fit=usl.fit(points))


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> list[Figure]:
    """Every figure that is saved as PNG, as it was drawn."""
    drawn: list[Figure] = []
    save = plots._save

    def keep(figure: Figure, kind: str) -> bytes:
        drawn.append(figure) if kind == "png" else None
        return save(figure, kind)

    monkeypatch.setattr(plots, "_save", keep)
    return drawn


@pytest.mark.parametrize("rounds", [1, 3])
@pytest.mark.parametrize("contention", [-0.2, 0.0, 0.05, 0.5, 1.0])
@pytest.mark.parametrize("counts", COUNTS, ids=str)
def test_nothing_is_covered(counts: tuple[int, ...], contention: float, rounds: int, figures: list[Figure]) -> None:
    if contention < 0 and counts[-1] > 2:
        contention = -0.02
    names = [plot.name for plot in plots.draw(whole(counts, contention=contention, rounds=rounds))]
    assert names == ["throughput", "balancing", "latency", "cpu"]
    for name, figure in zip(names, figures, strict=True):
        (axes,) = figure.axes
        assert _covered(figure, axes) == [], name


def _covered(figure: Figure, axes: Axes) -> list[str]:
    """What each label and legend covers, and what stands outside of the figure."""
    figure.draw_without_rendering()
    found, lines, points = [], list(labels.paths(axes)), list(labels.points(axes))
    notes = [child for child in axes.get_children() if isinstance(child, Annotation)]
    boxes = [(note.get_text(), note.get_window_extent()) for note in notes]
    for text, box in boxes:
        others = [other for _, other in boxes if other is not box]
        if labels.covers(box, lines, [*points, *others]):
            found.append(text)
        if not axes.bbox.x0 <= box.x0 <= box.x1 <= axes.bbox.x1:
            found.append(f"{text} leaves the axes")
    for legend in figure.legends:
        box = legend.get_window_extent()
        if box.overlaps(axes.bbox) or box.x1 > figure.bbox.x1:
            found.append("legend")
    assert axes.get_legend() is None
    return found


def test_scaling_that_is_better_than_ideal_is_called_noise() -> None:
    trials = measured((1, 2), contention=-0.3)
    found = capacities(trials)
    headline = summary.headline(found, OBJECTIVE)
    assert headline.endswith("more than 2× one replica, which is noise or a busy first trial, not scaling.")
    assert not re.search(r"\d to \d", headline)
    assert capacity.times_text(found[1], found[0]) == "better than ideal: noise"
    (note,) = summary.beyond_ideal(found, trials, 8)
    assert "2 replicas sustain 3.0× as much as 1 replica, but cannot do more than 2×: this is noise" in note
    usual = measured((1, 2))
    assert summary.beyond_ideal(capacities(usual), usual, 8) == ()
    assert "one replica." in summary.headline(capacities(usual), OBJECTIVE)


def test_a_busy_first_trial_is_named_when_it_was_one() -> None:
    trials = tuple(replace(t, machine_busy=0.9 if t.replicas == 1 else 0.2) for t in measured((1, 2), contention=-0.3))
    (note,) = summary.beyond_ideal(capacities(trials), trials, 8)
    assert "other processes used 7.0 of 8 cores during the trials with 1 replica, and 1.2 later" in note


def test_such_a_report_gives_no_ratio(tmp_path: Path) -> None:
    trials = measured((1, 2), contention=-0.3)
    found = capacities(trials)
    written = experiment(found, trials, summary.headline(found, OBJECTIVE))
    folder.write(tmp_path, written, {t.number: "#log" for t in trials})
    report = (tmp_path / folder.REPORT_HTML).read_text()
    assert "better than ideal: noise (perfect 2×)" in report
    assert report.count("3.0×") == 0
