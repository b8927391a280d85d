"""Requests of our own to both labels while a window is open, where there is too little traffic to judge by."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from deployer.domain.rollout import CANARY
from deployer.domain.serving import STABLE
from deployer.errors import DeployerError, SpecError
from deployer.records import files
from deployer.targets.base import Target
from deployer.targets.rest import Asked

TIMEOUT = 10.0
WORKERS = 4


@contextmanager
def synthetic_load(target: Target, model: str, file: Path, rate: float) -> Iterator[None]:
    """Send records of a JSONL file to canary and stable in turn, `rate` requests a second in all, until left.

    They go through the gateways by the label in the URL, so they count in the label's figures and change nobody's
    share. Answers are not looked at: the gateways count them. Errors: SpecError without a file.
    """
    if not file.name:
        raise SpecError("--load synthetic has no records to send", hint="--labelled names a JSONL file of them")
    bodies = [msgspec.json.encode({"version": "v1", "records": [s.record]}) for s in files.load(file)]
    over, turn, lock = threading.Event(), itertools.count(), threading.Lock()
    begun = time.monotonic()

    def work() -> None:
        while True:
            with lock:
                number = next(turn)
            if over.wait(max(0.0, begun + number / rate - time.monotonic())):
                return
            gateways = [gateway.name for gateway in target.gateways() if gateway.alive]
            label = (CANARY, STABLE)[number % 2]
            path = Asked(model=model, label=label).predict_path
            try:
                target.post(gateways[number % len(gateways)], path, bodies[number // 2 % len(bodies)], timeout=TIMEOUT)
            except DeployerError:
                # A gateway that does not answer is seen by the proof of the next step.
                continue

    threads = [threading.Thread(target=work, daemon=True) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(TIMEOUT)
