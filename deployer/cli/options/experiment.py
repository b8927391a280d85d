"""What is measured, how, and against which objective: the options that `experiment run` and `batching` share."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import typer

from deployer.cli import candidates
from deployer.cli.options.group import OptionGroup
from deployer.cli.options.lists import numbers
from deployer.cli.verb import ModelName, duration
from deployer.domain import release
from deployer.errors import UsageError
from deployer.experiment.request import ExperimentRequest
from deployer.experiment.results import Objective

Fractions = Annotated[
    str, typer.Option("--fractions", metavar="F,F", help="Rates to try, as shares of the maximum throughput.")
]
Refine = Annotated[int, typer.Option("--refine", min=0, help="Additional rates, to find the capacity more precisely.")]
Seconds = Annotated[float | None, typer.Option("--seconds", min=0.1, help="Minimum seconds of a measured window.")]
Warmup = Annotated[float | None, typer.Option("--warmup", min=0, help="Seconds of load before each measured window.")]


@dataclass(frozen=True, kw_only=True)
class SubjectOptions(OptionGroup):
    """Which model is measured with which records, and where the result goes."""

    kind: ClassVar[str] = ""

    model: ModelName
    records: Annotated[
        Path | None, typer.Option("--records", help='JSON lines: {"record": {…}, "expected": …}.', show_default=False)
    ] = None
    out: Annotated[Path | None, typer.Option("--out", help="Folder to write [default: experiments/MODEL-TIME].")] = None


@dataclass(frozen=True, kw_only=True)
class BatchingSubjectOptions(SubjectOptions):
    """The same for an experiment about batching."""

    kind: ClassVar[str] = "batching-"

    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write [default: experiments/MODEL-batching-TIME].")
    ] = None


@dataclass(frozen=True, kw_only=True)
class SweepOptions(OptionGroup):
    """Which rates are tried, how long and how often, and what a response may take. None is what deployer.yaml says."""

    fractions: Fractions = "0.5,0.7,0.8,0.9"
    refine: Refine = 2
    rounds: Annotated[
        int, typer.Option("--rounds", min=1, help="Repetitions of all trials; 3 or more show the spread.")
    ] = 1
    p99: Annotated[
        float | None, typer.Option("--p99", parser=duration, metavar="DURATION", help="Objective: p99 at most this.")
    ] = None
    max_errors: Annotated[
        float | None, typer.Option("--max-errors", min=0, max=1, help="Objective: share of requests that may fail.")
    ] = None
    seconds: Seconds = None
    warmup: Warmup = None
    label: Annotated[
        str, typer.Option("--label", help="Version label to measure.", autocompletion=candidates.labels)
    ] = "stable"

    def request(self, subject: SubjectOptions, described: release.Experiment, *, timeout: float) -> ExperimentRequest:
        """The experiment, as far as both verbs know it. Errors: UsageError without records, for what is no number."""
        records = subject.records or (Path(described.records) if described.records else None)
        if records is None:
            raise UsageError(
                "there are no records to send", hint="give --records, or experiment.records in deployer.yaml"
            )
        named = f"{subject.model}-{subject.kind}{time.strftime('%Y%m%d-%H%M%S')}"
        return ExperimentRequest(
            model=subject.model,
            records=records,
            out=subject.out or Path("experiments") / named,
            label=self.label,
            fractions=numbers("--fractions", self.fractions),
            refine=self.refine,
            rounds=self.rounds,
            warmup=described.warmup_seconds if self.warmup is None else self.warmup,
            seconds=described.seconds if self.seconds is None else self.seconds,
            objective=Objective(
                p99_ms=described.p99_ms if self.p99 is None else self.p99 * 1e3,
                error_rate=described.error_rate if self.max_errors is None else self.max_errors,
            ),
            seed=described.seed,
            scale_timeout=timeout,
        )


@dataclass(frozen=True, kw_only=True)
class BatchingSweepOptions(SweepOptions):
    """The same, made for many short experiments."""

    fractions: Fractions = "0.6,0.8,0.95"
    refine: Refine = 1
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Repetitions of every trial.")] = 1
    seconds: Seconds = 3.0
    warmup: Warmup = 1.0
