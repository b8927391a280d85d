"""A load generator that is interrupted in the middle of an experiment."""

from __future__ import annotations

from collections.abc import Callable

from deployer.experiment.loadgen.plan import Outcome, Plan
from deployer.experiment.loadgen.workers import Mark, Workers
from deployer.experiment.results import Machine


class Stopped:
    """Runs so many plans with real workers, and in the next one somebody presses Ctrl-C."""

    def __init__(self, workers: Workers, after: int) -> None:
        self.workers, self.left = workers, after

    def run(self, plan: Plan, on_mark: Callable[[Mark], None] | None = None) -> Outcome:
        if self.left == 0:
            raise KeyboardInterrupt
        self.left -= 1
        return self.workers.run(plan, on_mark)

    def machine(self) -> Machine:
        return self.workers.machine()
