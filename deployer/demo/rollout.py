"""The part of the demo that changes versions under load: a good one is promoted, a bad one fails its gate."""

from __future__ import annotations

import itertools
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from deployer.decode import json_as
from deployer.domain.rollout import Rollout, RolloutRequest
from deployer.errors import DeployerError, TargetError
from deployer.records import files
from deployer.release.where import Where, described
from deployer.rollout import facts as rollout_facts
from deployer.rollout.rollouts import Rollouts
from deployer.targets.base import Progress
from deployer.targets.local.target import LocalTarget
from deployer.targets.rest import ModelPath

RATE = 40.0
"""Requests a second while versions change."""
WORKERS = 6
REQUEST_TIMEOUT = 20.0
SHARES = (20.0, 50.0)
SOAK = 4.0
GATES = ("error_rate<1%", "p90<1s", "disagreement<50%")
BAR = 30
"""Characters of a bar that stands for all traffic."""


class _Metadata(msgspec.Struct):
    model_version: int


class _Response(msgspec.Struct):
    metadata: _Metadata


@dataclass(kw_only=True)
class Traffic:
    """Responses since the start: counts by version, and those with another status than 200."""

    versions: Counter[int] = field(default_factory=Counter)
    failures: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def seen(self) -> Counter[int]:
        """A copy of the counts by version."""
        with self.lock:
            return Counter(self.versions)


def traffic_bars(before: Mapping[int, int], after: Mapping[int, int]) -> str:
    """Responses between two counts, as one bar per version; empty without responses."""
    grown = {version: after[version] - before.get(version, 0) for version in sorted(after)}
    total = sum(grown.values())
    if not total:
        return ""
    parts = [
        f"v{version} {'█' * max(1, round(BAR * count / total))} {100 * count / total:.0f} %"
        for version, count in grown.items()
        if count
    ]
    return f"  {total:4d} responses  {'  '.join(parts)}"


@contextmanager
def traffic(target: LocalTarget, model: str, file: Path, rate: float = RATE) -> Iterator[Traffic]:
    """Held-out records through the gateway at a rate, until the context is left; the counts are complete then."""
    bodies = [msgspec.json.encode({"version": "v1", "records": [sample.record]}) for sample in files.load(file)]
    found, over, turn, begun = Traffic(), threading.Event(), itertools.count(), time.monotonic()
    (gateway,) = target.gateways()
    path = ModelPath(model=model).predict_path

    def work() -> None:
        while not over.is_set():
            with found.lock:
                number = next(turn)
            time.sleep(max(0.0, begun + number / rate - time.monotonic()))
            try:
                reply = target.post(gateway.name, path, bodies[number % len(bodies)], timeout=REQUEST_TIMEOUT)
                failure = "" if reply.status == 200 else f"{reply.status} {reply.body[:200]!r}"
            except DeployerError as error:
                failure = error.message
            with found.lock:
                if failure:
                    found.failures.append(failure)
                else:
                    found.versions[json_as(reply.body, _Response).metadata.model_version] += 1

    threads = [threading.Thread(target=work, daemon=True) for _ in range(WORKERS)]
    for thread in threads:
        thread.start()
    try:
        yield found
    finally:
        over.set()
        for thread in threads:
            thread.join(REQUEST_TIMEOUT)


def roll_out(
    target: LocalTarget, file: Path, model: str, version: int, labelled: Path | None, seen: Traffic, progress: Progress
) -> Rollout:
    """One rollout, with a bar chart of the traffic under each step that changed it. Errors: those of a rollout.

    With `labelled`, the version must be right on 90 % of these records before it gets any traffic.
    """
    release = described(Where(file=file))
    marks = [seen.seen()]

    def show_point(point: str) -> None:
        over = point.startswith("judge") and ": judged" in point
        over = over or point in ("settle: proven recorded", "withdraw: proven recorded")
        if over and (line := traffic_bars(marks[0], seen.seen())):
            progress(line)
        if over or point.endswith(": begun recorded"):
            marks[0] = seen.seen()

    rollouts = Rollouts(
        target=target,
        histories=target.history(),
        model=model,
        facts=lambda number: rollout_facts.version_facts(target, release, model, number, progress),
        progress=progress,
        at_point=show_point,
    )
    accuracy = ("accuracy>=90%",) if labelled is not None else ()
    return rollouts.start(
        RolloutRequest(
            to=version,
            shares=SHARES,
            soak=SOAK,
            gates=(*GATES, *accuracy),
            min_samples=20,
            labelled=str(labelled) if labelled is not None else "",
        )
    )


def require(done: Rollout, outcome: str) -> None:
    """Errors: TargetError when a rollout ended otherwise than it should."""
    if done.outcome != outcome:
        raise TargetError(
            f"the rollout of {done.model} to version {done.request.to} is {done.outcome or done.phase}, not {outcome}",
            cause=done.reason,
            hint="the machine may be too busy to serve enough requests; `make demo` again",
        )
