"""`deployer experiment compare` as a user types it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from deployer.experiment.report import folder
from deployer.experiment.results import Capacity, Environment, Experiment, LagBounds, Objective, Settings

OBJECTIVE = Objective()


def measured(out: Path, *by_round: float) -> str:
    """A folder of an experiment with one replica whose capacity is known in each round."""
    carried = Capacity(
        replicas=1, rate=by_round[0], by_round=by_round, broke_at=None, ceiling=0, trial=None, p99_ms=None,
        cores_per_replica=None, machine_saturated=False,
    )  # fmt: skip
    experiment = Experiment(
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
    out.mkdir()
    folder.write_document(out, experiment)
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


def test_a_folder_without_an_experiment_is_named(tmp_path: Path) -> None:
    shown = compare(str(tmp_path), str(tmp_path))
    assert shown.returncode == 3
    assert f"{tmp_path} holds no experiment" in shown.stderr
