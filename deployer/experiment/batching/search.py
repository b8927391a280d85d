"""Which batching parameters are worth trying, and which of them is best."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from statistics import fmean

from deployer.domain.release import Batching
from deployer.experiment.results import Objective

WORTHWHILE = 1.05
"""Batching must carry 5 % more than none: it costs latency at low rates, and a smaller gain is within the noise."""


_LEAVE_OUT = " Leave the section batching out of deployer.yaml."


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One way to batch in the model server; `parameters` None is none at all."""

    name: str
    parameters: Batching | None


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What was measured with one candidate and one number of records in a request.

    `rate` is the highest rate, requests a second, that kept to the objective in an open loop; `ceiling` the best of the
    closed loop. `folder` holds the whole experiment. `problem` says why there is no figure; `rate` is 0 then.
    """

    candidate: str
    client_batch: int
    rate: float
    p99_ms: float | None
    ceiling: float
    folder: str
    problem: str = ""

    @property
    def records(self) -> float:
        """Records a second within the objective."""
        return self.rate * self.client_batch


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """All cells, and what follows. `best` is the candidate to use, None for no batching or when nothing is known.

    `section` is what deployer.yaml should say for it. An interrupted sweep recommends nothing.
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
    """No batching, and `base` with every combination; timeouts in microseconds. Equal values count once."""
    combinations = dict.fromkeys(itertools.product(sizes, timeouts, threads))
    return (OFF, *(_candidate(base, *combination) for combination in combinations))


def _candidate(base: Batching, size: int, timeout: int, threads: int) -> Candidate:
    """The last allowed size must be the largest batch, so allowed sizes are cut or extended to fit."""
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
    """Choose by the geometric mean over all numbers of records in a request, so that each counts alike."""
    best, headline = (None, "Interrupted: nothing is recommended.") if interrupted else _choose(tried, cells, objective)
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
        return None, "Nothing can be concluded: too many measurements are invalid; the table says why. Try again."
    scores = {candidate.name: _score(candidate, cells) for candidate in tried if candidate.name not in unmeasured}
    off, batching = scores.pop(OFF.name, 0.0), [c for c in tried if c.parameters is not None and c.name in scores]
    if off == 0:
        unknown = ", ".join(str(c.client_batch) for c in cells if c.candidate == OFF.name and c.rate == 0)
        return None, (
            f"Nothing can be concluded: without batching no rate was sustained {within} (records in a request: "
            f"{unknown or 'none tried'})."
        )
    best = max(batching, key=lambda c: scores[c.name], default=None)
    if best is None or scores[best.name] == 0:
        return None, f"No candidate sustained a rate {within} with every number of records; off did.{_LEAVE_OUT}"
    ratio = scores[best.name] / off
    finding = f"the best candidate, {best.name}, carries {ratio:.2f}× of what is carried without, {within}"
    if ratio < 1:
        return None, f"Off carries more: {finding}.{_LEAVE_OUT}"
    if ratio < WORTHWHILE:
        return (
            None,
            f"Batching does not pay: {finding}; less than {WORTHWHILE:.2f}× is within the noise.{_LEAVE_OUT}",
        )
    return best, f"Batching pays: {finding}."


def _score(candidate: Candidate, cells: Sequence[Cell]) -> float:
    """Geometric mean of records a second; 0 when some number of records was not carried at all."""
    rates = [cell.records for cell in cells if cell.candidate == candidate.name]
    return math.exp(fmean(map(math.log, rates))) if rates and min(rates) > 0 else 0.0


def section(best: Candidate) -> str:
    """The section of deployer.yaml for a candidate: YAML, only what is not at its default."""
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
