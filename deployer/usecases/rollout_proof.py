"""Waiting until every replica, or every gateway, proves that it is as a step wants it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from deployer.errors import DeployerError
from deployer.targets import proof
from deployer.targets.base import Replica, Target
from deployer.targets.waiting import shortened
from tfserving.config import ModelConfig, ModelServerConfig

POLL_SECONDS = 0.25
FAILED_SECONDS = 4.0
"""A version that had failed before it was asked for again must stay failed for so long to count: what the server says
first may be about the last time."""

PARALLEL = 16

Ends = Mapping[str, int]
"""How often the server of a replica has ended, by its name."""


class Unproven(Exception):
    """A step that is not so by its deadline, or never will be; the text names replicas and reasons."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What each replica must show of a model: versions AVAILABLE, labels resolved, labels gone, versions unloaded."""

    model: str
    versions: frozenset[int]
    labels: Mapping[str, int]
    gone: frozenset[str] = frozenset()
    unloaded: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Time, as it is passed in: `now` in seconds, `sleep`."""

    now: Callable[[], float]
    sleep: Callable[[float], None]


def alive(target: Target) -> tuple[Replica, ...]:
    """The replicas that run. One that has ended serves nothing, and comes back with the configuration of then."""
    return tuple(replica for replica in target.replicas() if replica.alive)


def replicas(
    target: Target,
    wanted: Callable[[str], Wanted],
    *,
    clock: Clock,
    timeout: float,
    interrupted: Callable[[], None],
    fresh: bool = True,
    fatal: Ends | None = None,
) -> None:
    """Return once every replica shows what is wanted of it, by name; those that appear meanwhile are included.

    `interrupted` may raise between two looks. With `fresh` the version was just asked for, so an old failure of it may
    still show. With `fatal`, what `ends` was before the version was asked for, a server that has ended since is laid
    to the version at once: before it has ended everywhere, and is in nobody's way. Errors: Unproven.
    """
    began = clock.now()
    while True:
        running = alive(target)
        if fatal is not None and (ended := _ended(running, fatal)):
            raise Unproven(shortened(ended))
        lacks, broken = _look(target, running, wanted)
        if not lacks:
            return
        waited = clock.now() - began
        if broken and waited >= (FAILED_SECONDS if fresh else 0.0):
            raise Unproven(shortened(broken))
        if waited >= timeout:
            raise Unproven(f"not within {waited:.0f} s: {shortened(lacks)}")
        interrupted()
        clock.sleep(POLL_SECONDS)


def gateways(target: Target, *, clock: Clock, timeout: float, interrupted: Callable[[], None]) -> None:
    """Return once every gateway uses the settings in force. Errors: Unproven."""
    began = clock.now()
    while lacks := _gateways_lack(target):
        waited = clock.now() - began
        if waited >= timeout:
            raise Unproven(f"not within {waited:.0f} s: {shortened(lacks)}")
        interrupted()
        clock.sleep(POLL_SECONDS)


def ends(target: Target) -> Ends:
    """How often the server of each replica has ended so far."""
    return {replica.name: replica.ends for replica in alive(target)}


def _ended(running: Sequence[Replica], before: Ends) -> Sequence[str]:
    return [f"{r.name}: its server has ended: {r.ended}" for r in running if r.ends > before.get(r.name, 0)]


def _look(
    target: Target, running: Sequence[Replica], wanted: Callable[[str], Wanted]
) -> tuple[Sequence[str], Sequence[str]]:
    """What is missing, and that part of it which waiting does not help."""
    names = [replica.name for replica in running]
    if not names:
        return ["no replica runs"], []
    with ThreadPoolExecutor(min(PARALLEL, len(names))) as pool:
        found = list(pool.map(lambda name: _replica(target, name, wanted(name)), names))
    return [lack for lacks, _ in found for lack in lacks], [lack for _, broken in found for lack in broken]


def _replica(target: Target, name: str, wanted: Wanted) -> tuple[list[str], list[str]]:
    # Labels that must be gone are asked for too; no version is 0.
    labels = {**wanted.labels, **dict.fromkeys(wanted.gone, 0)}
    asked = ModelConfig(name=wanted.model, base_path="/", labels=labels)
    try:
        (served,) = proof.served(target, name, ModelServerConfig(models=(asked,)))
    except DeployerError as error:
        return [error.message], []
    lacks, broken = [], []
    for version in sorted(wanted.versions):
        state = served.versions.get(version, "absent")
        if state == "AVAILABLE":
            continue
        if state == "END" and version in served.problems:
            broken.append(f"{name}: version {version} failed to load: {served.problems[version]}")
        lacks.append(f"{name}: version {version} is {state}")
    for version in sorted(wanted.unloaded):
        if (state := served.versions.get(version, "absent")) not in ("END", "absent"):
            lacks.append(f"{name}: version {version} is {state} still")
    for label, version in wanted.labels.items():
        if (shown := served.labels.get(label)) != version:
            lacks.append(f"{name}: label {label} is {shown or 'nowhere'}, not {version}")
    lacks += [f"{name}: label {label} is still there" for label in wanted.gone if served.labels.get(label) is not None]
    return lacks, broken


def _gateways_lack(target: Target) -> Sequence[str]:
    names = [gateway.name for gateway in target.gateways() if gateway.alive]
    if not names:
        return ["no gateway runs"]
    text = target.gateway_config()
    with ThreadPoolExecutor(min(PARALLEL, len(names))) as pool:
        return [
            lack for lacks in pool.map(lambda name: proof.not_following(target, name, text), names) for lack in lacks
        ]
