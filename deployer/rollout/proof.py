"""Waiting until every replica, or every gateway, is verified to be in the state that a step requires."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from deployer.errors import DeployerError
from deployer.targets import proof
from deployer.targets.base import Progress, Replica, Target
from deployer.targets.waiting import PROGRESS_SECONDS, shortened
from tfserving.config import ModelConfig, ModelServerConfig

PROOF_POLL_SECONDS = 0.25
FAILURE_CONFIRM_SECONDS = 4.0
"""A failed version must stay failed for this time before it counts: the server may still report an earlier failure."""

PARALLEL_REPLICAS = 16

REFRESH_SECONDS = 3.0
"""First interval before `refresh` is repeated for replicas and gateways that lag behind."""

Missing = Sequence[tuple[str, str]]
"""Name of a replica or gateway (empty: all), and what is missing."""

EndCounts = Mapping[str, int]
"""How often the server of a replica has ended, by replica name."""


class Unproven(Exception):
    """A step was not verified before its deadline, or never can be; the text names replicas and reasons."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """The required state of a model on a replica: AVAILABLE versions, labels, and what must be absent."""

    model: str
    versions: frozenset[int]
    labels: Mapping[str, int]
    absent_labels: frozenset[str] = frozenset()
    absent_versions: frozenset[int] = frozenset()


@dataclass(frozen=True, kw_only=True)
class Clock:
    """A replaceable clock: `now` in seconds, `sleep`."""

    now: Callable[[], float]
    sleep: Callable[[float], None]


def alive(target: Target) -> tuple[Replica, ...]:
    """The running replicas. One that has ended serves nothing, and will restart with the current configuration."""
    return tuple(replica for replica in target.replicas() if replica.alive)


def wait_for_replicas(
    target: Target,
    wanted: Callable[[str], Wanted],
    *,
    clock: Clock,
    timeout: float,
    interrupted: Callable[[], None],
    progress: Progress,
    fresh: bool = True,
    fatal: EndCounts | None = None,
) -> None:
    """Return once every replica is in its wanted state (by name); replicas that start meanwhile are included.

    `interrupted` is called between two checks and may raise. `fresh`: the version was just requested, so the server may
    still report an old failure. `fatal` is `end_counts` from before the request: a server that has ended since is
    attributed to the version at once, before other servers end as well. Errors: Unproven.
    """
    began, refresher = clock.now(), _Refresher(target)
    said = _Said(progress, "replicas", timeout)
    while True:
        running = alive(target)
        if fatal is not None and (ended := _ended(running, fatal)):
            raise Unproven(_joined(ended))
        missing, broken = _missing(target, running, wanted)
        if not missing:
            return
        waited = clock.now() - began
        refresher.refresh(missing, waited)
        if broken and waited >= (FAILURE_CONFIRM_SECONDS if fresh else 0.0):
            raise Unproven(_joined(broken))
        if waited >= timeout:
            raise Unproven(f"timed out after {waited:.0f} s: {_joined(missing)}")
        said.waiting(missing, waited)
        interrupted()
        clock.sleep(PROOF_POLL_SECONDS)


def wait_for_gateways(
    target: Target, *, clock: Clock, timeout: float, interrupted: Callable[[], None], progress: Progress
) -> None:
    """Return once every gateway uses the settings that are current at the start. Errors: Unproven."""
    began, refresher, text = clock.now(), _Refresher(target), target.gateway_config()
    said = _Said(progress, "gateways", timeout)
    while missing := _gateways_missing(target, text):
        waited = clock.now() - began
        refresher.refresh(missing, waited)
        if waited >= timeout:
            raise Unproven(f"timed out after {waited:.0f} s: {_joined(missing)}")
        said.waiting(missing, waited)
        interrupted()
        clock.sleep(PROOF_POLL_SECONDS)


class _Said:
    """Says what is waited for and how long it still may take, at growing intervals."""

    def __init__(self, progress: Progress, whom: str, timeout: float) -> None:
        self._progress, self._whom, self._timeout = progress, whom, timeout
        self._next = PROGRESS_SECONDS

    def waiting(self, missing: Missing, waited: float) -> None:
        if waited >= self._next:
            self._next *= 2
            left = self._timeout - waited
            self._progress(f"waiting for {self._whom}: {_joined(missing)}; at most {left:.0f} s more")


class _Refresher:
    """Repeats `refresh` for replicas and gateways that lag behind, at growing intervals.

    The first refresh may reach a kubelet before the changed ConfigMap does; the kubelet then updates a minute later.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._next = REFRESH_SECONDS

    def refresh(self, missing: Missing, waited: float) -> None:
        if waited >= self._next:
            self._next *= 2
            self._target.refresh({name for name, _ in missing if name})


def _joined(missing: Missing) -> str:
    return shortened([f"{name}: {what}" if name else what for name, what in missing])


def end_counts(target: Target) -> EndCounts:
    """How often the server of each replica has ended so far."""
    return {replica.name: replica.ends for replica in alive(target)}


def _ended(running: Sequence[Replica], before: EndCounts) -> Missing:
    return [(r.name, f"its server has ended: {r.ended}") for r in running if r.ends > before.get(r.name, 0)]


def _missing(target: Target, running: Sequence[Replica], wanted: Callable[[str], Wanted]) -> tuple[Missing, Missing]:
    """What is missing, and the part of it that waiting cannot solve."""
    names = [replica.name for replica in running]
    if not names:
        return [("", "no replica is running")], []
    with ThreadPoolExecutor(min(PARALLEL_REPLICAS, len(names))) as pool:
        found = list(pool.map(lambda name: _replica(target, name, wanted(name)), names))
    return (
        [(name, problem) for name, (missing, _) in zip(names, found, strict=True) for problem in missing],
        [(name, problem) for name, (_, broken) in zip(names, found, strict=True) for problem in broken],
    )


def _replica(target: Target, name: str, wanted: Wanted) -> tuple[list[str], list[str]]:
    # Labels that must be absent are queried too, with version 0, which does not exist.
    labels = {**wanted.labels, **dict.fromkeys(wanted.absent_labels, 0)}
    queried = ModelConfig(name=wanted.model, base_path="/", labels=labels)
    try:
        (served,) = proof.served(target, name, ModelServerConfig(models=(queried,)))
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
    for version in sorted(wanted.absent_versions):
        if (state := served.versions.get(version, "absent")) not in ("END", "absent"):
            missing.append(f"version {version} is still {state}")
    for label, version in wanted.labels.items():
        if (actual := served.labels.get(label)) != version:
            missing.append(f"label {label} is {actual or 'not set'}, not {version}")
    missing += [f"label {label} is still set" for label in wanted.absent_labels if served.labels.get(label) is not None]
    return missing, broken


def _gateways_missing(target: Target, text: str) -> Missing:
    names = [gateway.name for gateway in target.gateways() if gateway.alive]
    if not names:
        return [("", "no gateway is running")]
    with ThreadPoolExecutor(min(PARALLEL_REPLICAS, len(names))) as pool:
        found = list(pool.map(lambda name: proof.not_following(target, name, text), names))
    return [
        (name, problem.removeprefix(f"{name} "))
        for name, missing in zip(names, found, strict=True)
        for problem in missing
    ]
