"""A stand-in for a release, with a known capacity, for tests of experiments."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from fake_gateway import Behaviour, FakeGateway
from partial_target import PartialTarget

from deployer.targets.base import (
    CpuReading,
    GatewayReplica,
    HttpReply,
    LoadEndpoints,
    MemoryReading,
    Progress,
    Replica,
    ReplicaBatching,
)
from deployer.targets.history import FileHistory, HistoryStore


class FakeTarget(PartialTarget):
    """A release whose replicas are workers of one fake gateway, each serving one request in `service` seconds.

    Without batching; with it a request takes `batched` seconds. `scaled` and `batchings` are what was asked for.
    """

    kind = "local"

    def __init__(self, gateway: FakeGateway, service: float, batched: float = 0.0) -> None:
        self.gateway, self.service, self.batched = gateway, service, batched
        self.batchings = [ReplicaBatching(parameters=None, grpc_threads=None, rows_per_call=1024)]
        self.scaled: list[int] = [1]

    def history(self) -> HistoryStore:
        return FileHistory(Path(tempfile.gettempdir()) / f"fake-target-{os.getpid()}")

    def describe(self) -> str:
        return "a fake release"

    def replicas(self) -> tuple[Replica, ...]:
        return tuple(Replica(name=f"replica-{i}", cpus=0.5) for i in range(self.scaled[-1]))

    def gateways(self) -> tuple[GatewayReplica, ...]:
        return (GatewayReplica(name="gateway-0", url=self.gateway.url),)

    def get(self, name: str, path: str, *, timeout: float) -> HttpReply:
        if name == "gateway-0" and path == "/metrics":
            count = self.gateway.requests
            series = 'gateway_stage_seconds_{}{{model="digits",stage="backend"}} {}'
            text = f"{series.format('sum', 0.002 * count)}\n{series.format('count', count)}\n"
            return HttpReply(status=200, body=text.encode())
        return HttpReply(status=404, body=b"")

    def scale(self, replicas: int, *, timeout: float, progress: Progress) -> None:
        self.scaled.append(replicas)
        self.gateway.behaviour = self._behaviour()

    def gateway_config(self) -> str:
        return 'version: v1\nmodels: {digits: {labels: {stable: 1}}}\nbackends: {static: ["127.0.0.1:1"]}\n'

    @contextmanager
    def held(self, *, timeout: float, progress: Progress) -> Iterator[None]:
        before = self.scaled[-1]
        try:
            yield
        finally:
            if self.scaled[-1] != before:
                self.scale(before, timeout=timeout, progress=progress)

    def load_endpoints(self) -> LoadEndpoints:
        return LoadEndpoints(gateways=(self.gateway.url,), model_servers="127.0.0.1:1")

    def cpu_readings(self) -> Mapping[str, CpuReading]:
        used = {f"replica-{i}": self.gateway.requests * 0.001 for i in range(self.scaled[-1])} | {"gateway-0": 1.0}
        return {name: CpuReading(seconds=seconds, at=time.time()) for name, seconds in used.items()}

    def memory_readings(self) -> Mapping[str, MemoryReading]:
        return {}

    def cpu_limit(self) -> str:
        return "cgroup v2 0.5 CPU"

    def batching(self) -> ReplicaBatching:
        return self.batchings[-1]

    def with_batching(self, wanted: ReplicaBatching, *, timeout: float, progress: Progress) -> None:
        self.batchings.append(wanted)
        self.gateway.behaviour = self._behaviour()

    def _behaviour(self) -> Behaviour:
        service = self.batched if self.batchings[-1].parameters else self.service
        return Behaviour(workers=self.scaled[-1], service=service)
