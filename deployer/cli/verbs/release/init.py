"""`deployer init`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployer.cli.console import console
from deployer.cli.verb import DryRun, File, Verb
from deployer.release.init import InitRequest, init

app = Verb()


@app.command()
def init_(
    file: File = Path("deployer.yaml"),
    release: Annotated[str, typer.Option("--release", help="Name of the release.")] = "demo",
    store: Annotated[str, typer.Option("--store", help="A directory, or pvc://NAMESPACE/PVC[/SUBPATH].")] = "models",
    model: Annotated[
        list[str] | None, typer.Option("--model", help="Name of a model; repeatable.", show_default="digits")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file that exists.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Write a commented deployer.yaml: every key, with its default."""
    request = InitRequest(file=file, release=release, store=store, models=tuple(model or ["digits"]), force=force)
    result = init(request, dry_run=dry_run)
    console.result("Initialised", result, result.text if dry_run else f"{result.path} written")
