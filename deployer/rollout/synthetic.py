"""Synthetic load on both labels while a window is open, if there is too little other traffic for the gates."""

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
from deployer.targets.rest import ModelPath

SYNTHETIC_TIMEOUT = 10.0
SYNTHETIC_WORKERS = 4


@contextmanager
def synthetic_load(target: Target, model: str, file: Path, rate: float, *, mirrored: bool = False) -> Iterator[None]:
    """Send records of a JSONL file to canary and stable in turn, `rate` requests a second in total, within the context.

    The label is in the URL, so the requests count in the label's figures but do not change the weights. Gateways mirror
    only requests without a label: with `mirrored`, those for stable have none, and the weights send nearly all of them
    there. Responses are ignored: the gateways count them. Errors: SpecError without a file.
    """
    if not file.name:
        raise SpecError("--load synthetic needs records", hint="name a JSONL file with --labelled")
    bodies = [msgspec.json.encode({"version": "v1", "records": [s.record]}) for s in files.load(file)]
    done, turn, lock = threading.Event(), itertools.count(), threading.Lock()
    started = time.monotonic()

    def work() -> None:
        while True:
            with lock:
                number = next(turn)
            if done.wait(max(0.0, started + number / rate - time.monotonic())):
                return
            gateways = [gateway.name for gateway in target.gateways() if gateway.alive]
            label = (CANARY, "" if mirrored else STABLE)[number % 2]
            path = ModelPath(model=model, label=label).predict_path
            try:
                target.post(
                    gateways[number % len(gateways)], path, bodies[number // 2 % len(bodies)], timeout=SYNTHETIC_TIMEOUT
                )
            except DeployerError:
                # The next step detects a gateway that does not respond.
                continue

    threads = [threading.Thread(target=work, daemon=True) for _ in range(SYNTHETIC_WORKERS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        done.set()
        for thread in threads:
            thread.join(SYNTHETIC_TIMEOUT)
