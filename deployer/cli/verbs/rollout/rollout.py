"""`deployer rollout`."""

from __future__ import annotations

import time
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from deployer.cli import candidates
from deployer.cli.console import console
from deployer.cli.options.junit import JunitOptions
from deployer.cli.options.lists import numbers
from deployer.cli.options.record import RecordOptions
from deployer.cli.options.target import TargetOptions
from deployer.cli.verb import DryRun, ModelName, NewTimeout, Timeout, Verb, duration
from deployer.cli.views.redraw import LiveText
from deployer.cli.views.rollout import history_text, plan_text, rollout_text, sentence, summary_line
from deployer.domain.rollout import OnFail, Policy, Rollout, RolloutRequest
from deployer.errors import DeployerError, UsageError
from deployer.rollout import status as rollout_status
from deployer.rollout import watch as watching
from deployer.rollout.junit import suite
from deployer.rollout.preview import Preview, preview_start
from deployer.rollout.rollouts import rollouts_of

app = Verb(group=True, help="Bring a new version to traffic step by step, judged by gates.")

REDRAW_SECONDS = 1.0


class Load(StrEnum):
    """Where the requests that gates judge by come from."""

    TRAFFIC = "traffic"
    SYNTHETIC = "synthetic"


@app.command()
def start(
    model: ModelName,
    to: Annotated[
        int,
        typer.Option(
            "--to",
            min=1,
            metavar="N",
            help="Version to roll out.",
            show_default=False,
            autocompletion=candidates.versions,
        ),
    ],
    steps: Annotated[
        str, typer.Option("--steps", metavar="PERCENT,…", help="Traffic shares of canary in percent, in this order.")
    ] = "5,25,50",
    soak: Annotated[
        float,
        typer.Option("--soak", parser=duration, metavar="DURATION", help="Time for which each share is observed."),
    ] = 20.0,
    gate: Annotated[
        list[str] | None,
        typer.Option(
            "--gate", metavar="GATE", help="Gate such as p99<200ms; repeatable. By default those of the file."
        ),
    ] = None,
    no_gates: Annotated[
        bool, typer.Option("--no-gates", help="Promote without gates on traffic; the history records this.")
    ] = False,
    labelled: Annotated[
        Path | None, typer.Option("--labelled", help="JSON lines of records with expected values.", show_default=False)
    ] = None,
    min_samples: Annotated[
        int, typer.Option("--min-samples", min=0, help="Responses that a gate needs for a verdict.")
    ] = 50,
    load: Annotated[
        Load, typer.Option("--load", help="Judge by real traffic only, or also send labelled records.")
    ] = Load.TRAFFIC,
    load_rate: Annotated[float, typer.Option("--load-rate", min=0.1, help="Synthetic requests per second.")] = 20.0,
    on_fail: Annotated[OnFail, typer.Option("--on-fail", help="Action when a gate fails.")] = OnFail.ABORT,
    max_duration: Annotated[
        float,
        typer.Option(
            "--max-duration", parser=duration, metavar="DURATION", help="Longest duration of the whole rollout."
        ),
    ] = 3600.0,
    keep_previous: Annotated[
        bool, typer.Option("--keep-previous", help="Keep the previous version loaded after promotion.")
    ] = False,
    policy: Annotated[
        Policy | None,
        typer.Option(
            "--policy",
            help="Load both versions side by side, or replace them replica by replica. By default that of the file.",
        ),
    ] = None,
    accept_downtime: Annotated[
        bool, typer.Option("--accept-downtime", help="Allow downtime: resource-preserving may empty the only replica.")
    ] = False,
    timeout: Timeout = 120.0,
    dry_run: DryRun = False,
    *,
    where: TargetOptions,
    git: RecordOptions,
    report: JunitOptions,
) -> int:
    """Roll out a version: load, label, shares of traffic under gates, promote.

    The exit code is 0 when it was promoted, 7 when it was rolled back or is paused, 6 when it is degraded.
    With --dry-run it is 7 when a gate fails before the version is loaded; a PVC is read by a short-lived pod.
    """
    if no_gates and gate:
        raise UsageError("--no-gates and --gate contradict each other", hint="leave out one of them")
    git.check(where)
    report.check()
    rollouts = rollouts_of(where, model, console.progress)
    gates = () if no_gates else tuple(gate) if gate is not None else rollouts.gates
    request = _request(
        to=to,
        shares=numbers("--steps", steps, example="5,25,50", what="percentages", unit="%"),
        soak=soak,
        gates=gates,
        no_gates=no_gates,
        labelled=str(labelled) if labelled is not None else "",
        min_samples=min_samples,
        load=load_rate if load is Load.SYNTHETIC else 0.0,
        on_fail=on_fail,
        max_duration=max_duration,
        keep_previous=keep_previous,
        policy=policy or rollouts.policy,
        accept_downtime=accept_downtime,
        timeout=timeout,
    )
    if dry_run:
        return foreseen(preview_start(rollouts, request))
    done = rollouts.start(request)
    report.write(lambda: suite(rollouts.histories.read(rollouts.model)))
    return ended(done, where, git)


@app.command()
def status(
    model: ModelName,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Refresh until the rollout ends or pauses.")] = False,
    *,
    where: TargetOptions,
) -> int:
    """Show the state of a rollout: step, verdicts, and every replica and gateway.

    The exit code is 0 while it runs and when it is healthy, 7 when it was rolled back or is paused, 6 when degraded.
    """
    rollouts = rollouts_of(where, model, console.progress)
    before = ""
    live = LiveText()
    while True:
        now = rollout_status.rollout_status(rollouts.target, rollouts.histories, rollouts.model, now=time.time())
        text = rollout_text(now)
        if not watch or not now.at_work:
            live.clear()
            console.result("RolloutStatus", {"phase": now.phase, "status": now}, text)
            return now.exit_code
        if live.possible:
            live.show(text)
        elif (plain := summary_line(now)) != before:
            console.result("RolloutStatus", {"phase": now.phase, "status": now}, plain)
            before = plain
        time.sleep(REDRAW_SECONDS)


@app.command()
def watch(
    model: ModelName,
    exit_code: Annotated[
        bool,
        typer.Option("--exit-code", help="Exit with 7 when it was rolled back or is paused, with 6 when degraded."),
    ] = False,
    timeout: Timeout = 3600.0,
    *,
    where: TargetOptions,
    report: JunitOptions,
) -> int:
    """Wait until the rollout that another deployer runs ends or pauses, with a line of progress for each change.

    The exit code is 0 however it ended, unless --exit-code says otherwise, and 8 after --timeout.
    """
    report.check()
    rollouts = rollouts_of(where, model, console.progress)
    found = watching.watch(
        rollouts.histories, rollouts.model, timeout=timeout, clock=rollouts.clock, progress=console.progress
    )
    report.write(lambda: suite(rollouts.histories.read(rollouts.model)))
    rollout = found.rollout
    text = sentence(rollout) + ("\nno deployer is working on it: `deployer rollout resume` continues" * found.killed)
    result = {"phase": rollout.phase, "outcome": rollout.outcome, "killed": found.killed, "rollout": rollout}
    console.result("Rollout", result, text)
    return rollout_status.exit_code(rollout) if exit_code else 0


@app.command()
def promote(model: ModelName, timeout: NewTimeout = None, *, where: TargetOptions, git: RecordOptions) -> int:
    """Skip the remaining steps and gates, and make the version stable."""
    git.check(where)
    return ended(rollouts_of(where, model, console.progress).promote(timeout), where, git)


@app.command()
def pause(model: ModelName, where: TargetOptions) -> None:
    """Pause before the next step; shares of traffic stay as they are."""
    ended(rollouts_of(where, model, console.progress).pause(), where, RecordOptions())


@app.command()
def resume(model: ModelName, timeout: NewTimeout = None, *, where: TargetOptions, git: RecordOptions) -> int:
    """Continue after a pause, or after the deployer was killed."""
    git.check(where)
    return ended(rollouts_of(where, model, console.progress).resume(timeout), where, git)


@app.command()
def abort(model: ModelName, timeout: NewTimeout = None, *, where: TargetOptions) -> int:
    """Abort the rollout at any step and remove the version from traffic. The exit code is 0 when that is verified."""
    done = rollouts_of(where, model, console.progress).abort(timeout)
    code = ended(done, where, RecordOptions())
    return 0 if done.outcome == "aborted" else code


@app.command()
def history(model: ModelName, where: TargetOptions) -> None:
    """Show every step of the latest rollout, and a summary of earlier ones."""
    rollouts = rollouts_of(where, model, console.progress)
    found = rollout_status.history(rollouts.histories, rollouts.model)
    console.result("RolloutHistory", found, lambda: history_text(found))


def ended(rollout: Rollout, where: TargetOptions, git: RecordOptions) -> int:
    """Print where a rollout rests, and record what it left for Git if it has ended; its exit code."""
    code = rollout_status.exit_code(rollout)
    if rollout.outcome:
        try:
            git.record(where, f"{rollout.model}: version {rollout.request.to} {rollout.outcome}")
        except DeployerError as error:  # the rollout itself has ended, and its result must be printed
            console.progress(f"{rollout.outcome}, but the values files were not recorded: {error.message}")
            code = error.exit_code
    console.result(
        "Rollout", {"phase": rollout.phase, "outcome": rollout.outcome, "rollout": rollout}, sentence(rollout)
    )
    return code


def foreseen(found: Preview) -> int:
    """Print what would be done; the exit code says whether the first step would be passed."""
    console.result("RolloutPlan", found, lambda: plan_text(found))
    return found.exit_code


def _request(**fields: object) -> RolloutRequest:
    try:
        return RolloutRequest(**fields)  # type: ignore[arg-type]
    except ValueError as error:
        raise UsageError(str(error), hint="`deployer rollout start --help`") from None
