"""The load generator of an experiment: local processes for a local release, a Job for a release in a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from deployer.domain.pods import Pods
from deployer.experiment.loadgen.plan import Outcome, Plan
from deployer.experiment.loadgen.remote import RemoteGenerator, load_agent
from deployer.experiment.loadgen.workers import Mark, Workers
from deployer.experiment.results import Machine
from deployer.release.kind_cluster import local_image
from deployer.targets.base import Progress, Target


class Generator(Protocol):
    """Runs trials: in local processes (`Workers`) or in a pod (`RemoteGenerator`)."""

    def run(self, plan: Plan, on_mark: Callable[[Mark], None] | None = None) -> Outcome:
        """Run one plan; call `on_mark` when the measured window opens and closes."""
        ...

    def machine(self) -> Machine:
        """The machine that it runs on."""
        ...


@contextmanager
def generator_for(target: Target, *, image: str, pods: Pods, timeout: float, progress: Progress) -> Iterator[Generator]:
    """A load generator next to the release, while the context is open.

    `image` is the image of the Job, empty for the deployer's image; `pods` is what the cluster demands of its pod;
    `timeout` limits the wait for it. Errors: TargetError, WaitTimeout that says why it does not start.
    """
    program = load_agent(image or local_image("deployer"), pods)
    with target.run_agent(program, timeout=timeout, progress=progress) as agent:
        if agent is not None:
            yield RemoteGenerator(agent)
            return
        with Workers() as workers:
            yield workers
