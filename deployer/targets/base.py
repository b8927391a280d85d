"""Where a release runs: rollout, status and experiment work on any `Target`."""

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
    from deployer.tools.client_tls import ClientTls

Progress = Callable[[str], None]
"""Called with one line of progress for the user."""


@dataclass(frozen=True, kw_only=True)
class Replica:
    """One model server: a local process or a pod.

    `grpc` and `rest` are "host:port" as reached from this machine, empty if unreachable (a pod behind the API server).
    `cpus` is the CPU limit, `memory_limit` is in bytes; None when unlimited. `ends` counts how often its server has
    ended under the same name; `ended` is the reason of the last time ("OOMKilled (exit code 137)").
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
    """One gateway: `url` and `admin` are the base URLs of its ports as reached from this machine, empty if
    unreachable; `grpc` is the address of its gRPC port, empty without one. `tls` is for a `url` with https."""

    name: str
    url: str
    admin: str = ""
    grpc: str = ""
    pid: int | None = None
    alive: bool = True
    tls: ClientTls | None = None


@dataclass(frozen=True, kw_only=True)
class HttpReply:
    """A response of a replica or a gateway."""

    status: int
    body: bytes


@dataclass(frozen=True, kw_only=True)
class CpuReading:
    """CPU `seconds` used by a replica or gateway until `at` (Unix time, by the clock of its machine)."""

    seconds: float
    at: float


@dataclass(frozen=True, kw_only=True)
class MemoryReading:
    """Memory of a replica in bytes at the time `at` (Unix time, by the clock of its machine)."""

    size: int
    at: float


@dataclass(frozen=True, kw_only=True)
class LoadEndpoints:
    """The endpoints of a release, as the load generator next to it reaches them.

    `gateways` are base URLs, and `tls` is for those with https. `model_servers` is one gRPC address; a client without
    load balancing opens one connection.
    """

    gateways: tuple[str, ...]
    model_servers: str
    tls: ClientTls | None = None


@dataclass(frozen=True, kw_only=True)
class ReplicaBatching:
    """The batching of replicas, and the settings that must match it.

    `parameters` is the text of batching_parameters_file, None for no batching. `grpc_threads` limits the requests in
    flight at a replica (None: the server's default), `rows_per_call` the rows of one call of the gateway.
    """

    parameters: str | None
    grpc_threads: int | None
    rows_per_call: int


class WriteConflict(TargetError):
    """The configuration was changed by another party between our read and our write. Read again to see the change."""


class Target(Protocol):
    """A place that runs replicas and gateways of one release.

    Errors of every method: TargetError when the target is unreachable or refuses, WaitTimeout when a wait timed out
    (the message names the replica and the model that were missing).
    """

    kind: str
    """"local" or "cluster"."""

    needs_refresh: bool = False
    """Whether replicas see a new model_config at once only after `refresh`, and otherwise within a minute or two."""

    def describe(self) -> str:
        """Where the release is, shown to the user before any change: directory, or context and namespace."""
        ...

    def replicas(self) -> tuple[Replica, ...]:
        """The replicas that exist now, in a stable order."""
        ...

    def gateways(self) -> tuple[GatewayReplica, ...]:
        """The gateways that exist now, in a stable order."""
        ...

    def notes(self) -> tuple[str, ...]:
        """Sentences about other controllers of the release, such as an autoscaler."""
        ...

    def get(self, name: str, path: str, *, timeout: float) -> HttpReply:
        """GET `path` from the HTTP port of one replica, or from that port of one gateway which has it, by its name."""
        ...

    def post(self, name: str, path: str, body: bytes, *, timeout: float) -> HttpReply:
        """POST JSON to the HTTP port of one replica or gateway, by its name."""
        ...

    def reachable_gateways(self) -> AbstractContextManager[tuple[GatewayReplica, ...]]:
        """Gateways whose `url` is reachable from this machine while the context is open."""
        ...

    def scale(self, replicas: int, *, timeout: float, progress: Progress) -> None:
        """Scale to `replicas` model servers; wait until every version is AVAILABLE and every gateway knows them."""
        ...

    def model_config(self) -> str:
        """The model_config text of the release."""
        ...

    def put_model_config(self, text: str) -> None:
        """Replace the model_config of the release. Replicas pick it up by polling; the caller verifies convergence.

        Errors: WriteConflict when it was changed since it was last read, where the target can detect that.
        """
        ...

    def gateway_config(self) -> str:
        """The gateway configuration text of the release."""
        ...

    def put_gateway_config(self, text: str) -> None:
        """Replace the gateway configuration; gateways reload it by themselves and report its hash at /routes.

        Errors: as for `put_model_config`.
        """
        ...

    def held(self, *, timeout: float, progress: Progress) -> AbstractContextManager[None]:
        """Only `scale` changes the number of replicas while the context is open.

        On every exit, the release is scaled back to the number before, and an autoscaler works again.
        """
        ...

    def load_endpoints(self) -> LoadEndpoints:
        """The endpoints for load. Errors: TargetError when nothing of the release runs."""
        ...

    def cpu_readings(self) -> Mapping[str, CpuReading]:
        """CPU time used so far, by replica or gateway name; the latest known values."""
        ...

    def memory_readings(self) -> Mapping[str, MemoryReading]:
        """Memory in use, by replica name; the latest known values, empty if unknown."""
        ...

    def cpu_limit(self) -> str:
        """How replicas are limited ("cgroup v1 0.25 CPU", "affinity to 1 core", "none"), for reports."""
        ...

    def history(self) -> HistoryStore:
        """The history of rollouts, and the lock that says which deployer works on the release."""
        ...

    def read_store(
        self, release: Release, wanted: Mapping[str, Iterable[int]], *, image: str, timeout: float, progress: Progress
    ) -> Contents:
        """The contents of the release's store; `wanted` is versions by model, empty for a model's newest one.

        `image` is the image of the pod that reads a PVC. Errors: SpecError for a missing version, or a kind of store
        that this target does not support; TargetError, WaitTimeout.
        """
        ...

    def snapshot(self) -> Snapshot:
        """The state that `deployer doctor` checks. Errors: TargetError when the release does not exist."""
        ...

    def run_agent(
        self, program: AgentProgram, *, timeout: float, progress: Progress
    ) -> AbstractContextManager[Agent | None]:
        """Run an agent next to the release while the context is open.

        None for a local release: the caller is already on the same machine. Errors: TargetError, WaitTimeout.
        """
        return nullcontext()

    # -- optional: not every target can or must do these

    def put_model_config_without_refresh(self, text: str) -> None:
        """As `put_model_config`, without `refresh`: with `needs_refresh`, replicas see it within a minute or two."""
        self.put_model_config(text)

    def refresh(self, names: Collection[str]) -> None:
        """Make these replicas read their configuration now. Does nothing where they poll often anyway."""
        return

    def record(self) -> None:
        """Write the live configuration into the values of the Helm releases as well.

        Until then a manual `helm upgrade` would restore the configuration of the last call. Gateways may reload the
        same settings. Errors: ToolError, WaitTimeout, TargetError.
        """
        return

    def report(self, reason: str, message: str, *, warning: bool) -> None:
        """Show in the target's own event log what happened to the release; `reason` is one word. Where there is no such
        log, nothing happens."""
        return

    def require_own_configs(self) -> None:
        """Errors: TargetError when replicas of this release cannot have a model_config of their own."""
        raise TargetError(
            f"replicas of a {self.kind} release cannot be emptied one by one",
            cause="they all use the same model_config",
            hint="leave out --policy; replicas then need memory for two versions",
        )

    def own_configs(self) -> Mapping[str, str]:
        """The model_config of single replicas, by replica name; all others use that of the release."""
        return {}

    def put_own_config(self, name: str, text: str | None) -> None:
        """Give one replica its own model_config, or (None) that of the release again. It picks it up by polling.

        Errors: as for `require_own_configs`; also below.
        """
        self.require_own_configs()

    def newcomer_config(self) -> str | None:
        """The own model_config of replicas that start from now on; None if they use that of the release."""
        return None

    def put_newcomer_config(self, text: str | None) -> None:
        """Set the own model_config of replicas that start from now on."""
        self.require_own_configs()


class Rebatchable(Target, Protocol):
    """A target whose replicas can run with other batching parameters during an experiment."""

    def batching(self) -> ReplicaBatching:
        """The current batching."""
        ...

    def with_batching(self, wanted: ReplicaBatching, *, timeout: float, progress: Progress) -> None:
        """Restart replica by replica with `wanted`; gateways follow. Call it with the earlier value to undo it.

        After an error some replicas may run with `wanted` and others not; call it again to make them equal.
        """
        ...
