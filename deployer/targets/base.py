"""Where a release runs, seen by every verb: the same rollout, status and experiment work on any `Target`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from deployer.errors import TargetError

if TYPE_CHECKING:
    from deployer.domain.release import Release
    from deployer.targets.agents.agent import Agent, AgentProgram
    from deployer.targets.history import HistoryStore
    from deployer.targets.snapshot import Snapshot
    from deployer.targets.storage.contents import Contents

Progress = Callable[[str], None]
"""Called with one plain sentence whenever something worth telling a person has happened."""


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One model server: a process here, a pod there.

    `grpc` and `rest` are "host:port" as this machine reaches them, empty where it cannot (a pod behind the API server).
    `cpus` is the CPU share in force, `memory_limit` bytes; None when unlimited. `ends` counts how often its server has
    ended and was started again under the same name, and `ended` says how the last time ("OOMKilled (exit code 137)").
    """

    name: str
    grpc: str = ""
    rest: str = ""
    pid: int | None = None
    cpus: float | None = None
    memory_limit: int | None = None
    alive: bool = True
    ends: int = 0
    ended: str = ""


@dataclass(frozen=True, kw_only=True)
class GatewayReplica:
    """One gateway: `url` is its base URL as this machine reaches it, empty where it cannot."""

    name: str
    url: str
    pid: int | None = None
    alive: bool = True


@dataclass(frozen=True, kw_only=True)
class HttpReply:
    """An answer of a replica or a gateway."""

    status: int
    body: bytes


@dataclass(frozen=True, kw_only=True)
class CpuReading:
    """CPU `seconds` that a replica or gateway had used `at` a moment (Unix time by the clock of where it runs)."""

    seconds: float
    at: float


@dataclass(frozen=True, kw_only=True)
class MemoryReading:
    """Bytes that a replica held `at` a moment (Unix time by the clock of where it runs)."""

    size: int
    at: float


@dataclass(frozen=True, kw_only=True)
class LoadEndpoints:
    """Where load enters a release, as the load generator beside it reaches it.

    `gateways` are base URLs, `model_servers` a gRPC address that is one connection to a client without balancing.
    """

    gateways: tuple[str, ...]
    model_servers: str


@dataclass(frozen=True, kw_only=True)
class ReplicaBatching:
    """How replicas join requests, and what has to fit to it.

    `parameters` is the text of batching_parameters_file, None for no batching. `grpc_threads` bounds the requests in
    flight at a replica (None: the server's default), `rows_per_call` the rows that a gateway sends it at once.
    """

    parameters: str | None
    grpc_threads: int | None
    rows_per_call: int


class Overtaken(TargetError):
    """Somebody else has written between a look and the write that followed from it. Looking again shows what."""


class Target(Protocol):
    """A place that runs replicas and gateways of one release.

    Errors of every method: TargetError when the place cannot be reached or refuses, WaitTimeout when a bounded wait
    ran out (the message names the replica and the model that were missing).
    """

    kind: str
    """"local" or "cluster"."""

    told_to_look: bool = False
    """Whether replicas look at a new model_config when `hasten` tells them to, and else within a minute or two."""

    def describe(self) -> str:
        """What a person is told before anything is touched: directory, or context and namespace."""
        ...

    def replicas(self) -> tuple[Replica, ...]:
        """The replicas that exist now, in a stable order."""
        ...

    def gateways(self) -> tuple[GatewayReplica, ...]:
        """The gateways that exist now, in a stable order."""
        ...

    def notes(self) -> tuple[str, ...]:
        """Sentences about what else decides how the release runs, such as an autoscaler."""
        ...

    def get(self, name: str, path: str, *, timeout: float) -> HttpReply:
        """GET `path` from the HTTP port of one replica or gateway, by its name."""
        ...

    def post(self, name: str, path: str, body: bytes, *, timeout: float) -> HttpReply:
        """POST JSON to the HTTP port of one replica or gateway, by its name."""
        ...

    def reachable_gateways(self) -> AbstractContextManager[tuple[GatewayReplica, ...]]:
        """Gateways whose `url` this machine can open for as long as the context lasts."""
        ...

    def scale(self, replicas: int, *, timeout: float, progress: Progress) -> None:
        """Have exactly `replicas` model servers, each AVAILABLE for every version, and every gateway aware of them."""
        ...

    def model_config(self) -> str:
        """The model_config text that is in force for the release."""
        ...

    def put_model_config(self, text: str) -> None:
        """Replace the model_config of the release. Replicas pick it up by polling; the caller proves convergence.

        Errors: Overtaken when what was read last is not in force any more, where the place can tell.
        """
        ...

    def gateway_config(self) -> str:
        """The gateway configuration text that is in force for the release."""
        ...

    def put_gateway_config(self, text: str) -> None:
        """Replace the gateway configuration; gateways reload it by themselves and report its hash at /routes.

        Errors: as of `put_model_config`.
        """
        ...

    def held(self, *, timeout: float, progress: Progress) -> AbstractContextManager[None]:
        """Nobody but `scale` changes the number of replicas for as long as the context lasts.

        Afterwards the release has as many as before, and an autoscaler is at work again, on every way out.
        """
        ...

    def load_endpoints(self) -> LoadEndpoints:
        """Where load goes in. Errors: TargetError when nothing of the release runs."""
        ...

    def cpu_readings(self) -> Mapping[str, CpuReading]:
        """CPU time used so far, by replica or gateway name; the latest that is known."""
        ...

    def memory_readings(self) -> Mapping[str, MemoryReading]:
        """Memory in use, by replica name; the latest that is known, and nothing where nobody can look."""
        ...

    def cpu_limit(self) -> str:
        """How replicas are limited ("cgroup v1 0.25 CPU", "affinity to 1 core", "none"), for reports."""
        ...

    def history(self) -> HistoryStore:
        """Where the history of rollouts is kept, and who is at work on the release."""
        ...

    def read_store(
        self, release: Release, wanted: Mapping[str, Iterable[int]], *, image: str, timeout: float, progress: Progress
    ) -> Contents:
        """What the store of the release holds; `wanted` is versions by model, empty for a model's newest one.

        `image` runs the pod that reads a PVC. Errors: SpecError for a version that is not there, or a store of a kind
        that this place does not have; TargetError, WaitTimeout.
        """
        ...

    def snapshot(self) -> Snapshot:
        """All that `deployer doctor` looks at, at one moment. Errors: TargetError when the release is not there."""
        ...

    def run_agent(
        self, program: AgentProgram, *, timeout: float, progress: Progress
    ) -> AbstractContextManager[Agent | None]:
        """Run one of the deployer's own programs beside the release for as long as the context lasts.

        None where the release is on this machine: the caller is beside it. Errors: TargetError, WaitTimeout.
        """
        return nullcontext()

    # -- what not every place can do, or need do

    def put_model_config_quietly(self, text: str) -> None:
        """As `put_model_config`, but telling nobody: with `told_to_look`, replicas look within a minute or two."""
        self.put_model_config(text)

    def hasten(self, names: Collection[str]) -> None:
        """Have these replicas look at their configuration now. Nothing where they always do."""
        return

    def record(self) -> None:
        """Have the place that also writes the configuration down say what is in force: the values of Helm releases.

        Until then a `helm upgrade` by hand would bring back what was in force when this was last called.
        Gateways may have to read the same settings again. Errors: ToolError, WaitTimeout, TargetError.
        """
        return

    def require_own_configs(self) -> None:
        """Errors: TargetError when replicas of this release cannot be given a model_config of their own."""
        raise TargetError(
            f"replicas of a {self.kind} release cannot be emptied one by one",
            cause="they all follow one model_config",
            hint="leave out --policy, and allow the memory for two versions",
        )

    def own_configs(self) -> Mapping[str, str]:
        """The model_config that only one replica follows, by its name; all others follow the one of the release."""
        return {}

    def put_own_config(self, name: str, text: str | None) -> None:
        """Have a replica follow this one, or again (None) that of the release. Replicas pick it up by polling.

        Errors: as of `require_own_configs`; the same below.
        """
        self.require_own_configs()

    def newcomer_config(self) -> str | None:
        """What a replica that starts from now on gets as its own; None when it follows the release."""
        return None

    def put_newcomer_config(self, text: str | None) -> None:
        """Decide that."""
        self.require_own_configs()


class Rebatchable(Target, Protocol):
    """A target whose replicas can be given other batching parameters for the time of an experiment."""

    def batching(self) -> ReplicaBatching:
        """What is in force."""
        ...

    def with_batching(self, wanted: ReplicaBatching, *, timeout: float, progress: Progress) -> None:
        """Restart replica by replica with `wanted`; gateways follow. Given what was in force before, it is undone.

        After an error some replicas may run with `wanted` and others not; another call makes them equal.
        """
        ...
