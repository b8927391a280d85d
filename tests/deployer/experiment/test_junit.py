"""The JUnit report of an experiment: capacities, the rates that were asked for, and sizing."""

from __future__ import annotations

from dataclasses import replace

import junit_reports
from made_trials import OBJECTIVE, experiment, trial

from deployer.domain.junit import xml
from deployer.experiment import capacity, sizing
from deployer.experiment.junit import suite
from deployer.experiment.results import Experiment, Trial

AT = f"capacity at p99 ≤ {OBJECTIVE.p99_ms:g} ms"


def of(*trials: Trial) -> Experiment:
    counts = sorted({t.replicas for t in trials})
    known = [capacity.capacity(trials, count, OBJECTIVE) for count in counts]
    capacities = tuple(c for c in known if c is not None)
    return replace(experiment(capacities, trials), sizing=sizing.size(capacities, None, rate=150.0, cpus_per_replica=1))


def cases(found: Experiment, **asked: object) -> dict[tuple[str, str], tuple[str, str]]:
    return junit_reports.cases(xml(suite(found, **asked)))  # type: ignore[arg-type]


def test_each_number_of_replicas_is_a_case() -> None:
    lagged = replace(trial(80, 50, replicas=3, number=4), invalid=("the load generator lagged",))
    found = cases(of(trial(50, 40), trial(100, 300, number=2), trial(50, 400, replicas=2, number=3), lagged))
    assert found["1 replica", AT][0] == "passed"
    assert found["1 replica", AT][1].startswith("50 requests/s")
    assert found["2 replicas", AT] == ("failure", "no rate met the objective")
    assert found["3 replicas", AT] == ("skipped", "the load generator lagged")


def test_rates_that_were_asked_for_are_cases_and_those_of_the_search_are_not() -> None:
    found = cases(of(trial(50, 40), trial(100, 300, number=2), trial(75, 60, number=3)), rates=(50.0, 100.0, 200.0))
    rates = {name: case[0] for (_, name), case in found.items() if name.endswith("requests/s")}
    assert rates == {"50 requests/s": "passed", "100 requests/s": "failure", "200 requests/s": "skipped"}
    assert "p99 300.0 ms" in found["1 replica", "100 requests/s"][1]


def test_a_rate_that_was_to_be_sustained_is_a_case() -> None:
    found = of(trial(50, 40), trial(100, 300, number=2))
    assert cases(found, target_rate=150.0)["sizing", "for 150 requests/s"][0] == "passed"
    assert found.sizing is not None
    never = replace(found, sizing=replace(found.sizing, replicas=None))
    assert cases(never, target_rate=150.0)["sizing", "for 150 requests/s"][0] == "failure"
    assert cases(replace(found, sizing=None), target_rate=150.0)["sizing", "for 150 requests/s"][0] == "skipped"
