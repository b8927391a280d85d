"""A release in the cluster, and load on it that comes from the cluster itself, by the Job that experiments use."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import msgspec
from eventually import eventually

from deployer.domain.pods import Pods
from deployer.experiment.generator import generator_for
from deployer.experiment.loadgen.plan import ClosedLoop, Outcome, Plan, merge
from deployer.records.endpoint import RecordApi
from deployer.targets.cluster.target import ClusterTarget

CLIENTS = 2
MORE_SECONDS = 10.0
"""Of load, again and again, when a block takes longer than was thought."""

PIECE_SECONDS = 4.0
"""Of steady load."""


@dataclass
class Load:
    """Load that runs; `outcome` is there once the context has been left."""

    running: Future[Outcome]
    outcome: Outcome | None = None


@dataclass
class Steady:
    """Load that runs on and on, in pieces; `outcomes` are those of the pieces that are over."""

    running: Future[None]
    outcomes: list[Outcome] = field(default_factory=list)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Fails unless every request succeeded for as long as the block lasted."""
        first = len(self.outcomes)
        yield
        enough = len(self.outcomes) + 1  # the piece that is under way
        eventually(lambda: len(self.outcomes) >= enough or self.running.done(), "the end of a piece")
        if self.running.done():
            self.running.result()
        for outcome in self.outcomes[first:]:
            answered_throughout(outcome)


@dataclass
class Release:
    """A release under test, and how to load it."""

    target: ClusterTarget
    image: str
    records: Path

    @contextmanager
    def load(self, seconds: float, *, clients: int = CLIENTS) -> Iterator[Load]:
        """`clients` send one request after the other for `seconds`, and on until the block has ended.

        The block runs once they have begun.
        """
        plan = self._plan(seconds, clients)
        begun, over = Event(), Event()
        started = generator_for(self.target, image=self.image, pods=Pods(), timeout=120, progress=lambda _: None)
        with started as job, ThreadPoolExecutor(1) as pool:

            def work() -> Outcome:
                outcomes = [job.run(plan, lambda _: begun.set())]
                while not over.is_set():
                    outcomes.append(job.run(msgspec.structs.replace(plan, seconds=MORE_SECONDS)))
                return merge(outcomes)

            load = Load(pool.submit(work))
            try:
                eventually(lambda: begun.is_set() or load.running.done(), "load", seconds=120)
                if not begun.is_set():
                    load.running.result()
                yield load
            finally:
                over.set()
            load.outcome = load.running.result(timeout=seconds + 90)

    @contextmanager
    def steady(self) -> Iterator[Steady]:
        """One client sends one request after the other until the block has ended. It runs once that has begun.

        It is one so that a core is left to what is tested.
        """
        plan, over = self._plan(PIECE_SECONDS, 1), Event()
        with (
            generator_for(self.target, image=self.image, pods=Pods(), timeout=120, progress=lambda _: None) as job,
            ThreadPoolExecutor(1) as pool,
        ):

            def work() -> None:
                while not over.is_set():
                    load.outcomes.append(job.run(plan))

            load = Steady(Future())
            load.running = pool.submit(work)
            try:
                eventually(lambda: load.outcomes or load.running.done(), "load", seconds=120)
                yield load
            finally:
                over.set()

    def _plan(self, seconds: float, clients: int) -> Plan:
        return Plan(
            target=RecordApi(urls=self.target.load_endpoints().gateways, path="/v1/models/digits:predict"),
            load=ClosedLoop(concurrency=clients),
            records=str(self.records),
            warmup=0.1,
            seconds=seconds,
        )


def served_throughout(load: Load) -> Outcome:
    """What the load saw, which must be right answers only."""
    assert load.outcome is not None
    answered_throughout(load.outcome)
    return load.outcome


def answered_throughout(outcome: Outcome) -> None:
    """Fails unless every request got a right response."""
    assert outcome.errors == {}, outcome.first_error
    assert outcome.answered == outcome.sent > 0
