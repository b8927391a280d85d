"""The report of `deployer drift`: one HTML file with bars of training against live, which loads nothing."""

from __future__ import annotations

import math
import time
from importlib import resources

from jinja2 import Environment, StrictUndefined

from deployer.release.drift.found import FeatureDrift, ModelDrift

BAR_WIDTH = 320.0
"""Of a bar of the largest share, in pixels."""


def render(found: ModelDrift, now: float) -> str:
    """The page; `now` is in seconds since 1970."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string(resources.files(__package__).joinpath("report.html.j2").read_text("utf-8"))
    return template.render(
        found=found,
        at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(now)),
        bars=_bars,
        number=lambda value: "–" if math.isinf(value) else f"{value:.3f}",
        percent=lambda share: f"{100 * share:.1f} %",
    )


def _bars(feature: FeatureDrift) -> list[tuple[str, float, float, float, float]]:
    """Of each bin that any record is in: its name, both shares, and the widths of their bars."""
    live, training = max(1, sum(feature.live)), max(1, sum(feature.training))
    rows = [
        (name, one / training, another / live)
        for name, another, one in zip(feature.bins, feature.live, feature.training, strict=True)
        if one or another
    ]
    most = max((max(first, second) for _, first, second in rows), default=1.0)
    return [(name, first, second, BAR_WIDTH * first / most, BAR_WIDTH * second / most) for name, first, second in rows]
