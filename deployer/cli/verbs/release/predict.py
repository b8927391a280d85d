"""`deployer predict`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from deployer.cli.console import Table, console
from deployer.cli.options.target import RoutedLabel, TargetOptions
from deployer.cli.verb import ModelName, Timeout, Verb
from deployer.records import files
from deployer.release.picture import draw, require_expected
from deployer.release.predict import Predicted, Prediction, PredictRequest, format_of, predict, write
from deployer.release.where import open_target
from deployer.tools import pictures

ROWS_SHOWN = 20

app = Verb()


@app.command()
def predict_(
    model: ModelName,
    records: Annotated[
        Path,
        typer.Option("--records", help='JSON lines: {"record": {…}, "expected": …}; - for stdin.', show_default=False),
    ],
    label: RoutedLabel = "",
    direct: Annotated[
        bool,
        typer.Option(
            "--direct", help='Call a replica by gRPC, without the gateway; lines are {"inputs": {…}, "expected": …}.'
        ),
    ] = False,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Records in one request, at most.")] = 64,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=256, help="Requests in flight.")] = 4,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", help="File for the predictions with scores: .jsonl, .csv or .parquet.", show_default=False
        ),
    ] = None,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Skip bad records and predict the others.")] = False,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            help="Picture to write, .png, .svg or .pdf: right and wrong classes and the confusion matrix.",
            show_default=False,
        ),
    ] = None,
    timeout: Timeout = 30.0,
    *,
    where: TargetOptions,
) -> None:
    """Send records to a release and compare the predictions with the expected values."""
    request = PredictRequest(
        model=model,
        records=records,
        label=label,
        direct=direct,
        batch=batch,
        concurrency=concurrency,
        timeout=timeout,
        skip_bad=skip_bad,
    )
    if out is not None:
        format_of(out)  # before anything is sent
    lines = files.read(records)
    if picture is not None:
        pictures.require(picture)
        require_expected(line.sample and line.sample.expected for line in lines)
    found = predict(open_target(where), request, console.progress, lines)
    if out is not None:
        write(found, out)
        console.progress(f"{len(found.answers)} predictions are in {out}")
    console.result("Predictions", found, lambda: text(found))
    if picture is not None:
        draw(found, {number: line.sample for number, line in enumerate(lines, 1) if line.sample is not None}, picture)
        console.progress(f"picture: {picture}")


def text(found: Predicted) -> str:
    """Accuracy if it is known, else the first predictions; and what was skipped."""
    versions = ", ".join(f"version {version}: {count}" for version, count in found.versions.items())
    lines = [f"{len(found.answers)} records of {found.model} through {found.through} ({versions or 'no version'})"]
    if found.accuracy is not None:
        right = round(found.accuracy * sum(one.expected is not None for one in found.answers))
        lines.append(f"accuracy {found.accuracy:.4f} ({right} correct)")
    else:
        lines += first(found.answers)
    for record in found.bad[:ROWS_SHOWN]:
        lines.append(f"skipped line {record.line}: {'; '.join(map(str, record.problems))}")
    if len(found.bad) > ROWS_SHOWN:
        lines.append(f"… and {len(found.bad) - ROWS_SHOWN} more skipped")
    return "\n".join(lines)


def first(predictions: Sequence[Prediction]) -> list[str]:
    """A table of the first predictions, with scores if there are any."""
    scored = any(one.score is not None for one in predictions)
    rows = [
        (one.row, one.prediction, *((one.score,) if scored else ()), one.version) for one in predictions[:ROWS_SHOWN]
    ]
    columns = ("record", "prediction", *(("score",) if scored else ()), "version")
    more = len(predictions) - len(rows)
    table = str(Table(columns=columns, rows=rows))
    return [table, f"… and {more} more; --out FILE writes all"] if more else [table]
