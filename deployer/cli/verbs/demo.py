"""`deployer demo`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployer.cli.console import Table, console
from deployer.cli.verb import Timeout, Verb
from deployer.targets.local.state import Engine

app = Verb()


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for models, files, logs and the report.")] = Path(
        "demo-output"
    ),
    cpus_per_replica: Annotated[
        float, typer.Option("--cpus-per-replica", min=0.1, help="CPU share of a replica, so that scaling can be seen.")
    ] = 0.25,
    engine: Annotated[Engine, typer.Option("--engine", help="What a replica runs.")] = Engine.EMBEDDED,
    measure: Annotated[bool, typer.Option("--measure/--no-measure", help="Run the scaling experiment, too.")] = True,
    timeout: Timeout = 120.0,
) -> None:
    """Show the whole thing on this machine, on real data.

    Trains and exports two versions of two models, serves them, sends held-out records, compares the accuracy with
    that of the models themselves, promotes a good version and has a bad one taken back under load, and measures what
    one and two replicas carry. Stops everything at the end.
    """
    from deployer.demo import demo as usecase

    request = usecase.DemoRequest(out=out, cpus=cpus_per_replica, engine=engine, measure=measure, timeout=timeout)
    found = usecase.demo(request, console.progress)
    rows = [
        (a.model, a.label, a.version, a.records, *(f"{100 * x:.2f} %" for x in (a.offline, a.gateway, a.direct)))
        for a in found.accuracies
    ]
    table = Table(columns=("model", "label", "version", "records", "offline", "gateway", "grpc"), rows=rows)
    changed = ", ".join(f"{count} by version {version}" for version, count in sorted(found.answers.items()))
    rolled = f"\n\nWhile versions changed, all requests were answered: {changed}" if found.answers else ""
    report = f"\n\n{found.headline}\nReport: {found.report}" if found.report else ""
    console.result(
        "Demo", found, f"{table}{rolled}{report}\n\nDone in {found.seconds:.0f} s; everything is in {found.out}"
    )
