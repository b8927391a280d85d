"""A release in the cluster, and load on it that comes from the cluster itself, by the Job that experiments use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from deployer.loadgen.plan import ClosedLoop, Outcome, Plan, RecordApi
from deployer.targets.cluster import ClusterTarget
from deployer.targets.load_job import load_job

CLIENTS = 2


def until(holds: Callable[[], Any], what: str, *, seconds: float) -> Any:
    """The first true answer of `holds`."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, f"not within {seconds:.0f} s: {what}"
        time.sleep(0.5)
    return found


@dataclass
class Load:
    """Load that runs; `outcome` is there once the context has been left."""

    running: Future[Outcome]
    outcome: Outcome | None = None


@dataclass
class Release:
    """A release under test, and how to load it."""

    target: ClusterTarget
    image: str
    records: Path

    @contextmanager
    def load(self, seconds: float, *, clients: int = CLIENTS) -> Iterator[Load]:
        """`clients` send one request after the other for `seconds`; the block runs once they have begun."""
        plan = Plan(
            target=RecordApi(urls=self.target.entrances().gateways, path="/v1/models/digits:predict"),
            load=ClosedLoop(concurrency=clients),
            records=str(self.records),
            warmup=0.1,
            seconds=seconds,
        )
        begun = Event()
        started = load_job(self.target, image=self.image, timeout=120, progress=lambda _: None)
        with started as job, ThreadPoolExecutor(1) as pool:
            load = Load(pool.submit(job.run, plan, lambda _: begun.set()))
            assert begun.wait(120), "no load"
            yield load
            load.outcome = load.running.result(timeout=seconds + 90)


def served_throughout(load: Load) -> Outcome:
    """What the load saw, which must be right answers only."""
    assert load.outcome is not None
    assert load.outcome.errors == {}, load.outcome.first_error
    assert load.outcome.answered == load.outcome.sent > 0
    return load.outcome
