"""`deployer dashboard`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployer.cli.console import console
from deployer.cli.options.target import TargetOptions
from deployer.cli.verb import Verb
from deployer.dashboard.serve import serve

app = Verb()


@app.command()
def dashboard_(
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on loopback; 0 is any free one.")] = 0,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Show only: no buttons to pause, promote or abort.")
    ] = False,
    reports: Annotated[
        Path, typer.Option("--reports", metavar="DIR", help="Folder of the experiments whose reports are listed.")
    ] = Path("experiments"),
    *,
    where: TargetOptions,
) -> None:
    """Serve one page on this machine that shows a release and its rollouts as they move, until Ctrl-C.

    The printed URL has a token; without it nothing is served. The page loads nothing from other hosts.
    """
    serve(
        where,
        port=port,
        reports=reports,
        read_only=read_only,
        announce=lambda url: console.result("Dashboard", {"url": url}, f"{url}\nCtrl-C ends it"),
        say=console.progress,
    )
