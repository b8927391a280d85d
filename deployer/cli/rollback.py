"""`deployer rollback`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployer.cli.rollout import Model, ended, rollouts
from deployer.cli.target import StateDir
from deployer.cli.verb import File, Timeout, Verb

app = Verb()


@app.command()
def rollback(
    model: Model,
    to: Annotated[
        int | None, typer.Option("--to", min=1, metavar="N", help="Version to go back to; by default the one before.")
    ] = None,
    timeout: Timeout = 120.0,
    file: File = Path("deployer.yaml"),
    state_dir: StateDir = None,
) -> int:
    """Go back to the version that was stable before: at once, without steps or gates.

    An open rollout is aborted. The exit code is 0 when every replica and gateway has proven it.
    """
    done = rollouts(model, file, state_dir).rollback(to, timeout=timeout)
    code = ended(done)
    return 0 if done.outcome in ("aborted", "rolled back") else code
