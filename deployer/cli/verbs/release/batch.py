"""`deployer batch`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from deployer.cli import candidates
from deployer.cli.console import console
from deployer.cli.options.target import RoutedLabel, TargetOptions
from deployer.cli.verb import ModelName, Timeout, Verb, duration_text
from deployer.errors import UsageError
from deployer.release.batch.job import BatchRequest
from deployer.release.batch.run import BatchResult, State
from deployer.release.batch.run import batch as predict_files
from deployer.release.batch.tables import Format
from deployer.release.where import open_target

app = Verb()


@app.command()
def batch_(
    model: ModelName,
    inputs: Annotated[
        list[str],
        typer.Option("--input", help="JSONL, CSV or Parquet file, or a glob in quotes; may be repeated."),
    ],
    folder: Annotated[
        Path, typer.Option("--output", help="Folder for predictions, errors and journal.", show_default=False)
    ],
    form: Annotated[Format, typer.Option("--format", help="Format of the predictions.")] = Format.JSONL,
    label: RoutedLabel = "",
    version: Annotated[
        int | None,
        typer.Option(
            "--version",
            min=1,
            help="Version number, instead of a label.",
            show_default=False,
            autocompletion=candidates.versions,
        ),
    ] = None,
    shards: Annotated[int, typer.Option("--shards", min=1, max=99999, help="Number of output files.")] = 1,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Records in one request, at most.")] = 256,
    concurrency: Annotated[int, typer.Option("--concurrency", min=1, max=256, help="Requests in flight, at most.")] = 8,
    max_rate: Annotated[
        float | None, typer.Option("--max-rate", min=0.001, help="Rows per second, at most.", show_default=False)
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Overwrite what an earlier run wrote to the folder.")
    ] = False,
    timeout: Timeout = 300.0,
    *,
    where: TargetOptions,
) -> None:
    """Predict whole files of records through a release, in order; a run that was killed can continue."""
    if label and version is not None:
        raise UsageError("--label and --version cannot be used together", hint="leave out one of them")
    request = BatchRequest(
        model=model,
        inputs=tuple(inputs),
        output=folder,
        form=form,
        label=label,
        version=version,
        shards=shards,
        batch=batch,
        concurrency=concurrency,
        max_rate=max_rate,
        patience=timeout,
        restart=restart,
    )
    found = predict_files(open_target(where), request, console.progress, Ticker())
    console.result("Batch", found, lambda: text(found))


class Ticker:
    """Progress on stderr: in place on a terminal, else a line now and then."""

    def __init__(self) -> None:
        self._seconds = 0.5 if console.moves else 10.0
        self._next = time.monotonic() + self._seconds

    def __call__(self, state: State) -> None:
        now = time.monotonic()
        if now >= self._next:
            self._next = now + self._seconds
            console.update(progress_text(state, now))


def progress_text(state: State, now: float) -> str:
    """Rows, speed and time left."""
    left = state.seconds_left(now)
    return (
        f"{state.written} of {state.total} rows ({state.written / state.total:.0%}), {state.speed(now):.0f} rows/s, "
        f"{'unknown time' if left is None else duration_text(float(round(left)))} left, {state.bad} bad, "
        f"{state.window} request{'' if state.window == 1 else 's'} in flight"
    )


def text(found: BatchResult) -> str:
    """What was written, and how fast."""
    versions = ", ".join(f"version {version}: {count}" for version, count in found.versions.items())
    lines = [f"{found.rows - found.bad} of {found.rows} rows of {found.model} predicted ({versions or 'none'})"]
    if found.resumed:
        lines.append(f"{found.resumed} of them were written before this run")
    shown = found.files[0] if len(found.files) == 1 else f"{found.files[0]} … {Path(found.files[-1]).name}"
    lines.append(f"predictions {shown}")
    if found.bad:
        lines.append(f"bad rows    {found.bad}, with reasons in {', '.join(found.errors_files)}")
    if found.requests:
        busy = f", {found.refusals} times the release was busy" if found.refusals else ""
        lines.append(f"speed       {found.rows_per_second:.0f} rows/s in {found.requests} requests{busy}")
    return "\n".join(lines)
