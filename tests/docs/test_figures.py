"""Figures that the docs give are those of the code."""

from __future__ import annotations

import re

import pytest
from paths import ROOT

from deployer.domain import history
from deployer.experiment import capacity, latency, results
from deployer.experiment.batching import search
from deployer.release import memory
from deployer.release.doctor import doctor
from deployer.rollout.gates import judge
from deployer.targets.cluster.history import lease
from deployer.targets.local import supervisor
from deployer.targets.storage import pod
from deployer.tools import helm
from gateway.backends import choose, pool
from gateway.backends.retry import MOST, Fault
from gateway.routing import shadow
from tfserving.server import lifecycle

WORDS = {2: "two", 3: "three", 4: "four"}
FIGURES = [
    ("docs/concepts/routing.md", rf"above {choose.SAMPLE} replicas to the least loaded of {WORDS[choose.DRAWN]}"),
    ("docs/concepts/routing.md", rf"{WORDS[pool.FAILURES_UNTIL_EJECTED]} in a row take the replica out of use"),
    ("docs/concepts/routing.md", rf"on up to {MOST[Fault.UNCONVERGED]} others; for {pool.MISSING_SECONDS:g} s"),
    ("docs/concepts/rollouts.md", rf"\b{history.ENTRIES} entries"),
    ("docs/concepts/rollouts.md", rf"\b{history.PAST} earlier rollouts"),
    ("docs/concepts/rollouts.md", rf"every {lease.RENEW_SECONDS:g} s and runs out {lease.LEASE_SECONDS} s after"),
    ("docs/concepts/rollouts.md", rf"{memory.LOADING_FACTOR:g} × the size of the version"),
    ("docs/concepts/honest-load.md", rf"fewer than {latency.RESOLVED_BEYOND} responses beyond"),
    ("docs/concepts/honest-load.md", rf"at least {capacity.MIN_RESPONSES} responses"),
    ("docs/concepts/honest-load.md", rf"\({results.SATURATED:.0%} or more\)".replace("%", " %")),
    ("docs/guides/doctor.md", rf"{WORDS[int(doctor.RECHECK_SECONDS)]} seconds later"),
    ("docs/guides/experiments.md", rf"at least {search.WORTHWHILE - 1:.0%} more".replace("%", " %")),
    ("docs/guides/kubernetes.md", rf"`helm` {helm.OLDEST_HELM[0]}\.{helm.OLDEST_HELM[1]} or newer"),
    (
        "docs/guides/kubernetes.md",
        rf"{memory.SERVER_BYTES >> 20} Mi for the server, {memory.SWAP_FACTOR:g} times the largest",
    ),
    ("docs/guides/local.md", rf"within {supervisor.STOP_GRACE_SECONDS:g} s of SIGTERM"),
    ("docs/guides/publish.md", rf"the pod ends by itself {pod.AGENT_IDLE_SECONDS} seconds later"),
    ("docs/reference/gates.md", rf"the difference is significant \(p < {judge.ALPHA:g}\)"),
    ("docs/reference/gates.md", rf"evidence with p < {judge.EARLY_ALPHA:g} ends it"),
    ("docs/reference/gateway.md", rf"because {shadow.MIRRORED_MAX} mirrored requests"),
    ("docs/reference/gateway.md", rf"a value within {shadow.TOLERANCE:.0%}".replace("%", " %")),
    ("docs/reference/model-server.md", rf"up to {lifecycle.DRAIN_SECONDS:g} seconds for those in flight"),
]


@pytest.mark.parametrize(("page", "figure"), FIGURES, ids=lambda value: str(value)[-40:])
def test_a_figure_is_that_of_the_code(page: str, figure: str) -> None:
    text = " ".join((ROOT / page).read_text("utf-8").split())
    assert re.search(figure, text), f"{page} does not say {figure!r}"
