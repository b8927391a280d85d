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

REMIND_SECONDS = 3.0
"""Before those that lag behind are told again."""

Missing = Sequence[tuple[str, str]]
"""Name of a replica or gateway (empty: of all), and what it lacks."""

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
    began, reminder = clock.now(), _Reminder(target)
    while True:
        running = alive(target)
        if fatal is not None and (ended := _ended(running, fatal)):
            raise Unproven(_joined(ended))
        missing, broken = _look(target, running, wanted)
        if not missing:
            return
        waited = clock.now() - began
        reminder.remind(missing, waited)
        if broken and waited >= (FAILED_SECONDS if fresh else 0.0):
            raise Unproven(_joined(broken))
        if waited >= timeout:
            raise Unproven(f"not within {waited:.0f} s: {_joined(missing)}")
        interrupted()
        clock.sleep(POLL_SECONDS)


def gateways(target: Target, *, clock: Clock, timeout: float, interrupted: Callable[[], None]) -> None:
    """Return once every gateway uses the settings that are in force at the beginning. Errors: Unproven."""
    began, reminder, text = clock.now(), _Reminder(target), target.gateway_config()
    while missing := _gateways_missing(target, text):
        waited = clock.now() - began
        reminder.remind(missing, waited)
        if waited >= timeout:
            raise Unproven(f"not within {waited:.0f} s: {_joined(missing)}")
        interrupted()
        clock.sleep(POLL_SECONDS)


class _Reminder:
    """Tells those that lag behind to look, again and again at growing intervals.

    What told them first may have reached a kubelet before the ConfigMap did, and then it looks a minute later.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._next = REMIND_SECONDS

    def remind(self, missing: Missing, waited: float) -> None:
        if waited >= self._next:
            self._next *= 2
            self._target.refresh({name for name, _ in missing if name})


def _joined(missing: Missing) -> str:
    return shortened([f"{name}: {what}" if name else what for name, what in missing])


def ends(target: Target) -> Ends:
    """How often the server of each replica has ended so far."""
    return {replica.name: replica.ends for replica in alive(target)}


def _ended(running: Sequence[Replica], before: Ends) -> Missing:
    return [(r.name, f"its server has ended: {r.ended}") for r in running if r.ends > before.get(r.name, 0)]


def _look(target: Target, running: Sequence[Replica], wanted: Callable[[str], Wanted]) -> tuple[Missing, Missing]:
    """What is missing, and that part of it which waiting does not help."""
    names = [replica.name for replica in running]
    if not names:
        return [("", "no replica runs")], []
    with ThreadPoolExecutor(min(PARALLEL, len(names))) as pool:
        found = list(pool.map(lambda name: _replica(target, name, wanted(name)), names))
    return (
        [(name, problem) for name, (missing, _) in zip(names, found, strict=True) for problem in missing],
        [(name, problem) for name, (_, broken) in zip(names, found, strict=True) for problem in broken],
    )


def _replica(target: Target, name: str, wanted: Wanted) -> tuple[list[str], list[str]]:
    # Labels that must be gone are asked for too; no version is 0.
    labels = {**wanted.labels, **dict.fromkeys(wanted.gone, 0)}
    asked = ModelConfig(name=wanted.model, base_path="/", labels=labels)
    try:
        (served,) = proof.served(target, name, ModelServerConfig(models=(asked,)))
    except DeployerError as error:
        return [error.message.removeprefix(f"{name} ")], []
    missing, broken = [], []
    for version in sorted(wanted.versions):
        state = served.versions.get(version, "absent")
        if state == "AVAILABLE":
            continue
        if state == "END" and version in served.problems:
            broken.append(f"version {version} failed to load: {served.problems[version]}")
        missing.append(f"version {version} is {state}")
    for version in sorted(wanted.unloaded):
        if (state := served.versions.get(version, "absent")) not in ("END", "absent"):
            missing.append(f"version {version} is {state} still")
    for label, version in wanted.labels.items():
        if (shown := served.labels.get(label)) != version:
            missing.append(f"label {label} is {shown or 'nowhere'}, not {version}")
    missing += [f"label {label} is still there" for label in wanted.gone if served.labels.get(label) is not None]
    return missing, broken


def _gateways_missing(target: Target, text: str) -> Missing:
    names = [gateway.name for gateway in target.gateways() if gateway.alive]
    if not names:
        return [("", "no gateway runs")]
    with ThreadPoolExecutor(min(PARALLEL, len(names))) as pool:
        found = list(pool.map(lambda name: proof.not_following(target, name, text), names))
    return [
        (name, problem.removeprefix(f"{name} "))
        for name, missing in zip(names, found, strict=True)
        for problem in missing
    ]
