"""`deployer doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployer.cli.console import console
from deployer.cli.options.target import TargetOptions
from deployer.cli.verb import Verb
from deployer.errors import TargetError
from deployer.release.doctor.doctor import doctor
from deployer.release.doctor.finding import Diagnosis
from deployer.release.where import open_target
from deployer.rollout.overview import with_rollouts

app = Verb()


@app.command()
def doctor_(
    keep: Annotated[
        Path | None,
        typer.Option("--keep", metavar="FILE", help="Write the cluster objects that were examined, as JSON."),
    ] = None,
    *,
    where: TargetOptions,
) -> int:
    """Explain why a release is unhealthy: each cause with its evidence and its remedy.

    The exit code is 0 when nothing is wrong, else 6. Nothing is changed.
    """
    found = doctor(open_target(where), rollouts=with_rollouts, keep=keep)
    console.result("Diagnosis", {"healthy": found.healthy, "diagnosis": found}, lambda: text(found))
    return 0 if found.healthy else TargetError.exit_code


def text(found: Diagnosis) -> str:
    """The findings as a person reads them."""
    if not found.findings:
        return f"{found.target}\n\nnothing is wrong"
    parts = [found.target]
    for finding in found.findings:
        parts.append(
            f"{finding.severity}: {finding.cause}\n"
            f"  where:  {', '.join(finding.subjects)}\n"
            f"  shown:  {finding.evidence}\n"
            f"  remedy: {finding.remedy}"
        )
    return "\n\n".join(parts)
