"""The report: one self-contained HTML file."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Sequence
from html import escape
from importlib import resources

from jinja2 import Environment, StrictUndefined

from deployer.experiment.capacity import judge, times_text
from deployer.experiment.latency import PERCENTILES, Percentile
from deployer.experiment.report.plots import COLOURS, Plot
from deployer.experiment.results import Experiment, Kind, Trial

METHOD = "<h2>Method</h2>"


def render(experiment: Experiment, plots: Sequence[Plot]) -> str:
    """Render the report with embedded plots; it loads nothing from the network."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {
        "rate": lambda rate: f"{rate:,.0f}" if rate >= 20 else f"{rate:.1f}",
        "ms": _milliseconds,
        "moment": lambda at: time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(at)),
        "data": lambda svg: b64encode(svg).decode(),
    }
    sweeps = (experiment.capacities, experiment.direct.capacities if experiment.direct else ())
    template = environment.from_string(resources.files(__package__).joinpath("report.html.j2").read_text())
    counts = sorted(set(experiment.settings.replicas))
    return template.render(
        e=experiment,
        plots=plots,
        percentiles=PERCENTILES,
        colours={count: COLOURS[i % len(COLOURS)] for i, count in enumerate(counts)},
        times=times_text,
        verdict=lambda trial: _verdict(experiment, trial),
        open_kind=Kind.OPEN,
        representative={c.trial for capacities in sweeps for c in capacities},
    )


def with_picture(report: str, title: str, caption: str, svg: bytes) -> str:
    """The report with one more section, before its method."""
    image = f'<img alt="{escape(title)}" src="data:image/svg+xml;base64,{b64encode(svg).decode()}">'
    figure = f"<figure>{image}<figcaption>{escape(caption)}</figcaption></figure>"
    return report.replace(METHOD, f"<h2>{escape(title)}</h2>\n{figure}\n\n{METHOD}", 1)


def _milliseconds(found: Percentile) -> str:
    if found.ms == 0:
        return "–"
    return f"{found.ms:.0f}" if found.ms >= 100 else f"{found.ms:.1f}"


def _verdict(experiment: Experiment, trial: Trial) -> str:
    if not trial.valid:
        return "invalid"
    return "ceiling" if trial.kind is Kind.CEILING else judge(trial, experiment.objective).value
