"""The gateway as one object: everything a request needs, and the config that can be exchanged under it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import random

from gateway.active import Active
from gateway.api.attempt import Outcome
from gateway.api.large.reader import LargeReader
from gateway.api.records import Pipeline
from gateway.api.tensors import TensorApi
from gateway.backends import pool
from gateway.backends.batching import Batcher
from gateway.backends.cache import ResponseCache
from gateway.backends.model_server import ModelServer
from gateway.backends.objective import Objectives
from gateway.backends.rpc import RpcError, Transport
from gateway.backends.signatures import Signatures
from gateway.backends.tls import ClientTls, client_tls
from gateway.backends.transport import GrpcTransport
from gateway.drift import Drift
from gateway.drift.live import LABELS
from gateway.guard.access.door import Door
from gateway.guard.admission import Admission
from gateway.guard.memory import Memory, memory_bytes
from gateway.lookup import Lookups
from gateway.observe.access_log import AccessLog
from gateway.observe.metrics import Metrics
from gateway.observe.sampling import Keep, Sampler
from gateway.observe.spans import Spans
from gateway.routing.labels import NEWEST, Choice
from gateway.routing.shadow import Shadow
from gateway.timers import Timers

log = logging.getLogger("gateway")

LABELS_FOR: float = 1.0
"""Seconds that it is remembered what model servers said of labels."""
LABELS_TIMEOUT: float = 1.0
BODY_SLACK: float = 0.01
"""Seconds after its deadline until a body that has not arrived is given up."""


@dataclass(slots=True, kw_only=True)
class Tally:
    """Requests of any kind so far: head read; answer written; client gone before its request was complete."""

    accepted: int = 0
    answered: int = 0
    left: int = 0


class Gateway:
    """Made once per process with the first config; `adopt` takes later ones. `folder` is that of the config file."""

    def __init__(
        self,
        active: Active,
        *,
        folder: Path = Path(),
        connect: Callable[[str], Transport] | None = None,
        resolve: pool.Resolve = pool.resolve,
        chance: Callable[[], float] = random,
    ) -> None:
        limits = active.settings.limits
        self.active = active
        self.config_error: str | None = None
        self.draining = False
        self.port = 0
        """The public port, for what tells people where to send requests; 0 until it is known."""
        self.chance = chance
        self.tally = Tally()
        self.metrics = Metrics()
        self.spans: Spans | None = None
        """None while OpenTelemetry is off."""
        self.tls_problem: str | None = None
        """Why the certificate on disk is not in force."""
        self.door = Door(folder, time.monotonic)
        self.access_log = AccessLog()
        self.access_log.configure(active.settings.access_log.sample if active.settings.access_log else None)
        self.sampler = Sampler(folder, chance=chance)
        self.sampler.configure(_kept(active))
        self.timers = Timers(asyncio.get_running_loop(), slack=BODY_SLACK)
        self._connection_age = active.settings.backends.max_connection_age_seconds
        self._folder = folder
        self._backend_tls: ClientTls | None = None
        self.objectives = Objectives(limits.objective_ms, limits.timeout_ms / 2000)
        self.pool = pool.Pool(
            connect=connect
            or partial(GrpcTransport, max_age=lambda: self._connection_age, tls=lambda: self._backend_tls),
            resolve=resolve,
            metrics=self.metrics,
            objectives=self.objectives,
            most=limits.max_concurrency,
            chance=chance,
        )
        self.admission = Admission(
            places=self.pool.places,
            objective=self.objectives.of,
            most=limits.max_concurrency,
            queue=limits.max_queue,
            chance=chance,
            time=self.timers.time,
        )
        self.memory = Memory(_memory_for_requests(active), chance)
        self.large = LargeReader(lambda: self.memory.limit)
        self.pool.pressed = lambda: self.admission.pressed
        self.cache = ResponseCache(self.metrics, self.timers.time)
        self.cache.configure(active.settings.models, limits.cache_bytes)
        self.server = ModelServer(self.pool, self.cache)
        self.signatures = Signatures(self.server)
        self.batcher: Batcher[Outcome] = Batcher(active.settings.batching, self.metrics)
        self.drift = Drift(time=time.monotonic, chance=chance)
        self.lookups = Lookups(self.metrics, folder)
        self.pipeline = Pipeline(self.server, self.signatures, self.batcher, self.metrics, self.lookups, self.drift)
        self.shadow = Shadow(self.pipeline.predict, self.metrics)
        self.tensors = TensorApi(self.server, self.signatures, self.metrics)
        self._connected = False
        self._labels: tuple[float, list[str]] | None = None
        self._labels_lock = asyncio.Lock()
        self._add_gauges()

    async def start(self) -> None:
        """Connect to the model servers; returns when each was tried once.

        Errors: SettingsError when a file with keys or a store cannot be read.
        """
        await self.door.adopt(self.active.settings.auth)
        await self.lookups.configure(self.active.settings.stores)
        self._backend_tls = client_tls(self.active.settings.backends.tls, self._folder)
        await self.pool.configure(self.active.settings.backends)

    async def adopt(self, active: Active) -> None:
        """Put a new config in force for requests from now on.

        Errors: SettingsError when a file with keys or a store cannot be read; then nothing has changed.
        """
        backend_tls = client_tls(active.settings.backends.tls, self._folder)
        await self.door.adopt(active.settings.auth)
        await self.lookups.configure(active.settings.stores)
        limits = active.settings.limits
        self._connection_age = active.settings.backends.max_connection_age_seconds
        self._backend_tls = backend_tls
        await self.pool.configure(active.settings.backends)
        self.pool.resize(limits.max_concurrency)
        self.objectives.configure(limits.objective_ms, limits.timeout_ms / 2000)
        self.admission.resize(limits.max_concurrency, limits.max_queue)
        self.memory.limit = _memory_for_requests(active)
        self.cache.configure(active.settings.models, limits.cache_bytes)
        self.access_log.configure(active.settings.access_log.sample if active.settings.access_log else None)
        self.sampler.configure(_kept(active))
        self.batcher.configure(active.settings.batching)
        self.active = active
        self.drift.keep([(model.name, version) for model in active.models.values() for version in model.watches])
        self._labels = None

    async def close(self) -> None:
        """Close the connections to the model servers."""
        await self.large.close()
        await self.shadow.close()
        await self.lookups.close()
        await self.pool.close()

    def unready(self) -> list[str]:
        """What keeps the gateway from being ready: it shuts down, or no model server was ever connected, unless
        there may be none (`backends.scale_to_zero`).

        Neither depends on load, and a gateway whose model servers are all gone stays ready: it says 503 with a
        Retry-After, which tells a client more than a Service without endpoints.
        """
        if self.draining:
            return ["the gateway is shutting down"]
        self._connected = self._connected or any(b.transport.connected for b in self.pool.backends)
        if self._connected or self.active.settings.backends.scale_to_zero:
            return []
        return [f"none of {len(self.pool.backends)} model servers has been connected since the start"]

    async def missing(self) -> list[str]:
        """Routed labels that no model server can answer for; asks the model servers."""
        async with self._labels_lock:
            now = asyncio.get_running_loop().time()
            if self._labels is None or now - self._labels[0] > LABELS_FOR:
                self._labels = (now, await self._look())
            return self._labels[1]

    async def _look(self) -> list[str]:
        deadline = asyncio.get_running_loop().time() + LABELS_TIMEOUT
        wanted = [
            (model, choice)
            for model in self.active.models.values()
            for choice in (
                [Choice(label=label) for label in model.router.weights] if model.router is not None else [NEWEST]
            )
        ]
        found = await asyncio.gather(
            *(self.server.metadata(model.name, choice, deadline) for model, choice in wanted), return_exceptions=True
        )
        problems = []
        for (model, choice), result in zip(wanted, found, strict=True):
            if isinstance(result, RpcError):
                problems.append(f"model '{model.name}', {choice}: {result.message}")
            elif isinstance(result, BaseException):
                raise result
            else:
                model.resolved[choice] = result.version
        return problems

    def _add_gauges(self) -> None:
        gauge = self.metrics.gauge
        gauge("gateway_in_flight", "Requests being processed.", lambda: {(): self.admission.in_flight})
        gauge("gateway_waiting", "Requests waiting for a place.", lambda: {(): self.admission.waiting})
        gauge("gateway_places", "Requests that may be processed at a time now.", lambda: {(): self.admission.places})
        gauge("gateway_request_memory_bytes", "Memory that requests take now.", lambda: {(): self.memory.held})
        gauge("gateway_request_memory_limit_bytes", "Memory that they may take.", lambda: {(): self.memory.limit})
        gauge("gateway_cache_bytes", "Memory of the responses in the cache.", lambda: {(): float(self.cache.size)})
        gauge(
            "gateway_objective_seconds",
            "Latency objective of a model, configured or learned.",
            lambda: {(model,): seconds for model, seconds in self.objectives.known().items()},
            "model",
        )
        gauge("gateway_backends", "Model servers by state.", self._backend_states, "state")
        gauge(
            "gateway_access_log_dropped",
            "Lines of the access log that were dropped since the start.",
            lambda: {(): float(self.access_log.dropped)},
        )
        self.metrics.counter(
            "gateway_sampled_records_total", "Records that were kept in files.", lambda: self.sampler.kept, "model"
        )
        gauge(
            "gateway_sampling_dropped",
            "Records that were chosen and could not be kept since the start.",
            lambda: {(): float(self.sampler.dropped)},
        )
        gauge("gateway_draining", "1 while the gateway is shutting down.", lambda: {(): float(self.draining)})
        gauge("gateway_config_info", "1 for the config in force.", lambda: {(self.active.hash,): 1.0}, "hash")
        gauge(
            "gateway_config_stale",
            "1 while the config file on disk is invalid and an older one is in force.",
            lambda: {(): float((self.config_error or self.door.problem or self.tls_problem) is not None)},
        )
        self.metrics.counter(
            "gateway_drift_records_total",
            "Records with a prediction, or their scores, by the bin of the training data of version `reference`.",
            self.drift.read,
            *LABELS,
        )
        gauge(
            "gateway_drift_training_records",
            "Rows of the training data of a version by bin.",
            self._training,
            "model", "reference", "kind", "feature", "bin",
        )  # fmt: skip

    def _training(self) -> dict[tuple[str, ...], float]:
        """What training saw, by model, version, kind, feature and bin."""
        return {
            (model.name, str(version), kind, one.name, bin_): float(count)
            for model in self.active.models.values()
            for version, watch in model.watches.items()
            for kind, one in watch.training()
            for bin_, count in zip(one.bins, one.all_counts, strict=True)
        }

    def _backend_states(self) -> dict[tuple[str, ...], float]:
        states = {"ready": 0.0, "ejected": 0.0, "disconnected": 0.0}
        for backend in self.pool.backends:
            states[backend.state] += 1
        return {(state,): count for state, count in states.items()}


def _memory_for_requests(active: Active) -> int:
    """Bytes that requests may take; a cache takes its own from what the container leaves."""
    limits = active.settings.limits
    cached = any(model.cache_seconds is not None for model in active.settings.models.values())
    return memory_bytes(limits.memory_bytes, besides=limits.cache_bytes if cached else 0)


def _kept(active: Active) -> Keep | None:
    """The records to keep."""
    given = active.settings.sampling
    if given is None:
        return None
    return Keep(folder=given.folder, share=given.share, max_bytes=given.max_bytes, mask=frozenset(given.mask))
