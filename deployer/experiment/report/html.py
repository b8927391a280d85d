"""The report: one self-contained HTML file."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from importlib import resources

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from deployer.experiment.batching.search import Sweep
from deployer.experiment.capacity import judge, times_text
from deployer.experiment.latency import PERCENTILES, Percentile
from deployer.experiment.report.plots import COLOURS, Plot
from deployer.experiment.results import Experiment, Kind, Trial

METHOD = "<h2>Method</h2>"


def render(experiment: Experiment, plots: Sequence[Plot]) -> str:
    """Render the report with embedded plots; it loads nothing from the network."""
    template = _template("report.html.j2")
    sweeps = (experiment.capacities, experiment.direct.capacities if experiment.direct else ())
    counts = sorted(set(experiment.settings.replicas))
    return template.render(
        e=experiment,
        style=_style(),
        plots=plots,
        percentiles=PERCENTILES,
        colours={count: COLOURS[i % len(COLOURS)] for i, count in enumerate(counts)},
        times=times_text,
        verdict=lambda trial: _verdict(experiment, trial),
        open_kind=Kind.OPEN,
        representative={c.trial for capacities in sweeps for c in capacities},
    )


def render_batching(sweep: Sweep) -> str:
    """The overview of a batching experiment: every pair beside the others, with links to their reports."""
    best = max((cell.records for cell in sweep.cells), default=0.0)
    return _template("batching.html.j2").render(
        s=sweep,
        style=_style(),
        batches=sorted({cell.client_batch for cell in sweep.cells}),
        cells={(cell.candidate, cell.client_batch): cell for cell in sweep.cells},
        width=lambda cell: round(100 * cell.records / best) if best else 0,
    )


def with_picture(report: str, title: str, caption: str, svg: bytes) -> str:
    """The report with one more section, before its method."""
    image = f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{b64encode(svg).decode()}">'
    figure = f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
    return report.replace(METHOD, f"<h2>{escape(title)}</h2>\n{figure}\n\n{METHOD}", 1)


def _template(name: str) -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "rate": lambda rate: f"{rate:,.0f}" if rate >= 20 else f"{rate:.1f}",
        "ms": _milliseconds,
        "moment": lambda at: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at)),
        "data": lambda svg: b64encode(svg).decode(),
    }
    return environment.from_string(resources.files(__package__).joinpath(name).read_text("utf-8"))


def _style() -> Markup:
    return Markup(resources.files(__package__).joinpath("style.css").read_text("utf-8"))


def _milliseconds(found: Percentile) -> str:
    if found.ms == 0:
        return "–"
    return f"{found.ms:.0f}" if found.ms >= 100 else f"{found.ms:.1f}"


def _verdict(experiment: Experiment, trial: Trial) -> str:
    if not trial.valid:
        return "invalid"
    return "ceiling" if trial.kind is Kind.CEILING else judge(trial, experiment.objective).value
