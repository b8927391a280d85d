"""`deployer experiment`."""

from __future__ import annotations

import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from deployer.cli.console import console
from deployer.cli.options.experiment import (
    BatchingSubjectOptions,
    BatchingSweepOptions,
    SubjectOptions,
    SweepOptions,
)
from deployer.cli.options.junit import JunitOptions
from deployer.cli.options.lists import numbers, whole
from deployer.cli.options.target import LocalOptions, TargetOptions
from deployer.cli.verb import DryRun, Timeout, Verb, duration
from deployer.cli.views.experiment import differences, found_text, outline, swept
from deployer.domain import release
from deployer.domain.pods import Pods
from deployer.errors import ExperimentInvalid, ToolError
from deployer.experiment.results import LagBounds
from deployer.extras import pip_line
from deployer.release.where import Kind, open_target

app = Verb(group=True, help="Measure latency and throughput over replica counts, and report.")

Folder = Annotated[Path, typer.Argument(help="Folder of an experiment.", show_default=False)]


@app.command()
def run(
    subject: SubjectOptions,
    replicas: Annotated[str, typer.Option("--replicas", metavar="1,2,4", help="Replica counts to measure.")] = "",
    rates: Annotated[
        str,
        typer.Option(
            "--rates", metavar="R,R", help="Requests per second to try; by default shares of the maximum throughput."
        ),
    ] = "",
    *,
    sweep: SweepOptions,
    direct: Annotated[
        bool, typer.Option("--direct", help="Measure one plain gRPC channel to one replica, without the gateway.")
    ] = False,
    direct_records: Annotated[
        Path | None,
        typer.Option(
            "--direct-records",
            metavar="FILE",
            help='Also measure as --direct does, with this file of lines {"inputs": {…}, "expected": …}.',
            show_default=False,
        ),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Records in one request.")] = 1,
    processes: Annotated[int, typer.Option("--processes", min=1, help="Number of processes that generate load.")] = 1,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed of the schedule.")] = None,
    max_lag: Annotated[
        float | None,
        typer.Option(
            "--max-lag",
            parser=duration,
            metavar="DURATION",
            help="Highest p99 of the load generator's own lag in a valid trial; by default a tenth of the objective.",
        ),
    ] = None,
    target_rate: Annotated[
        float, typer.Option("--for", min=0, help="Requests per second for which to compute the number of replicas.")
    ] = 0.0,
    timeout: Timeout = 300.0,
    where: TargetOptions,
    load_image: Annotated[
        str, typer.Option("--load-image", help="Image of the load generator's Job; by default the deployer's own.")
    ] = "",
    report: JunitOptions,
    dry_run: DryRun = False,
) -> None:
    """Find the rate that each number of replicas sustains within an objective, and write a folder with a report."""
    _need_libraries()
    described, _, pods = _described(where.file, where.state_dir)
    request = replace(
        sweep.request(subject, described, timeout=timeout),
        direct=direct,
        direct_records=direct_records,
        replicas=whole("--replicas", replicas) or described.replicas,
        rates=numbers("--rates", rates) or described.rates,
        bounds=None if max_lag is None else LagBounds(p99_ms=max_lag * 1e3, late_after_ms=max_lag * 1e3 / 2),
        batch=batch,
        processes=processes,
        seed=described.seed if seed is None else seed,
        target_rate=target_rate,
        load_image=load_image,
        pods=pods,
    )
    from deployer.experiment import run as experiment
    from deployer.experiment.junit import suite
    from deployer.experiment.report import folder

    report.check()
    target = open_target(where)
    if where.kind is Kind.CLUSTER:
        console.progress(target.describe())
    if dry_run:
        planned = experiment.plan(target, request)
        console.result("ExperimentPlan", planned, lambda: outline(planned, where=target.describe(), out=request.out))
        return
    try:
        found = experiment.run(target, request, console.progress)
    except ExperimentInvalid:
        written = folder.read(request.out)
        report.write(lambda: suite(written, rates=request.rates, target_rate=request.target_rate))
        raise
    report.write(lambda: suite(found, rates=request.rates, target_rate=request.target_rate))
    console.result("Experiment", found, lambda: found_text(found, request.out, found.sizing if target_rate else None))


@app.command()
def batching(
    subject: BatchingSubjectOptions,
    batches: Annotated[str, typer.Option("--batches", metavar="N,N", help="Records in one request.")] = "1,8,32,128",
    sizes: Annotated[
        str,
        typer.Option(
            "--max-batch-size", metavar="N,N", help="Sizes to try [default: that of deployer.yaml, else 8,32]."
        ),
    ] = "",
    waits: Annotated[
        str,
        typer.Option(
            "--batch-timeout", metavar="MICROS,…", help="Timeouts to try [default: 0 and that of deployer.yaml]."
        ),
    ] = "",
    threads: Annotated[
        str,
        typer.Option(
            "--num-batch-threads", metavar="N,N", help="Thread counts to try [default: that of deployer.yaml]."
        ),
    ] = "",
    *,
    sweep: BatchingSweepOptions,
    timeout: Timeout = 300.0,
    where: LocalOptions,
    dry_run: DryRun = False,
) -> None:
    """Find out whether batching in the model server is worthwhile, and write the best batching_parameters.txt."""
    _need_libraries()
    from deployer.experiment.batching import sweep as usecase
    from deployer.experiment.batching.search import candidates

    described, now, _ = _described(where.file, where.state_dir)
    base = now or release.Batching()
    request = usecase.BatchingRequest(
        each=sweep.request(subject, described, timeout=timeout),
        candidates=candidates(
            base,
            sizes=whole("--max-batch-size", sizes) or ((now.max_batch_size,) if now else (8, 32)),
            timeouts=whole("--batch-timeout", waits) or (0, base.batch_timeout_micros),
            threads=whole("--num-batch-threads", threads) or (base.num_batch_threads or os.cpu_count() or 1,),
        ),
        client_batches=whole("--batches", batches),
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
    """Show which differences between two experiments are larger than their run-to-run spread."""
    _need_libraries()
    from deployer.experiment import compare as comparison
    from deployer.experiment.report import folder

    found = comparison.compare(folder.read(before), folder.read(after))
    console.result("Comparison", found, lambda: differences(found))


@app.command()
def report(folder: Folder) -> None:
    """Recreate the plots and report.html of an experiment from its experiment.json or batching.json."""
    _need_libraries()
    from deployer.experiment.report import folder as folders

    path = folders.write_again(folder)
    console.result("Report", {"report": path}, str(path))


def _described(file: Path, state_dir: Path | None) -> tuple[release.Experiment, release.Batching | None, Pods]:
    """Three sections of the release; their defaults when only its state is named."""
    if state_dir is not None and not file.exists():
        return release.Experiment(), None, Pods()
    from deployer.release import spec

    described = spec.load(file)
    return described.experiment, described.batching, described.pods


def _need_libraries() -> None:
    missing = [name for name in ("hdrh", "matplotlib") if find_spec(name) is None]
    if missing:
        raise ToolError(f"experiments need {' and '.join(missing)}", hint=pip_line(missing[0]))
