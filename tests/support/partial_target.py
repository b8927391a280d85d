"""A target of which a test uses a part."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager
from typing import NoReturn

from deployer.domain.release import Release
from deployer.targets.base import (
    CpuReading,
    GatewayReplica,
    HttpReply,
    LoadEndpoints,
    MemoryReading,
    Progress,
    Replica,
    Target,
)
from deployer.targets.history import HistoryStore
from deployer.targets.snapshot import Snapshot
from deployer.targets.storage.contents import Contents


class PartialTarget(Target):
    """Whatever a subclass does not define must not be called."""

    kind = "fake"

    def _unexpected(self, method: str) -> NoReturn:
        raise AssertionError(f"{method} of {type(self).__name__} was not to be called")

    def describe(self) -> str:
        self._unexpected("describe")

    def replicas(self) -> tuple[Replica, ...]:
        self._unexpected("replicas")

    def gateways(self) -> tuple[GatewayReplica, ...]:
        self._unexpected("gateways")

    def notes(self) -> tuple[str, ...]:
        self._unexpected("notes")

    def get(self, name: str, path: str, *, timeout: float) -> HttpReply:
        self._unexpected("get")

    def post(self, name: str, path: str, body: bytes, *, timeout: float) -> HttpReply:
        self._unexpected("post")

    def reachable_gateways(self) -> AbstractContextManager[tuple[GatewayReplica, ...]]:
        self._unexpected("reachable_gateways")

    def scale(self, replicas: int, *, timeout: float, progress: Progress) -> None:
        self._unexpected("scale")

    def model_config(self) -> str:
        self._unexpected("model_config")

    def put_model_config(self, text: str) -> None:
        self._unexpected("put_model_config")

    def gateway_config(self) -> str:
        self._unexpected("gateway_config")

    def put_gateway_config(self, text: str) -> None:
        self._unexpected("put_gateway_config")

    def held(self, *, timeout: float, progress: Progress) -> AbstractContextManager[None]:
        self._unexpected("held")

    def load_endpoints(self) -> LoadEndpoints:
        self._unexpected("load_endpoints")

    def cpu_readings(self) -> Mapping[str, CpuReading]:
        self._unexpected("cpu_readings")

    def memory_readings(self) -> Mapping[str, MemoryReading]:
        self._unexpected("memory_readings")

    def cpu_limit(self) -> str:
        self._unexpected("cpu_limit")

    def history(self) -> HistoryStore:
        self._unexpected("history")

    def read_store(
        self, release: Release, wanted: Mapping[str, Iterable[int]], *, image: str, timeout: float, progress: Progress
    ) -> Contents:
        self._unexpected("read_store")

    def snapshot(self) -> Snapshot:
        self._unexpected("snapshot")
