"""What `deployer experiment` shows a person: what would be measured, what was found, what differs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deployer.cli.console import Table
from deployer.cli.verb import duration_text
from deployer.experiment.batching.search import Sweep
from deployer.experiment.compare import Difference
from deployer.experiment.request import Outline
from deployer.experiment.results import Experiment
from deployer.experiment.sizing import Sizing
from deployer.experiment.summary import replicas_text

_COLUMNS = ("replicas", "figure", "before", "after", "ratio", "interval", "verdict")


def outline(planned: Outline, *, where: str, out: Path) -> str:
    """What an experiment would do, and how long that takes at least."""
    asked = planned.settings
    rates = ", ".join(f"{rate:g}/s" for rate in planned.rates) or (
        ", ".join(f"{100 * share:g} %" for share in asked.fractions) + " of the ceiling"
    )
    counts = ", ".join(map(str, asked.replicas))
    return "\n".join(
        [
            f"would measure {asked.model} label {asked.label} on {counts} replicas: {where}",
            f"rates: {rates}, and up to {asked.refine} more; {asked.records} records, {asked.batch} in a request",
            f"at least {planned.trials} open-loop trials, {duration_text(float(round(planned.seconds)))}; "
            f"written to {out}",
        ]
    )


def found_text(found: Experiment, out: Path, asked: Sizing | None = None) -> str:
    """The headline, a row for each number of replicas, what must be known, and where the report is; with the sizes for
    a rate that was `asked` for."""
    rows = [
        (
            c.replicas,
            f"{c.rate:.1f}",
            f"{c.p99_ms:.1f}" if c.p99_ms is not None else None,
            f"{c.broke_at:.1f}" if c.broke_at else None,
            f"{c.ceiling:.1f}",
            f"{c.cores_per_replica:.2f}" if c.cores_per_replica is not None else None,
        )
        for c in found.capacities
    ]
    table = Table(columns=("replicas", "capacity/s", "p99 ms", "broke at/s", "ceiling/s", "cores each"), rows=rows)
    sentences = (found.direct.sentence, *found.notes) if found.direct else found.notes
    notes = "".join(f"\n- {note}" for note in sentences)
    sizes = f"\n{_sizes(asked)}\n" if asked is not None else ""
    return f"{found.headline}\n\n{table}\n{sizes}{notes}\n\n{out / 'report.html'}"


def _sizes(sizing: Sizing) -> str:
    """How many replicas a rate needs."""
    rate = f"{sizing.rate:,.0f} requests/s"
    if sizing.replicas is None:
        return f"no number of replicas sustains {rate}: throughput stops growing before"
    verify = "; extrapolated, so verify it" if sizing.extrapolated else ""
    bounds = f"autoscale from {sizing.min_replicas} to {sizing.max_replicas}"
    return f"{rate} need {replicas_text(sizing.replicas)} ({sizing.basis}{verify}); {bounds}"


def swept(found: Sweep, out: Path) -> str:
    """The sentence, a row for each pair, and what to do."""
    rows = [
        (
            cell.candidate,
            cell.client_batch,
            f"{cell.records:.1f}" if cell.rate else None,
            f"{cell.rate:.1f}" if cell.rate else None,
            f"{cell.p99_ms:.1f}" if cell.p99_ms is not None else None,
            f"{cell.ceiling:.1f}",
            cell.problem or None,
        )
        for cell in found.cells
    ]
    columns = ("batching", "records in a request", "records/s", "requests/s", "p99 ms", "ceiling/s", "problem")
    advice = ""
    if found.best is not None:
        advice = f"{out / 'batching_parameters.txt'} holds them; in deployer.yaml:\n\n{found.section}"
    table = Table(columns=columns, rows=rows)
    return "\n\n".join(filter(None, [found.headline, str(table), advice.rstrip(), str(out / "report.html")]))


def differences(found: Sequence[Difference]) -> Table:
    """A row for each figure of each number of replicas."""
    return Table(columns=_COLUMNS, rows=[_row(difference) for difference in found])


def _row(row: Difference) -> tuple[object, ...]:
    interval = None if row.low is None or row.high is None else f"{row.low:.2f}–{row.high:.2f}"
    ratio = f"{row.ratio:.2f}×"
    return row.replicas, row.figure, f"{row.before:.1f}", f"{row.after:.1f}", ratio, interval, row.verdict.value
