"""`deployer rollback`."""

from __future__ import annotations

from typing import Annotated

import typer

from deployer.cli.options.rollout import about_rollouts
from deployer.cli.verb import DryRun, Timeout, Verb
from deployer.cli.verbs.rollout import ended, foreseen
from deployer.rollout.preview import preview_rollback
from deployer.rollout.rollouts import Rollouts

app = Verb()


@app.command()
@about_rollouts
def rollback(
    rollouts: Rollouts,
    to: Annotated[
        int | None, typer.Option("--to", min=1, metavar="N", help="Version to go back to; by default the one before.")
    ] = None,
    timeout: Timeout = 120.0,
    dry_run: DryRun = False,
) -> int:
    """Go back to the version that was stable before: at once, without steps or gates.

    An open rollout is aborted. The exit code is 0 when every replica and gateway has proven it.
    """
    if dry_run:
        return foreseen(preview_rollback(rollouts, to, timeout=timeout))
    done = rollouts.rollback(to, timeout=timeout)
    code = ended(done)
    return 0 if done.outcome in ("aborted", "rolled back") else code
