"""Candidates for batching parameters, and the choice of the best."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean

from deployer.domain.release import Batching
from deployer.experiment.results import Objective

WORTHWHILE = 1.05
"""Batching must sustain 5 % more than none: it costs latency at low rates, and a smaller gain is within the noise."""


_REMOVE_SECTION = " Remove the section batching from deployer.yaml."


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One choice of batching parameters; `parameters` None means no batching."""

    name: str
    parameters: Batching | None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """The measurement of one candidate with one number of records per request.

    `rate` is the highest open-loop rate in requests a second that met the objective; `ceiling` is the closed-loop
    maximum. `folder` is the folder of the experiment. `problem` says why there is no figure; `rate` is 0 then.
    """

    candidate: str
    client_batch: int
    rate: float
    p99_ms: float | None
    ceiling: float
    folder: str
    problem: str = ""
    records: float = 0.0
    """Records a second within the objective; follows from the others."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "records", self.rate * self.client_batch)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All measurements, and the conclusion. `best` is the candidate to use, None for no batching or if unknown.

    `section` is its section in deployer.yaml. An interrupted sweep recommends nothing.
    """

    model: str
    objective: Objective
    replicas: int
    candidates: tuple[Candidate, ...]
    cells: tuple[Cell, ...]
    best: Candidate | None
    headline: str
    section: str
    interrupted: bool


OFF = Candidate(name="off", parameters=None)


def candidates(
    base: Batching, *, sizes: Sequence[int], timeouts: Sequence[int], threads: Sequence[int]
) -> tuple[Candidate, ...]:
    """No batching, and `base` with every combination; timeouts in microseconds. Duplicates are removed."""
    combinations = dict.fromkeys(itertools.product(sizes, timeouts, threads))
    return (OFF, *(_candidate(base, *combination) for combination in combinations))


def _candidate(base: Batching, size: int, timeout: int, threads: int) -> Candidate:
    """Adjust the allowed sizes: the last one must be the maximum batch size."""
    allowed = (*(s for s in base.allowed_batch_sizes if s < size), size) if base.allowed_batch_sizes else ()
    execution = base.max_execution_batch_size and min(base.max_execution_batch_size, size)
    parameters = replace(
        base,
        max_batch_size=size,
        batch_timeout_micros=timeout,
        num_batch_threads=threads,
        allowed_batch_sizes=allowed,
        max_execution_batch_size=execution,
    )
    return Candidate(name=f"size{size}-wait{timeout}us-threads{threads}", parameters=parameters)


def conclude(
    model: str,
    objective: Objective,
    replicas: int,
    tried: Sequence[Candidate],
    cells: Sequence[Cell],
    *,
    interrupted: bool,
) -> Sweep:
    """Choose by the geometric mean over all numbers of records per request, so that each has the same weight."""
    best, headline = (None, "Interrupted: no recommendation.") if interrupted else _choose(tried, cells, objective)
    return Sweep(
        model=model,
        objective=objective,
        replicas=replicas,
        candidates=tuple(tried),
        cells=tuple(cells),
        best=best,
        headline=headline,
        section=section(best) if best else "",
        interrupted=interrupted,
    )


def _choose(tried: Sequence[Candidate], cells: Sequence[Cell], objective: Objective) -> tuple[Candidate | None, str]:
    within = f"within p99 ≤ {objective.p99_ms:g} ms"
    unmeasured = {cell.candidate for cell in cells if cell.problem}
    if OFF.name in unmeasured or all(c.name in unmeasured for c in tried if c.parameters is not None):
        return None, "No conclusion: too many measurements are invalid; see the table. Try again."
    scores = {candidate.name: _score(candidate, cells) for candidate in tried if candidate.name not in unmeasured}
    off, batching = scores.pop(OFF.name, 0.0), [c for c in tried if c.parameters is not None and c.name in scores]
    if off == 0:
        unknown = ", ".join(str(c.client_batch) for c in cells if c.candidate == OFF.name and c.rate == 0)
        return None, (
            f"No conclusion: without batching no rate was sustained {within} (records per request: "
            f"{unknown or 'none tried'})."
        )
    best = max(batching, key=lambda c: scores[c.name], default=None)
    if best is None or scores[best.name] == 0:
        return (
            None,
            f"No candidate sustained a rate {within} with every number of records; no batching did.{_REMOVE_SECTION}",
        )
    ratio = scores[best.name] / off
    finding = f"the best candidate, {best.name}, sustains {ratio:.2f}× the load of no batching, {within}"
    if ratio < 1:
        return None, f"No batching is better: {finding}.{_REMOVE_SECTION}"
    if ratio < WORTHWHILE:
        return (
            None,
            f"Batching is not worthwhile: {finding}; less than {WORTHWHILE:.2f}× is within the noise.{_REMOVE_SECTION}",
        )
    return best, f"Batching is worthwhile: {finding}."


def _score(candidate: Candidate, cells: Sequence[Cell]) -> float:
    """Geometric mean of records a second; 0 if no rate was sustained for some number of records."""
    rates = [cell.records for cell in cells if cell.candidate == candidate.name]
    return math.exp(fmean(map(math.log, rates))) if rates and min(rates) > 0 else 0.0


def section(best: Candidate) -> str:
    """The section of deployer.yaml for a candidate, as YAML without default values."""
    if best.parameters is None:
        return ""
    default = asdict(Batching())
    always = ("max_batch_size", "batch_timeout_micros", "num_batch_threads")
    lines = ["batching:"]
    for name, value in asdict(best.parameters).items():
        if name in always or value != default[name]:
            lines.append(f"  {name}: {_yaml(value)}")
    return "\n".join(lines) + "\n"


def _yaml(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(list(value)) if isinstance(value, tuple) else str(value)
