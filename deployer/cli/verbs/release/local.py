"""`deployer local`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployer.cli.console import console
from deployer.cli.options.choices import ChoiceOptions
from deployer.cli.options.target import LocalOptions, StateDir
from deployer.cli.verb import DURATION, DryRun, File, Timeout, Verb, duration
from deployer.cli.verbs.release import status as status_verb
from deployer.errors import UsageError
from deployer.release import local
from deployer.release.status import status
from deployer.targets.local.state import Engine
from deployer.targets.local.supervisor import STOP_GRACE_SECONDS

app = Verb(group=True, help="Run a release as processes on this machine.")


@app.command()
def up(
    file: File = Path("deployer.yaml"),
    *,
    chosen: ChoiceOptions,
    replicas: Annotated[
        int | None, typer.Option("--replicas", min=1, help="Number of model servers; by default that of deployer.yaml.")
    ] = None,
    cpus_per_replica: Annotated[
        float | None,
        typer.Option("--cpus-per-replica", min=0.1, help="CPU limit of a replica; by default none."),
    ] = None,
    engine: Annotated[Engine, typer.Option("--engine", help="Model server of a replica.")] = Engine.EMBEDDED,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Port of the gateway; 0 means 8080 or the next free port."),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Address on which all processes listen; 0.0.0.0 exposes them to the network.")
    ] = "127.0.0.1",
    port_base: Annotated[
        int,
        typer.Option("--port-base", min=0, max=65000, help="First port of the replicas; 0 means any free ports."),
    ] = 0,
    foreground: Annotated[
        bool,
        typer.Option(
            "--foreground/--detach", help="Stay in the foreground and stop everything on Ctrl-C, or return once ready."
        ),
    ] = False,
    timeout: Timeout = 120.0,
    state_dir: StateDir = None,
    dry_run: DryRun = False,
) -> None:
    """Start replicas and a gateway, or change the running ones to match deployer.yaml."""
    request = local.UpRequest(
        file=file,
        state_dir=state_dir,
        choices=chosen.choices(),
        replicas=replicas,
        cpus=cpus_per_replica,
        engine=engine,
        gateway_port=port,
        host=host,
        port_base=port_base,
        bound=foreground,
        timeout=timeout,
    )
    if dry_run:
        plan = local.plan(request)
        console.result("LocalPlan", plan, lambda: _planned(plan))
        return
    done = local.up(request, console.progress)
    target = done.target
    try:
        if not (foreground and done.left_out):
            done.require_complete()
        found = status(target)
        console.result("LocalRelease", found, lambda: status_verb.text(found))
        if foreground:
            console.progress("running until Ctrl-C")
            local.watch(target)
    finally:
        if foreground:
            target.down(progress=console.progress)


@app.command()
def down(
    where: LocalOptions,
    timeout: Annotated[
        float,
        typer.Option(
            "--timeout", parser=duration, metavar=DURATION, help="Time in which a process must end before it is killed."
        ),
    ] = STOP_GRACE_SECONDS,
    dry_run: DryRun = False,
) -> None:
    """Stop every process of the release; keep its logs and files."""
    target = where.target()
    if dry_run:
        there = local.running_processes(target)
        words = "would stop " + ", ".join(there) if there else "nothing is running"
        console.result("StopPlan", {"would_stop": there}, words)
        return
    stopped = local.down(target, grace=timeout, progress=console.progress)
    console.result(
        "Stopped", {"stopped": stopped}, "stopped " + ", ".join(stopped) if stopped else "nothing was running"
    )


@app.command()
def logs(
    process: Annotated[str, typer.Argument(help="replica-0, gateway-0 …", show_default=False)],
    where: LocalOptions,
) -> None:
    """Print the log of one process."""
    log = where.target().layout.log(process)
    if not log.exists():
        there = ", ".join(sorted(path.stem for path in log.parent.glob("*.log"))) or "none"
        raise UsageError(f"there is no log of {process}", hint=f"logs: {there}")
    text = log.read_text(errors="replace")
    console.result("Log", {"process": process, "text": text}, text.rstrip())


def _planned(plan: local.UpPlan) -> str:
    port = f"port {plan.gateway_port}" if plan.gateway_port else "port 8080, or the next free one"
    lines = [
        f"{plan.release}: {plan.replicas} replicas ({plan.engine.value}) and a gateway on {port}",
        f"state and logs: {plan.directory}",
        f"running already: {', '.join(plan.running)}" if plan.running else "nothing is running yet",
    ]
    for name, state in plan.state.models.items():
        labels = ", ".join(f"{label} is {version}" for label, version in state.labels.items()) or "no labels"
        shares = ", ".join(f"{label} {share:g}" for label, share in state.weights.items()) or "none"
        lines.append(f"{name}: versions {', '.join(map(str, state.versions))}; {labels}; shares of traffic: {shares}")
    return "\n".join(lines)
