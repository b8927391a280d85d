"""`deployer drift`."""

from __future__ import annotations

import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from deployer.cli.console import Table, console
from deployer.cli.options.target import TargetOptions
from deployer.cli.verb import Verb
from deployer.cli.views.redraw import LiveText
from deployer.errors import GateFailed
from deployer.files import replace_file
from deployer.release.where import open_target

if TYPE_CHECKING:
    from deployer.release.drift.found import LabelDrift, ModelDrift

app = Verb()

WATCH_SECONDS = 5.0


@app.command()
def drift(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model of the release.")],
    threshold: Annotated[
        float, typer.Option("--threshold", min=0, help="Population stability index from which a feature has drifted.")
    ] = 0.1,
    report: Annotated[
        Path | None, typer.Option("--report", help="Also write an HTML page with bars of training against live.")
    ] = None,
    watch: Annotated[bool, typer.Option("-w", "--watch", help="Keep running; count from now, show every 5 s.")] = False,
    *,
    where: TargetOptions,
) -> int:
    """Compare live records and scores with the training data of the versions that served them.

    The gateways count records into the bins that `export --data` stored. The exit code is 7 when a feature or score has
    drifted: its index is at least --threshold, and above what chance gives at this number of records.
    """
    from deployer.release import gateway_metrics
    from deployer.release.drift.found import find
    from deployer.release.drift.report import render

    target = open_target(where)
    before = gateway_metrics.read(target, model) if watch else None
    live = LiveText()
    while True:
        found = find(target, model, threshold, before)
        if report is not None:
            replace_file(report, render(found, time.time()).encode())
        if live.possible and watch:
            live.show(text(found))
        else:
            console.result("Drift", {"drifted": found.drifted, "drift": found}, text(found))
        if not watch:
            return GateFailed.exit_code if found.drifted else 0
        time.sleep(WATCH_SECONDS)


def text(found: ModelDrift) -> str:
    """The drift as a person reads it: one table per label, what has drifted first."""
    if not found.labels:
        return f"no records of {found.model} have been counted yet"
    return "\n\n".join(_label(found.model, one) for one in found.labels)


def _label(model: str, found: LabelDrift) -> str:
    table = Table(
        columns=("feature", "psi", "js", "chance", "missing", "unknown", "drift"),
        rows=[
            (
                one.name if one.kind == "feature" else f"{one.name} of predictions",
                f"{one.psi:.3f}",
                f"{one.js:.3f}",
                "–" if math.isinf(one.chance) else f"{one.chance:.3f}",
                _share(one.missing, one.missing_training, one.missing_chance),
                _share(one.unknown, one.unknown_training, one.unknown_chance),
                "yes" if one.drifted else "no",
            )
            for one in found.features
        ],
    )
    whom = f"label {found.label}" if found.label else "no label"
    result = f"drifted: {', '.join(found.drifted)}" if found.drifted else "no drift"
    return f"{model} version {found.version}, {whom}, {found.records} records: {result}\n{table}"


def _share(live: float, training: float, chance: float) -> str:
    if not live and not training:
        return "0 %"
    return f"{100 * live:.1f} % ({100 * training:.1f} ± {100 * chance:.1f})"
