"""`deployer render`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployer.cli.console import Table, console
from deployer.cli.options.choices import ChoiceOptions
from deployer.cli.verb import DryRun, File, Verb
from deployer.release.render.render import RenderRequest, RenderResult, render

app = Verb()


@app.command()
def render_(
    file: File = Path("deployer.yaml"),
    output_dir: Annotated[Path, typer.Option("--output-dir", help="Folder to write.")] = Path("rendered"),
    *,
    chosen: ChoiceOptions,
    dry_run: DryRun = False,
) -> None:
    """Write all files of a release; change nothing that is running.

    model_config, batching_parameters, monitoring_config, the gateway's settings, the flags of the model server and the
    values of both charts. The same input gives the same bytes.
    """
    request = RenderRequest(file=file, output=output_dir, choices=chosen.choices())
    result = render(request, console.detail, dry_run=dry_run)
    console.result("Rendered", result, lambda: table(result))


def table(result: RenderResult) -> Table:
    """What was written, for a person."""
    rows = [
        (file.path, file.action if result.written else f"{file.action} (dry run)", len(file.text.encode()))
        for file in result.files
    ]
    return Table(columns=("file", "action", "bytes"), rows=rows)
