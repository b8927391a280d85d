"""A release in memory that keeps TensorFlow Serving's rules, for tests that break it in many ways.

Replicas poll the configuration when time passes. A label is never moved to a version that is not AVAILABLE: the whole
configuration is refused then. Loading takes time, and may fail.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

import yaml
from partial_target import PartialTarget

from deployer.errors import TargetError
from deployer.targets.base import (
    GatewayReplica,
    HttpReply,
    MemoryReading,
    Replica,
    WriteConflict,
)
from deployer.targets.history import HistoryStore
from gateway.settings import parse_settings, settings_hash
from tfserving.config import ModelConfig, ModelServerConfig, Specific

MODEL = "scale"
_models = functools.cache(ModelServerConfig.parse)
_settings = functools.cache(parse_settings)


@dataclass
class FakeReplica:
    name: str
    unloadable: set[int] = field(default_factory=set)
    loaded: dict[int, str] = field(default_factory=dict)
    labels: dict[str, int] = field(default_factory=dict)
    alive: bool = True
    fresh: bool = True
    """Just started; it has not yet shown anything and gets no traffic."""
    most_held: int = 0
    """Versions in memory at once, at most."""

    own: str | None = None
    """A model_config that only this replica follows."""

    ends: int = 0
    ended: str = ""

    mounted: str | None = None
    """What its next poll finds, whatever has been written since: a mount lags behind."""

    untold: tuple[str, float] | None = None
    """What it goes on to follow until a moment, because nobody told it to look."""

    deadly: set[int] = field(default_factory=set)
    """Versions that end the server which loads them."""

    started: float = 0.0
    """Before this moment its container starts: nothing listens."""

    def end(self) -> None:
        self.ends, self.ended = self.ends + 1, "OOMKilled (exit code 137)"
        self.loaded, self.labels, self.fresh = {}, {}, True

    def poll(self, models: ModelServerConfig) -> None:
        (config,) = models.models or (ModelConfig(name=MODEL, base_path="/", policy=Specific(versions=(0,))),)
        assert isinstance(config.policy, Specific), "the deployer always names versions"
        versions = set(config.policy.versions) - {0}
        for version, state in self.loaded.items():
            if state == "LOADING":
                self.loaded[version] = "END" if version in self.unloadable else "AVAILABLE"
        for label, version in config.labels.items():
            if label in self.labels and self.labels[label] != version and self.loaded.get(version) != "AVAILABLE":
                return
        self.labels = dict(config.labels)
        for version in versions:
            self.loaded.setdefault(version, "LOADING")
        if self.deadly & versions:
            self.end()
            return
        self.most_held = max(self.most_held, len([state for state in self.loaded.values() if state != "END"]))
        for version in set(self.loaded) - versions:
            del self.loaded[version]
        if versions and all(self.loaded.get(v) == "AVAILABLE" for v in versions):
            self.fresh = False


class FakeRelease(PartialTarget):
    """A `Target`, and the clock that its time goes by. `canary_failures` is the share of bad answers of version 2."""

    needs_refresh = True

    histories: HistoryStore
    """Set by whoever rolls out."""

    def __init__(self, replicas: int = 2, *, canary_failures: float = 0.0, traffic: int = 400) -> None:
        self.time = 1000.0
        self.memory: dict[str, int] = {}
        self.memory_limit: int | None = None
        self.canary_failures, self.traffic = canary_failures, traffic
        self.unloadable: set[int] = set()
        self.deadly: set[int] = set()
        self.deadly_answers: set[int] = set()
        """Versions that end the server which responses from them."""
        self.deaf_to_touches = 0
        """How many times telling replicas to look is of no use: a kubelet hears it before it has the new ConfigMap."""
        self.terminating: set[str] = set()
        """Replicas that are gone once they are asked for a response."""
        self.servers_killed = 0
        self.servers = [FakeReplica(name=f"replica-{index}") for index in range(replicas)]
        self.counts: dict[str, tuple[int, int]] = {}
        self.broken_rules: list[str] = []
        config = ModelConfig(name=MODEL, base_path="/store/scale", policy=Specific(versions=(1,)), labels={"stable": 1})
        self._models = ModelServerConfig(models=(config,)).to_text()
        self._newcomer: str | None = None
        section = {"labels": {"stable": 1}, "routing": {"weights": {"stable": 100}}}
        self._gateway = yaml.safe_dump(
            {"version": "v1", "models": {MODEL: section}, "backends": {"static": ["127.0.0.1:1"]}}
        )
        self._adopted = self._gateway
        self.recorded = (self._models, self._gateway)
        self.overtakers: list[Callable[[], None]] = []
        """What others do, one after the other, between a look and the write that followed from it."""
        for _ in range(3):
            self._tick()

    # -- time

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self.time += seconds
        self._tick()

    def _tick(self) -> None:
        for server in self.servers:
            if server.alive and self.time >= server.started:
                server.unloadable = self.unloadable
                server.deadly = self.deadly
                if server.untold and self.time >= server.untold[1]:
                    server.untold = None
                late = server.untold[0] if server.untold else None
                server.poll(_models(server.own or server.mounted or late or self._models))
                server.mounted = None
        self._adopted = self._gateway
        routing = _settings(self._adopted).models[MODEL].routing
        assert routing is not None, "the deployer always names weights"
        weights = routing.weights
        total = sum(weights.values())
        for label, weight in weights.items():
            requests = round(self.traffic * weight / total)
            answers, failed = self.counts.get(label, (0, 0))
            bad = round(requests * self.canary_failures) if self._resolves(label) == 2 else 0
            self.counts[label] = (answers + requests, failed + bad)
        self._check(weights)

    def _resolves(self, label: str) -> int | None:
        return next((s.labels.get(label) for s in self.servers if s.alive), None)

    def _check(self, weights: Mapping[str, float]) -> None:
        """The promises that hold at every moment, for replicas that had the time to start."""
        for server in self.servers:
            if not server.alive or server.fresh:
                continue
            for label, version in server.labels.items():
                if server.loaded.get(version) != "AVAILABLE":
                    self.broken_rules.append(f"{server.name}: label {label} stands for version {version}, not loaded")
            for label, weight in weights.items():
                if weight > 0 and label not in server.labels and server.own is None:
                    self.broken_rules.append(f"{server.name}: traffic for label {label}, which it does not know")
        known = {label for server in self.servers if server.alive for label in server.labels}
        if self.servers_killed:  # canary's only replica may be among them; gateways then fall back to stable
            known.add("canary")
        for label, weight in weights.items():
            if weight > 0 and label not in known:
                self.broken_rules.append(f"traffic for label {label}, which no replica knows")

    # -- faults

    def kill_replica(self) -> None:
        if sum(server.alive for server in self.servers) > 1:
            next(server for server in self.servers if server.alive).alive = False
            self.servers_killed += 1

    def add_replica(self) -> None:
        self.servers.append(FakeReplica(name=f"replica-{len(self.servers)}", own=self._newcomer))

    def add_replica_that_takes_its_time(self) -> None:
        """It is the first of the list: names of pods are random."""
        name = f"replica-{len(self.servers)}"
        self.servers.insert(0, FakeReplica(name=name, own=self._newcomer, started=self.time + 5))

    def lag_behind(self) -> None:
        """Every replica polls once more what is in force now, even when something else is by then."""
        for server in self.servers:
            server.mounted = self._models

    def edit_by_hand(self) -> None:
        document = yaml.safe_load(self._gateway)
        known = [label for label in self._canary() if label in document["models"][MODEL]["labels"]]
        document["models"][MODEL]["routing"]["weights"] = {"stable": 77, **dict.fromkeys(known, 23)}
        self._gateway = yaml.safe_dump(document)

    def _canary(self) -> list[str]:
        (config,) = _models(self._models).models
        return [label for label in config.labels if label == "canary" and self._everywhere(label)]

    def _everywhere(self, label: str) -> bool:
        return all(label in server.labels for server in self.servers if server.alive)

    # -- Target

    def notes(self) -> tuple[str, ...]:
        return ()

    def describe(self) -> str:
        return "a release in memory"

    def replicas(self) -> tuple[Replica, ...]:
        return tuple(
            Replica(name=s.name, memory_limit=self.memory_limit, alive=s.alive, ends=s.ends, ended=s.ended)
            for s in self.servers
        )

    def memory_readings(self) -> Mapping[str, MemoryReading]:
        return {name: MemoryReading(size=size, at=self.time) for name, size in self.memory.items()}

    def gateways(self) -> tuple[GatewayReplica, ...]:
        return (GatewayReplica(name="gateway-0", url="http://gateway"),)

    def model_config(self) -> str:
        return self._models

    def put_model_config(self, text: str) -> None:
        self._overtaken()
        self._models = text
        self.refresh([server.name for server in self.servers])

    def put_model_config_without_refresh(self, text: str) -> None:
        self._overtaken()
        for server in self.servers:
            server.untold = server.untold or (self._models, self.time + 60)
        self._models = text

    def refresh(self, names: Collection[str]) -> None:
        if self.deaf_to_touches:
            self.deaf_to_touches -= 1
            return
        for server in self.servers:
            if server.name in names:
                server.untold = None

    def _overtaken(self) -> None:
        if self.overtakers:
            self.overtakers.pop(0)()
            raise WriteConflict("changed by somebody else at the same time")

    def record(self) -> None:
        self.recorded = (self._models, self._gateway)

    @property
    def in_line(self) -> bool:
        """Whether what was recorded last is in force."""
        return self.recorded == (self._models, self._gateway)

    def history(self) -> HistoryStore:
        return self.histories

    def require_own_configs(self) -> None:
        pass

    def own_configs(self) -> dict[str, str]:
        return {server.name: server.own for server in self.servers if server.own is not None}

    def put_own_config(self, name: str, text: str | None) -> None:
        next(server for server in self.servers if server.name == name).own = text

    def newcomer_config(self) -> str | None:
        return self._newcomer

    def put_newcomer_config(self, text: str | None) -> None:
        self._newcomer = text

    def gateway_config(self) -> str:
        return self._gateway

    def put_gateway_config(self, text: str) -> None:
        self._overtaken()
        self._gateway = text

    def post(self, name: str, path: str, body: bytes, *, timeout: float) -> HttpReply:
        server = next(s for s in self.servers if s.name == name)
        if name in self.terminating:
            server.alive = False
        elif _version_in(path) in self.deadly_answers:
            server.end()
        else:
            return HttpReply(status=200, body=b"{}")
        raise TargetError(f"{name} does not answer")

    def get(self, name: str, path: str, *, timeout: float) -> HttpReply:
        if name == "gateway-0":
            return HttpReply(status=200, body=self._gateway_answer(path))
        server = next(s for s in self.servers if s.name == name)
        if not server.alive or self.time < server.started:
            raise TargetError(f"{name} does not answer")
        if path.endswith("/metadata"):
            return self._metadata(server, path)
        states = [
            {"version": str(v), "state": state, "status": {"error_code": "OK", "error_message": ""}}
            if state != "END"
            else {"version": str(v), "state": state, "status": {"error_code": "UNKNOWN", "error_message": "no graph"}}
            for v, state in server.loaded.items()
        ]
        return HttpReply(status=200, body=json.dumps({"model_version_status": states}).encode())

    def _metadata(self, server: FakeReplica, path: str) -> HttpReply:
        label = re.search(r"labels/(\w+)/", path)
        version = server.labels.get(label[1]) if label else _version_in(path)
        if version is None or server.loaded.get(version) != "AVAILABLE":
            return HttpReply(status=404, body=b"{}")
        inputs = {"x": {"dtype": "DT_FLOAT", "tensor_shape": {"dim": [{"size": "-1"}, {"size": "3"}]}}}
        body = {
            "model_spec": {"version": str(version)},
            "metadata": {"signature_def": {"signature_def": {"serving_default": {"inputs": inputs}}}},
        }
        return HttpReply(status=200, body=json.dumps(body).encode())

    def _gateway_answer(self, path: str) -> bytes:
        if path == "/routes":
            return settings_hash(self._adopted).encode()
        lines = []
        for label, (answers, failed) in self.counts.items():
            who = f'model="{MODEL}",version="",label="{label}"'
            lines.append(f'gateway_requests_total{{{who},kind="records",code="200"}} {answers - failed}')
            lines.append(f'gateway_requests_total{{{who},kind="records",code="500"}} {failed}')
            lines.append(f'gateway_errors_total{{{who},stage="backend",code="500"}} {failed}')
            lines += [
                f'gateway_request_seconds_bucket{{{who},le="{le}"}} {answers}' for le in ("0.005", "0.01", "+Inf")
            ]
        return "\n".join(lines).encode()


def _version_in(path: str) -> int:
    """The version that a path names."""
    found = re.search(r"versions/(\d+)", path)
    assert found is not None, path
    return int(found[1])
