"""From the start of the process to its end: build the parts, load the models, open the ports, drain on a signal."""

from __future__ import annotations

import logging
import os
import signal
import ssl
import tempfile
import threading
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from tfserving.flags import USAGE_EXIT_CODE, CommandLine
from tfserving.server import settings, textfiles
from tfserving.server.execution.batch_queue import Scheduler
from tfserving.server.execution.batching import Batching
from tfserving.server.grpc.api import GrpcOptions, Services
from tfserving.server.grpc.limits import EFFECTIVE
from tfserving.server.grpc.server import GrpcServer
from tfserving.server.inference.calls import Inference
from tfserving.server.inference.warmup import Replay
from tfserving.server.memory import Budget, request_budget
from tfserving.server.metrics import Metrics
from tfserving.server.rest.api import RestServer
from tfserving.server.versions.loader import Loader, Wrap, check_directory, no_batching, no_warm_up
from tfserving.server.versions.manager import LoadSettings, Manager
from tfserving.server.versions.models import ModelCore
from tfserving.server.versions.source import FileSystemSource
from tfserving.server.versions.states import StateMonitor
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import Code, StatusError, invalid

_log = logging.getLogger("tfserving.server")

DRAIN_SECONDS = 25.0
"""How long requests in flight may take after SIGTERM; below Kubernetes' default grace period of 30 s."""


class Exit(IntEnum):
    """How the process ends; as the real server, but for the drain."""

    DRAINED = 0
    SECOND_SIGNAL = 1
    FAILED = USAGE_EXIT_CODE
    """A bad command line, or a start that failed."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server whose models are loaded and whose ports are open."""

    core: ModelCore
    grpc: GrpcServer
    rest: RestServer | None
    stopping: threading.Event

    def wait(self) -> None:
        """Serve until SIGTERM or SIGINT, then refuse new requests, finish those in flight, and return."""
        while not self.stopping.wait(1.0):
            pass
        _log.info("Draining: no new requests, up to %.0f s for those in flight", DRAIN_SECONDS)
        self.core.stop()
        drained = self.grpc.stop(DRAIN_SECONDS)
        if self.rest:
            self.rest.stop(DRAIN_SECONDS)
        drained.wait()
        _log.info("Drained")


def start(line: CommandLine) -> Server:
    """Load the models, then open the ports. Blocks until every model has a version. Errors: StatusError."""
    settings.check_ports_and_models(line)
    options = GrpcOptions(
        typed_values=not line.on("enable_serialization_as_tensor_content"),
        health=line.on("enable_grpc_healthcheck_service"),
        profiler=line.on("enable_profiler"),
    )
    config = settings.initial_config(line)
    tls = tls_context(line.text("ssl_config_file"))
    arguments = [(a.name, a.value) for a in settings.channel_arguments(line)]
    for name in dict(arguments).keys() - EFFECTIVE:
        _log.warning("The channel argument %s has no effect here", name)
    stopping = threading.Event()
    metrics = Metrics()
    core = _build_core(line, metrics)
    _handle_signals(stopping, core)
    inference = Inference(core, metrics, check_method=line.on("enable_signature_method_name_check"))
    core.reload(config)
    if stopping.is_set():
        raise StatusError(Code.CANCELLED, "a signal ended the process before its models were loaded")
    threads = max(1, line.integer("grpc_max_threads", 4 * settings.cpus()))
    budget = request_budget()
    server = GrpcServer(
        Services(inference, core, metrics, options), max_threads=threads, budget=budget, arguments=arguments
    )
    if line.integer("port"):
        server.listen(line.integer("port"), tls)
    if line.text("grpc_socket_path"):
        server.listen_unix(line.text("grpc_socket_path"), tls)
    server.start()
    _log.info("Running gRPC ModelServer at 0.0.0.0:%d ...", line.integer("port"))
    rest = _start_rest(line, inference, metrics, budget)
    poll = line.integer("model_config_file_poll_wait_seconds")
    if poll > 0 and line.text("model_config_file"):
        args = (core, line.text("model_config_file"), poll, stopping)
        threading.Thread(target=_poll_config, args=args, name="config-poll", daemon=True).start()
    return Server(core=core, grpc=server, rest=rest, stopping=stopping)


def _build_core(line: CommandLine, metrics: Metrics) -> ModelCore:
    monitor = StateMonitor()
    iterations = max(1, line.integer("num_request_iterations_for_warmup"))
    replay = Replay(metrics, iterations, line.on("enable_signature_method_name_check"))
    loader = Loader(
        tags=line.text("saved_model_tags").split(","),
        config=settings.session_config(line),
        wrap=_batching(line, metrics),
        warm_up=replay if line.on("enable_model_warmup") else no_warm_up,
        metrics=metrics,
        tflite_interpreters=settings.tflite_interpreters(line),
    )
    manager = Manager(
        check_directory,
        loader,
        monitor,
        LoadSettings(
            load_threads=line.integer("num_load_threads"),
            unload_threads=line.integer("num_unload_threads"),
            retries=line.integer("max_num_load_retries"),
            retry_seconds=line.integer("load_retry_interval_micros") / 1e6,
        ),
    )
    source = FileSystemSource(manager.aspire, line.integer("file_system_poll_wait_seconds"))
    return ModelCore(
        manager,
        source,
        monitor,
        allow_labels_for_unavailable=line.on("allow_version_labels_for_unavailable_models"),
    )


def _batching(line: CommandLine, metrics: Metrics) -> Wrap:
    path = line.text("batching_parameters_file")
    if not line.on("enable_batching"):
        if path:
            raise invalid(
                "server_options.batching_parameters_file is set without setting server_options.enable_batching to true."
            )
        return no_batching
    parameters = textfiles.read(path, m.BatchingParameters) if path else m.BatchingParameters()
    threads = parameters.num_batch_threads.value if parameters.HasField("num_batch_threads") else settings.cpus()
    if threads < 1:
        raise invalid(f"num_batch_threads must be positive; was {threads}")
    per_model = line.on("enable_per_model_batching_parameters")
    return Batching(Scheduler(threads), metrics, parameters, per_model)


def _start_rest(line: CommandLine, inference: Inference, metrics: Metrics, budget: Budget) -> RestServer | None:
    """Nothing that is wrong with REST ends the process: gRPC serves already, as in the real server."""
    port = line.integer("rest_api_port")
    if not port:
        return None
    if port == line.integer("port"):
        _log.error("--rest_api_port cannot be same as --port. Please use a different port for HTTP/REST API.")
        return None
    try:
        server = RestServer(
            inference,
            metrics,
            port=port,
            threads=line.integer("rest_api_num_threads", 4 * settings.cpus()),
            timeout_ms=line.integer("rest_api_timeout_in_ms"),
            cors=line.on("rest_api_enable_cors_support"),
            prometheus_path=_prometheus_path(line.text("monitoring_config_file")),
            budget=budget,
        )
        server.start()
    except (OSError, StatusError) as error:
        _log.error("Failed to start HTTP Server at localhost:%d: %s", port, error)
        return None
    _log.info("Exporting HTTP/REST API at:localhost:%d ...", port)
    return server


def _prometheus_path(path: str) -> str | None:
    prometheus = textfiles.read(path, m.MonitoringConfig).prometheus_config if path else m.PrometheusConfig()
    return (prometheus.path or "/monitoring/prometheus/metrics") if prometheus.enable else None


def tls_context(path: str) -> ssl.SSLContext | None:
    """What --ssl_config_file asks for. Errors: StatusError INVALID_ARGUMENT for keys that are missing or unreadable."""
    if not path:
        return None
    config = textfiles.read(path, m.SSLConfig)
    if not config.server_key or not config.server_cert:
        raise invalid(f"{path}: server_key and server_cert must hold PEM text")
    if config.client_verify and not config.custom_ca:
        raise invalid(f"{path}: client_verify needs custom_ca, the PEM text of the CA that signed the clients")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_alpn_protocols(["h2"])
    try:
        with tempfile.TemporaryDirectory() as folder:  # Python reads keys from files only
            pair = Path(folder) / "pair.pem"
            pair.touch(mode=0o600)
            pair.write_text(f"{config.server_key}\n{config.server_cert}\n", "utf-8")
            context.load_cert_chain(pair)
        if config.custom_ca:
            context.load_verify_locations(cadata=config.custom_ca)
    except ssl.SSLError as error:
        raise invalid(f"{path}: the key, certificate or CA cannot be used: {error}") from error
    if config.client_verify:
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _handle_signals(stopping: threading.Event, core: ModelCore) -> None:
    """The first signal ends the wait for models or starts the drain, the second ends the process at once."""

    def stop(number: int, frame: object) -> None:
        del number, frame
        if stopping.is_set():
            os._exit(Exit.SECOND_SIGNAL)
        stopping.set()
        core.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)


def _poll_config(core: ModelCore, path: str, seconds: int, stopping: threading.Event) -> None:
    """The first reading follows the start at once, as in the real server."""
    while True:
        try:
            core.reload(textfiles.read(path, m.ModelServerConfig))
        except StatusError as error:
            _log.error("Failed to read or apply ModelServerConfig file %s: %s", path, error)
        if stopping.wait(seconds):
            return
