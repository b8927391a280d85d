"""`deployer rollback`."""

from __future__ import annotations

from typing import Annotated

import typer

from deployer.cli import candidates
from deployer.cli.console import console
from deployer.cli.options.record import RecordOptions
from deployer.cli.options.target import TargetOptions
from deployer.cli.verb import DryRun, ModelName, Timeout, Verb
from deployer.cli.verbs.rollout.rollout import ended, foreseen
from deployer.errors import GateFailed
from deployer.rollout.preview import preview_rollback
from deployer.rollout.rollouts import rollouts_of

app = Verb()


@app.command()
def rollback(
    model: ModelName,
    to: Annotated[
        int | None,
        typer.Option(
            "--to",
            min=1,
            metavar="N",
            help="Version to return to; by default the previous one.",
            autocompletion=candidates.versions,
        ),
    ] = None,
    timeout: Timeout = 120.0,
    dry_run: DryRun = False,
    *,
    where: TargetOptions,
    git: RecordOptions,
) -> int:
    """Return to the previous stable version at once, without steps or gates.

    An open rollout is aborted. The exit code is 0 when every replica and gateway is verified.
    """
    git.check(where)
    rollouts = rollouts_of(where, model, console.progress)
    if dry_run:
        return foreseen(preview_rollback(rollouts, to, timeout=timeout))
    done = rollouts.rollback(to, timeout=timeout)
    code = ended(done, where, git)
    return 0 if code == GateFailed.exit_code and done.outcome in ("aborted", "rolled back") else code
