"""Tables of results that need a whole release or an hour, from results that are written down."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_release import MODEL, FakeRelease
from fake_world import REQUEST, World
from made_rollouts import shown
from made_trials import OBJECTIVE, experiment, trial

from deployer.cli.console import Console, Table
from deployer.cli.verbs.release.predict import text
from deployer.cli.views.experiment import differences, found_text, swept
from deployer.cli.views.rollout import history_text, plan_text, rollout_text
from deployer.domain.release import Batching
from deployer.experiment import capacity, compare, sizing
from deployer.experiment.batching.search import Cell, candidates, conclude
from deployer.experiment.results import Experiment
from deployer.release.predict import Predicted, Prediction
from deployer.rollout.preview import preview_start
from deployer.rollout.status import history

Shown = tuple[object, str | Table]


def measured(factor: float = 1.0) -> Experiment:
    trials = tuple(
        trial(rate * factor, p99, number=number, replicas=replicas, round_number=1)
        for number, (replicas, rate, p99) in enumerate([(1, 40, 30), (1, 60, 300), (2, 70, 50), (2, 110, 400)], 1)
    )
    found = tuple(c for n in (1, 2) if (c := capacity.capacity(trials, n, OBJECTIVE)))
    return experiment(found, trials)


def _experiment(_: Path) -> Shown:
    return measured(), found_text(measured(), Path("out"))


def _compared(_: Path) -> Shown:
    found = compare.compare(measured(), measured(1.4))
    return found, differences(found)


def _swept(_: Path) -> Shown:
    tried = candidates(Batching(), sizes=(8,), timeouts=(0,), threads=(1,))
    cells = [
        Cell(candidate=one.name, client_batch=4, rate=33.31, p99_ms=9.87, ceiling=71.2, folder="f") for one in tried
    ]
    found = conclude("m", OBJECTIVE, 2, tried, cells, interrupted=False)
    return found, swept(found, Path("out"))


def _status(_: Path) -> Shown:
    return {"phase": shown().phase, "status": shown()}, rollout_text(shown())


def _history(tmp_path: Path) -> Shown:
    world = World(tmp_path, FakeRelease(3, canary_failures=0.5))
    world.rollouts().start(REQUEST)
    found = history(world.histories, MODEL)
    return found, history_text(found)


def _plan(tmp_path: Path) -> Shown:
    found = preview_start(World(tmp_path).rollouts(), REQUEST)
    return found, plan_text(found)


def _predicted(_: Path) -> Shown:
    answers = tuple(Prediction(row=n, prediction="seven", version=3, score=0.875 + n / 100) for n in (1, 2))
    found = Predicted(model="m", label="", through="g", versions={3: 2}, accuracy=None, answers=answers)
    return found, text(found)


@pytest.mark.parametrize(
    "of", [_experiment, _compared, _swept, _status, _history, _plan, _predicted], ids=lambda of: of.__name__.strip("_")
)
def test_the_document_has_what_the_table_shows(of: Callable[[Path], Shown], tmp_path: Path) -> None:
    found, _ = of(tmp_path / "first")
    Console().result("Any", found, lambda: of(tmp_path / "second")[1])


def test_a_cell_that_is_only_in_the_table_is_found() -> None:
    table = Table(columns=("model", "size"), rows=[("digits", "12.3 MB")])
    Console().result("Any", {"model": "digits", "size": 12_300_000}, table)
    with pytest.raises(AssertionError, match=r"lacks what its table shows"):
        Console().result("Any", {"model": "digits"}, table)


def test_a_size_that_was_asked_for_is_shown_and_told() -> None:
    sized = sizing.size(measured().capacities, None, rate=500.0, cpus_per_replica=1.0)
    assert sized is not None
    found = found_text(measured(), Path("out"), asked=sized)
    assert f"500 requests/s need {sized.replicas} replicas (2 replicas, scaled linearly; extrapolated" in found
