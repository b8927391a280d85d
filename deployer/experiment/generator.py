"""Who generates the load of an experiment: processes here for a release on this machine, a Job for one in a cluster."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

from deployer.experiment.loadgen.plan import Outcome, Plan
from deployer.experiment.loadgen.remote import RemoteGenerator, load_agent
from deployer.experiment.loadgen.workers import Mark, Workers
from deployer.experiment.results import Machine
from deployer.release.kind_cluster import image as own_image
from deployer.targets.base import Progress, Target


class Generator(Protocol):
    """Runs trials: processes on this machine (`Workers`), or a pod in a cluster (`RemoteGenerator`)."""

    def run(self, plan: Plan, on_mark: Callable[[Mark], None] | None = None) -> Outcome:
        """Run one plan; call `on_mark` when the measured window opens and closes."""
        ...

    def machine(self) -> Machine:
        """What it runs on."""
        ...


@contextmanager
def generator_for(target: Target, *, image: str, timeout: float, progress: Progress) -> Iterator[Generator]:
    """A generator beside the release, gone afterwards.

    `image` is that of a Job, empty for the deployer's own; `timeout` bounds the wait for it. Errors: TargetError,
    WaitTimeout that names why it does not start.
    """
    program = load_agent(image or own_image("deployer"))
    with target.run_agent(program, timeout=timeout, progress=progress) as agent:
        if agent is not None:
            yield RemoteGenerator(agent)
            return
        with Workers() as workers:
            yield workers
