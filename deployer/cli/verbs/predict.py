"""`deployer predict`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployer.cli.console import Table, console
from deployer.cli.options.target import TargetOptions
from deployer.cli.verb import ModelName, Timeout, Verb
from deployer.release.predict import Predicted, PredictRequest, predict
from deployer.release.where import open_target

SHOWN = 20

app = Verb()


@app.command()
def predict_(
    model: ModelName,
    records: Annotated[
        Path, typer.Option("--records", help='JSON lines: {"record": {…}, "expected": …}.', show_default=False)
    ],
    label: Annotated[
        str, typer.Option("--label", help="Version label; by default the gateway's routing decides.")
    ] = "",
    direct: Annotated[
        bool, typer.Option("--direct", help='By gRPC straight to a replica; lines are {"inputs": {…}, "expected": …}.')
    ] = False,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Records in one request.")] = 64,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=256, help="Requests in flight.")] = 4,
    timeout: Timeout = 30.0,
    *,
    where: TargetOptions,
) -> None:
    """Send records to a release and compare the answers with what was expected."""
    request = PredictRequest(
        model=model,
        records=records,
        label=label,
        direct=direct,
        batch=batch,
        concurrency=concurrency,
        timeout=timeout,
    )
    found = predict(open_target(where), request, console.progress)
    console.result("Predictions", found, lambda: text(found))


def text(found: Predicted) -> str:
    """Accuracy when it is known, else the first answers."""
    versions = ", ".join(f"version {version}: {count}" for version, count in found.versions.items())
    head = f"{len(found.answers)} records of {found.model} through {found.through} ({versions})"
    if found.accuracy is not None:
        right = round(found.accuracy * sum(answer.expected is not None for answer in found.answers))
        return f"{head}\naccuracy {found.accuracy:.4f} ({right} right)"
    rows = [(number, answer.prediction, answer.version) for number, answer in enumerate(found.answers[:SHOWN], 1)]
    more = len(found.answers) - len(rows)
    table = str(Table(columns=("record", "prediction", "version"), rows=rows))
    return f"{head}\n{table}" + (f"\n… and {more} more; -o json shows all" if more else "")
