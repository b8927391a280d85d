"""Figures that the docs give are those of the code."""

from __future__ import annotations

import re

import pytest
from paths import ROOT

from deployer.rollout.gates import judge
from gateway.backends import pool
from gateway.backends.retry import MOST, Fault
from gateway.routing import shadow
from tfserving.server import lifecycle

WORDS = {2: "two", 3: "three", 4: "four"}
FIGURES = [
    ("docs/concepts/routing.md", rf"above {pool.SAMPLE} replicas to the least loaded of {WORDS[pool.DRAWN]}"),
    ("docs/concepts/routing.md", rf"{WORDS[pool.FAILURES_UNTIL_EJECTED]} in a row take the replica out of use"),
    ("docs/concepts/routing.md", rf"on up to {MOST[Fault.UNCONVERGED]} others; for {pool.LACKING_SECONDS:g} s"),
    ("docs/reference/gates.md", rf"chance is no likely reason \(p < {judge.ALPHA:g}\)"),
    ("docs/reference/gates.md", rf"evidence with p < {judge.EARLY_ALPHA:g} ends it"),
    ("docs/reference/gateway.md", rf"because {shadow.PARALLEL} mirrored requests"),
    ("docs/reference/gateway.md", rf"a value within {shadow.TOLERANCE:.0%}".replace("%", " %")),
    ("docs/reference/model-server.md", rf"up to {lifecycle.DRAIN_SECONDS:g} seconds for those in flight"),
]


@pytest.mark.parametrize(("page", "figure"), FIGURES, ids=lambda value: str(value)[-40:])
def test_a_figure_is_that_of_the_code(page: str, figure: str) -> None:
    text = " ".join((ROOT / page).read_text("utf-8").split())
    assert re.search(figure, text), f"{page} does not say {figure!r}"
