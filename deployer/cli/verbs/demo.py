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
        float,
        typer.Option("--cpus-per-replica", min=0.1, help="CPU limit of a replica; a small one makes scaling visible."),
    ] = 0.25,
    engine: Annotated[Engine, typer.Option("--engine", help="Model server of a replica.")] = Engine.EMBEDDED,
    measure: Annotated[bool, typer.Option("--measure/--no-measure", help="Also run the scaling experiment.")] = True,
    timeout: Timeout = 120.0,
) -> None:
    """Run the whole toolkit on this machine, on real data.

    Trains and exports two versions of two models, serves them, sends held-out records, compares the accuracy with
    that of the models themselves, compares a model with its TFLite form and with a forest of scikit-learn, promotes
    a good version and aborts a bad one under load, and measures the load that one and two replicas sustain. Stops
    everything at the end.
    """
    from deployer.cli.views.compare import compared_text
    from deployer.demo import demo as usecase

    request = usecase.DemoRequest(out=out, cpus=cpus_per_replica, engine=engine, measure=measure, timeout=timeout)
    found = usecase.demo(request, console.progress)
    rows = [
        (a.model, a.label, a.version, a.records, *(f"{100 * x:.2f} %" for x in (a.offline, a.gateway, a.direct)))
        for a in found.accuracies
    ]
    table = Table(columns=("model", "label", "version", "records", "offline", "gateway", "grpc"), rows=rows)
    changed = ", ".join(f"{count} by version {version}" for version, count in sorted(found.answers.items()))
    rolled = f"\n\nAll requests succeeded while versions changed: {changed}" if found.answers else ""
    forms = f"\n\n{compared_text(found.forms.comparison, str(found.forms.picture))}" if found.forms else ""
    report = f"\n\n{found.headline}\nReport: {found.report}" if found.report else ""
    console.result(
        "Demo", found, f"{table}{rolled}{forms}{report}\n\nDone in {found.seconds:.0f} s; everything is in {found.out}"
    )
