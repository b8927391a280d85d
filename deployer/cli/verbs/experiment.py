"""`deployer experiment`."""

from __future__ import annotations

import os
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from deployer.cli.console import console
from deployer.cli.options.target import LocalOptions, TargetOptions
from deployer.cli.verb import DryRun, Timeout, Verb, duration
from deployer.cli.views.experiment import differences, found_text, outline, swept
from deployer.domain import release
from deployer.errors import ToolError, UsageError
from deployer.experiment.request import ExperimentRequest
from deployer.experiment.results import LagBounds, Objective
from deployer.release.where import Kind, open_target

app = Verb(group=True, help="Measure latency and throughput over replica counts, and report.")

Folder = Annotated[Path, typer.Argument(help="Folder of an experiment.", show_default=False)]


@app.command()
def run(
    model: Annotated[str, typer.Argument(help="Name of the model.", show_default=False)],
    records: Annotated[
        Path | None, typer.Option("--records", help='JSON lines: {"record": {…}, "expected": …}.', show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write [default: experiments/MODEL-TIME].")
    ] = None,
    replicas: Annotated[str, typer.Option("--replicas", metavar="1,2,4", help="Replica counts to measure.")] = "",
    rates: Annotated[
        str, typer.Option("--rates", metavar="R,R", help="Requests a second to try; by default shares of the ceiling.")
    ] = "",
    fractions: Annotated[
        str, typer.Option("--fractions", metavar="F,F", help="Shares of the ceiling to try.")
    ] = "0.5,0.7,0.8,0.9",
    refine: Annotated[int, typer.Option("--refine", min=0, help="Further rates that narrow the capacity down.")] = 2,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Repetitions; 3 or more show the spread.")] = 1,
    p99: Annotated[
        float | None, typer.Option("--p99", parser=duration, metavar="DURATION", help="Objective: p99 at most this.")
    ] = None,
    max_errors: Annotated[
        float | None, typer.Option("--max-errors", min=0, max=1, help="Objective: share of requests that may fail.")
    ] = None,
    seconds: Annotated[float | None, typer.Option("--seconds", min=0.1, help="Least length of a window.")] = None,
    warmup: Annotated[float | None, typer.Option("--warmup", min=0, help="Seconds before each window.")] = None,
    label: Annotated[str, typer.Option("--label", help="Version label that answers.")] = "stable",
    direct: Annotated[
        bool, typer.Option("--direct", help="One plain gRPC channel to one replica, past the gateway.")
    ] = False,
    direct_records: Annotated[
        Path | None,
        typer.Option(
            "--direct-records",
            metavar="FILE",
            help='Also the same sweep as with --direct, by lines {"inputs": {…}, "expected": …}; both are drawn.',
            show_default=False,
        ),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Records in one request.")] = 1,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Processes that generate load.")] = 1,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the schedule.")] = None,
    max_lag: Annotated[
        float | None,
        typer.Option(
            "--max-lag",
            parser=duration,
            metavar="DURATION",
            help="p99 of the generator's own lag in a valid trial; by default a tenth of the objective.",
        ),
    ] = None,
    wished_rate: Annotated[float, typer.Option("--for", min=0, help="Requests a second to size for.")] = 0.0,
    timeout: Timeout = 300.0,
    *,
    where: TargetOptions,
    load_image: Annotated[
        str, typer.Option("--load-image", help="Image of the load generator's Job; by default the deployer's own.")
    ] = "",
    dry_run: DryRun = False,
) -> None:
    """Find what each number of replicas carries within an objective, and write a folder with a report."""
    _need_libraries()
    described = _described(where.file, where.state_dir)
    objective = Objective(
        p99_ms=described.p99_ms if p99 is None else p99 * 1e3,
        error_rate=described.error_rate if max_errors is None else max_errors,
    )
    path = records or (Path(described.records) if described.records else None)
    if path is None:
        raise UsageError("there are no records to send", hint="give --records, or experiment.records in deployer.yaml")
    request = ExperimentRequest(
        model=model,
        records=path,
        out=out or Path("experiments") / f"{model}-{time.strftime('%Y%m%d-%H%M%S')}",
        label=label,
        direct=direct,
        direct_records=direct_records,
        replicas=_whole("--replicas", replicas) or described.replicas,
        rates=_numbers("--rates", rates) or described.rates,
        fractions=_numbers("--fractions", fractions),
        refine=refine,
        rounds=rounds,
        warmup=described.warmup_seconds if warmup is None else warmup,
        seconds=described.seconds if seconds is None else seconds,
        objective=objective,
        bounds=None if max_lag is None else LagBounds(p99_ms=max_lag * 1e3, late_after_ms=max_lag * 1e3 / 2),
        batch=batch,
        processes=processes,
        seed=described.seed if seed is None else seed,
        scale_timeout=timeout,
        wished_rate=wished_rate,
        load_image=load_image,
    )
    from deployer.experiment import run as experiment

    target = open_target(where)
    if where.kind is Kind.CLUSTER:
        console.progress(target.describe())
    if dry_run:
        planned = experiment.plan(target, request)
        console.result("ExperimentPlan", planned, lambda: outline(planned, where=target.describe(), out=request.out))
        return
    found = experiment.run(target, request, console.progress)
    console.result("Experiment", found, lambda: found_text(found, request.out))


@app.command()
def batching(
    model: Annotated[str, typer.Argument(help="Name of the model.", show_default=False)],
    records: Annotated[
        Path | None, typer.Option("--records", help='JSON lines: {"record": {…}, "expected": …}.', show_default=False)
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder to write [default: experiments/MODEL-batching-TIME].")
    ] = None,
    batches: Annotated[str, typer.Option("--batches", metavar="N,N", help="Records in one request.")] = "1,8,32,128",
    sizes: Annotated[
        str, typer.Option("--max-batch-size", metavar="N,N", help="Sizes to try [default: as described, else 8,32].")
    ] = "",
    waits: Annotated[
        str, typer.Option("--batch-timeout", metavar="MICROS,…", help="Waits to try [default: 0 and as described].")
    ] = "",
    threads: Annotated[
        str, typer.Option("--num-batch-threads", metavar="N,N", help="Thread counts to try [default: as described].")
    ] = "",
    fractions: Annotated[
        str, typer.Option("--fractions", metavar="F,F", help="Shares of the ceiling to try.")
    ] = "0.6,0.8,0.95",
    refine: Annotated[int, typer.Option("--refine", min=0, help="Further rates that narrow the capacity down.")] = 1,
    rounds: Annotated[int, typer.Option("--rounds", min=1, help="Repetitions of every trial.")] = 1,
    p99: Annotated[
        float | None, typer.Option("--p99", parser=duration, metavar="DURATION", help="Objective: p99 at most this.")
    ] = None,
    max_errors: Annotated[
        float | None, typer.Option("--max-errors", min=0, max=1, help="Objective: share of requests that may fail.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, help="Least length of a window.")] = 3.0,
    warmup: Annotated[float, typer.Option("--warmup", min=0, help="Seconds before each window.")] = 1.0,
    label: Annotated[str, typer.Option("--label", help="Version label that answers.")] = "stable",
    timeout: Timeout = 300.0,
    *,
    where: LocalOptions,
    dry_run: DryRun = False,
) -> None:
    """Find out whether batching in the model server pays, and write the best batching_parameters.txt."""
    _need_libraries()
    from deployer.experiment.batching import sweep as usecase
    from deployer.experiment.batching.search import candidates

    described, now = _described(where.file, where.state_dir), _batching(where.file, where.state_dir)
    path = records or (Path(described.records) if described.records else None)
    if path is None:
        raise UsageError("there are no records to send", hint="give --records, or experiment.records in deployer.yaml")
    base = now or release.Batching()
    request = usecase.BatchingRequest(
        each=ExperimentRequest(
            model=model,
            records=path,
            out=out or Path("experiments") / f"{model}-batching-{time.strftime('%Y%m%d-%H%M%S')}",
            label=label,
            fractions=_numbers("--fractions", fractions),
            refine=refine,
            rounds=rounds,
            warmup=warmup,
            seconds=seconds,
            objective=Objective(
                p99_ms=described.p99_ms if p99 is None else p99 * 1e3,
                error_rate=described.error_rate if max_errors is None else max_errors,
            ),
            seed=described.seed,
            scale_timeout=timeout,
        ),
        candidates=candidates(
            base,
            sizes=_whole("--max-batch-size", sizes) or ((now.max_batch_size,) if now else (8, 32)),
            timeouts=_whole("--batch-timeout", waits) or (0, base.batch_timeout_micros),
            threads=_whole("--num-batch-threads", threads) or (base.num_batch_threads or os.cpu_count() or 1,),
        ),
        client_batches=_whole("--batches", batches),
    )
    if dry_run:
        usecase.check(request)
        where.target().replicas()
        names = [candidate.name for candidate in request.candidates]
        sizes = ", ".join(map(str, request.client_batches))
        words = f"would try: {'; '.join(names)}\neach with {sizes} records in a request"
        console.result("BatchingPlan", {"candidates": names, "batches": request.client_batches}, words)
        return
    found = usecase.run(where.target(), request, console.progress)
    console.result("BatchingExperiment", found, lambda: swept(found, request.each.out))


@app.command()
def compare(before: Folder, after: Folder) -> None:
    """Say which differences between two experiments are larger than their run-to-run spread."""
    _need_libraries()
    from deployer.experiment import compare as comparison
    from deployer.experiment.report import folder

    found = comparison.compare(folder.read(before), folder.read(after))
    console.result("Comparison", found, lambda: differences(found))


@app.command()
def report(folder: Folder) -> None:
    """Write the plots and report.html of an experiment again from its experiment.json."""
    _need_libraries()
    from deployer.experiment.report import folder as folders

    folders.write_report(folder, folders.read(folder))
    path = folder / folders.REPORT
    console.result("Report", {"report": path}, str(path))


def _batching(file: Path, state_dir: Path | None) -> release.Batching | None:
    """The section of the release; None without one, and when only its state is named."""
    if state_dir is not None and not file.exists():
        return None
    from deployer.release import spec

    return spec.load(file).batching


def _described(file: Path, state_dir: Path | None) -> release.Experiment:
    """The experiment section of the release; the defaults of one when only its state is named."""
    if state_dir is not None and not file.exists():
        return release.Experiment()
    from deployer.release import spec

    return spec.load(file).experiment


def _numbers(option: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise UsageError(f"{option} {text}: not a list of numbers", hint=f"for example {option} 1,2,4") from error


def _whole(option: str, text: str) -> tuple[int, ...]:
    found = _numbers(option, text)
    if any(number != int(number) for number in found):
        raise UsageError(f"{option} {text}: not whole numbers", hint=f"for example {option} 1,2,4")
    return tuple(int(number) for number in found)


def _need_libraries() -> None:
    missing = [name for name in ("hdrh", "matplotlib") if find_spec(name) is None]
    if missing:
        raise ToolError(
            f"experiments need {' and '.join(missing)}", hint="pip install 'tfserving-deployer[experiment]'"
        )
