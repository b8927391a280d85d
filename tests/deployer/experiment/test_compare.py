"""`deployer experiment compare` as a user types it."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from deployer.experiment import compare as comparison
from deployer.experiment.report import folder
from deployer.experiment.results import Capacity, Environment, Experiment, LagBounds, Objective, Settings

OBJECTIVE = Objective()


def experiment(*by_round: float) -> Experiment:
    """An experiment with one replica whose capacity is known in each round."""
    carried = Capacity(
        replicas=1, rate=by_round[0], by_round=by_round, broke_at=None, ceiling=0, trial=None, p99_ms=None,
        cores_per_replica=None, machine_saturated=False,
    )  # fmt: skip
    return Experiment(
        settings=Settings(
            model="digits", label="stable", through="gateway-0", records=1, replicas=(1,), fractions=(0.5,), refine=0,
            rounds=len(by_round), warmup=1, seconds=1, max_seconds=1, batch=1, processes=1, seed=1, timeout=1,
        ),
        objective=OBJECTIVE,
        bounds=LagBounds.for_objective(OBJECTIVE),
        environment=Environment(
            target="local", description="here", cpu_model="a CPU", cores=2, memory_gib=8, system="an OS", versions={},
            load_average=None, cpu_limit="none", cpus_per_replica=None,
        ),
        started=0, finished=1, interrupted=False, accuracy=None, headline="", notes=(), capacities=(carried,),
        fit=None, sizing=None, trials=(),
    )  # fmt: skip


def measured(out: Path, *by_round: float) -> str:
    """A folder of such an experiment."""
    out.mkdir()
    folder.write_document(out, experiment(*by_round))
    return str(out)


def compare(*arguments: str) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "deployer.cli", "experiment", "compare", *arguments]
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


def test_a_difference_beyond_the_spread_is_named_and_one_within_is_not(tmp_path: Path) -> None:
    before = measured(tmp_path / "before", 100, 102, 98)
    after, same = measured(tmp_path / "after", 150, 153, 149), measured(tmp_path / "same", 103, 97, 101)
    shown = compare(before, after)
    assert shown.returncode == 0, shown.stderr
    assert [line.split()[:2] for line in shown.stdout.splitlines()] == [["REPLICAS", "FIGURE"], ["1", "capacity"]]
    assert "1.51×" in shown.stdout
    document = json.loads(compare(before, same, "-o", "json").stdout)
    assert document["kind"] == "Comparison"
    assert [(row["figure"], row["verdict"]) for row in document["result"]] == [("capacity", "within the spread")]


@pytest.mark.parametrize("rounds", [(2, 2), (3, 3), (3, 8), (10, 10), (30, 30)])
@pytest.mark.parametrize("spread", [(0.02, 0.02), (0.01, 0.2)])
def test_the_interval_of_a_ratio_is_scipys_of_welch(rounds: tuple[int, int], spread: tuple[float, float]) -> None:
    before, after = (
        np.exp(stats.norm(5, scale).rvs(count, random_state=count)) for scale, count in zip(spread, rounds, strict=True)
    )
    (found,) = comparison.compare(experiment(*before.tolist()), experiment(*after.tolist()))
    test = stats.ttest_ind(np.log(after), np.log(before), equal_var=False)
    assert found.low is not None
    assert found.high is not None
    assert math.sqrt(found.low * found.high) == pytest.approx(found.after / found.before)
    # Ours has a table of whole degrees of freedom up to 15, rounded down: the interval is never narrower but for the
    # second digit of the table, and as wide as scipy's at the rounded degrees.
    ours, exact = math.log(found.high / found.low), np.ptp(test.confidence_interval(0.95))
    assert ours >= exact * 0.998
    freedom = min(int(test.df), 15)
    assert ours == pytest.approx(exact * stats.t.ppf(0.975, freedom) / stats.t.ppf(0.975, test.df), rel=2e-3)


def test_a_folder_without_an_experiment_is_named(tmp_path: Path) -> None:
    shown = compare(str(tmp_path), str(tmp_path))
    assert shown.returncode == 3
    assert f"{tmp_path} has no experiment" in shown.stderr
