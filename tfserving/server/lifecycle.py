"""From the start of the process to its end: build the parts, load the models, open the ports, drain on a signal."""

from __future__ import annotations

import logging
import os
import signal
import threading
from dataclasses import dataclass

import grpc

from tfserving.flags import CommandLine
from tfserving.server import settings, textfiles
from tfserving.server.core import ModelCore
from tfserving.server.grpc_api import GrpcOptions, GrpcServer, Services
from tfserving.server.inference import Inference
from tfserving.server.loader import Loader
from tfserving.server.manager import LoadSettings, Manager
from tfserving.server.metrics import Metrics
from tfserving.server.source import FileSystemSource
from tfserving.server.states import StateMonitor
from tfserving.server.status import StatusError, invalid
from tfserving.wire import messages_pb2 as m

_log = logging.getLogger("tfserving.server")

DRAIN_SECONDS = 25.0
"""How long requests in flight may take after SIGTERM; below Kubernetes' default grace period of 30 s."""


@dataclass(frozen=True, kw_only=True)
class Server:
    """A server whose models are loaded and whose ports are open."""

    core: ModelCore
    grpc: GrpcServer
    stopping: threading.Event

    def wait(self) -> None:
        """Serve until SIGTERM or SIGINT, then refuse new requests, finish those in flight, and return."""
        while not self.stopping.wait(1.0):
            pass
        _log.info("Draining: no new requests, up to %.0f s for those in flight", DRAIN_SECONDS)
        self.core.stop()
        self.grpc.stop(DRAIN_SECONDS)
        _log.info("Drained")


def start(line: CommandLine) -> Server:
    """Load the models, then open the ports. Blocks until every model has a version. Errors: StatusError."""
    settings.check_ports_and_models(line)
    options = GrpcOptions(
        max_threads=max(1, line.integer("grpc_max_threads", 4 * settings.cpus())),
        typed_values=not line.on("enable_serialization_as_tensor_content"),
        health=line.on("enable_grpc_healthcheck_service"),
        profiler=line.on("enable_profiler"),
    )
    config = settings.initial_config(line)
    credentials = _credentials(line.text("ssl_config_file"))
    arguments = [(a.name, a.value) for a in settings.channel_arguments(line)]
    stopping = threading.Event()
    metrics = Metrics()
    core = _build_core(line)
    _handle_signals(stopping, core)
    inference = Inference(core, metrics, check_method=line.on("enable_signature_method_name_check"))
    core.reload(config)
    server = GrpcServer(Services(inference, core, metrics, options), options, arguments)
    if line.integer("port"):
        server.listen(f"0.0.0.0:{line.integer('port')}", credentials)
    if line.text("grpc_socket_path"):
        server.listen(f"unix:{line.text('grpc_socket_path')}", credentials)
    server.start()
    _log.info("Running gRPC ModelServer at 0.0.0.0:%d ...", line.integer("port"))
    poll = line.integer("model_config_file_poll_wait_seconds")
    if poll > 0 and line.text("model_config_file"):
        args = (core, line.text("model_config_file"), poll, stopping)
        threading.Thread(target=_poll_config, args=args, name="config-poll", daemon=True).start()
    return Server(core=core, grpc=server, stopping=stopping)


def _build_core(line: CommandLine) -> ModelCore:
    monitor = StateMonitor()
    loader = Loader(tags=line.text("saved_model_tags").split(","), config=settings.session_config(line))
    manager = Manager(
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


def _credentials(path: str) -> grpc.ServerCredentials | None:
    if not path:
        return None
    ssl = textfiles.read(path, m.SSLConfig)
    if not ssl.server_key or not ssl.server_cert:
        raise invalid(f"{path}: server_key and server_cert must hold PEM text")
    if ssl.client_verify and not ssl.custom_ca:
        raise invalid(f"{path}: client_verify needs custom_ca, the PEM text of the CA that signed the clients")
    pair = (ssl.server_key.encode(), ssl.server_cert.encode())
    return grpc.ssl_server_credentials([pair], ssl.custom_ca.encode() or None, ssl.client_verify)


def _handle_signals(stopping: threading.Event, core: ModelCore) -> None:
    """Before the ports are open there is nothing to drain: the process ends at once."""

    def stop(number: int, frame: object) -> None:
        del number, frame
        if stopping.is_set():
            os._exit(1)
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
