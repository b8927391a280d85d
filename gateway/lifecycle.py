"""From the first config to the last response: start, watch the files, serve, drain.

On SIGTERM or SIGINT /readyz turns 503 and every response asks the client to close its connection, while new requests
are still accepted for `drain_seconds`: time for load balancers to notice. Then the gateway accepts no more connections,
finishes its requests, says in its log how many it accepted and completed, and ends with exit
code 0. A second signal skips the waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import uvicorn

from gateway.active import Active
from gateway.addresses import bracketed
from gateway.admin import routes
from gateway.admin.port import AdminPort
from gateway.app import App
from gateway.config_file import ConfigFile
from gateway.gateway import Gateway
from gateway.listen.draining import let_nobody_in
from gateway.listen.http_protocol import IDLE_SLACK, Protocol
from gateway.listen.sockets import PortTaken, listen
from gateway.observe.spans import Spans, SpansProblem, spans_of
from gateway.settings import SettingsError, Tls
from gateway.timers import Timers

if TYPE_CHECKING:
    from gateway.api.grpc.port import GrpcPort
    from gateway.listen.tls import ServerTls

log = logging.getLogger("gateway.lifecycle")

CONFIG_POLL_SECONDS: Final = 1.0
"""How often the config and the rates file are looked at."""
CLOSE_DELAY_SECONDS: Final = 0.5
"""Between the last connection let in and the closing of connections on which no request has come."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The command line. A port of 0 takes a free one."""

    config: Path
    host: str
    port: int
    admin_port: int
    grpc_port: int | None
    """None for no gRPC."""
    drain_seconds: float


class _Server(uvicorn.Server):  # type: ignore[misc]
    """uvicorn without its signal handlers, which would end the process by the signal instead of exit code 0, and with
    time for connections that were accepted last."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, but whoever was let in just before the door closed may still say what he came for.

        A listening socket that is closed resets the connections that wait in its queue. So first it stops hearing of
        new ones, and is closed when those of the queue have been accepted.
        """
        for listener in sockets or []:
            let_nobody_in(listener)
        await asyncio.sleep(CLOSE_DELAY_SECONDS)
        await super().shutdown(sockets)


async def run(options: Options, announce: Callable[[str, str, str | None], None]) -> None:
    """Serve until a signal comes. `announce` gets the URLs of the ports once requests are accepted; without gRPC the
    last is None.

    Errors: SettingsError for a bad first config, PortTaken.
    """
    config = ConfigFile(options.config)
    active = config.load()
    assert active is not None  # the first load sees a change
    gateway = Gateway(active, folder=options.config.parent)
    gateway.spans = _spans()
    tls = _tls(active.settings.tls, options.config.parent)
    signals = _Signals(
        gateway
    )  # before a port is open: the first process of a container ignores what it does not handle
    listener = listen(options.host, options.port)
    admin_listener = listen(options.host, options.admin_port)
    gateway.port = listener.getsockname()[1]
    app = App(gateway)
    admin = AdminPort(
        admin_listener, unready=gateway.unready, answer=partial(routes.answer, gateway), attempt=app.attempt
    )
    await admin.start()
    try:
        await gateway.start()
    except SettingsError:
        await admin.close()
        raise
    signals.admin = admin
    watcher = asyncio.create_task(_watch(gateway, config, tls), name="watch the config")
    idle = Timers(asyncio.get_running_loop(), slack=IDLE_SLACK)
    server = _Server(
        uvicorn.Config(
            app, loop="uvloop", http=partial(Protocol, timers=idle), ws="none", lifespan="off",
            access_log=False, log_config=None, proxy_headers=False, server_header=False, date_header=True,
            timeout_keep_alive=75, timeout_graceful_shutdown=_seconds_to_finish(gateway),
        )
    )  # fmt: skip
    if tls is not None:
        server.config.load()
        server.config.ssl = tls.context
    serving = asyncio.create_task(server.serve(sockets=[listener]), name="serve")
    grpc = await _serve_grpc(gateway, options, tls)
    admin.tell()
    announce(_url(listener, tls), _url(admin_listener), grpc[1] if grpc is not None else None)
    asked = asyncio.create_task(signals.first.wait())
    ended, _ = await asyncio.wait({asked, serving, watcher}, return_when=asyncio.FIRST_COMPLETED)
    if asked not in ended:
        await ended.pop()  # Neither ends by itself: this raises what went wrong.
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(signals.second.wait(), options.drain_seconds)
    server.should_exit = True
    closing = [serving, *([grpc[0].stop(_seconds_to_finish(gateway))] if grpc is not None else [])]
    await asyncio.gather(*closing)
    watcher.cancel()
    await admin.close()
    await gateway.close()
    await asyncio.to_thread(gateway.access_log.close)
    await asyncio.to_thread(gateway.sampler.close)
    if gateway.spans is not None:
        await asyncio.to_thread(gateway.spans.close)
    tally = gateway.tally
    log.info("requests accepted: %d, completed: %d, abandoned: %d", tally.accepted, tally.answered, tally.left)


async def _serve_grpc(gateway: Gateway, options: Options, tls: ServerTls | None) -> tuple[GrpcPort, str] | None:
    """The gRPC port and its address. Errors: PortTaken."""
    if options.grpc_port is None:
        return None
    from gateway.api.grpc.port import GrpcPort  # 20 MB that only this port needs

    port = GrpcPort(gateway)
    try:
        bound = await port.start(options.host, options.grpc_port, tls.grpc_credentials() if tls is not None else None)
    except OSError as error:
        raise PortTaken(str(error)) from error
    return port, f"{bracketed(options.host)}:{bound}"


def _seconds_to_finish(gateway: Gateway) -> int:
    """Every accepted request has a deadline, so waiting longer than the longest cannot help."""
    return gateway.active.settings.limits.timeout_ms // 1000 + 2


def _spans() -> Spans | None:
    """Spans as the variables of OpenTelemetry say. Errors: SettingsError."""
    try:
        return spans_of(os.environ)
    except SpansProblem as error:
        raise SettingsError(str(error)) from error


def _tls(settings: Tls | None, folder: Path) -> ServerTls | None:
    """The certificate of the public ports. Errors: SettingsError."""
    if settings is None:
        return None
    from gateway.listen.tls import ServerTls  # grpcio is 20 MB

    return ServerTls(settings, folder)


def _url(listener: socket.socket, tls: ServerTls | None = None) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "http" if tls is None else "https"
    return f"{scheme}://{bracketed(host)}:{port}"


class _Signals:
    """SIGTERM and SIGINT as events: the first asks for a drain, the second for no more waiting."""

    def __init__(self, gateway: Gateway) -> None:
        self.first, self.second = asyncio.Event(), asyncio.Event()
        self._gateway = gateway
        self.admin: AdminPort | None = None
        """What is told of the signal, once it is there."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._handle, number)

    def _handle(self, number: signal.Signals) -> None:
        (self.second if self.first.is_set() else self.first).set()
        self._gateway.draining = True
        if self.admin is not None:
            self.admin.tell()
        log.info("%s: draining", number.name)


async def _watch(gateway: Gateway, config: ConfigFile, tls: ServerTls | None) -> None:
    """Adopt the files when their content changes; a bad one leaves everything as it is."""
    while True:
        await asyncio.sleep(CONFIG_POLL_SECONDS)
        try:
            active = await asyncio.to_thread(config.load)
            if active is not None:
                await _adopt(gateway, config, active)
        except SettingsError as error:
            if gateway.config_error != str(error):
                gateway.config_error = str(error)
                gateway.metrics.reloads.add("bad")
                log.error("the config was rejected, the old one stays in force: %s", error)
        await gateway.door.refresh()
        if tls is not None:
            await asyncio.to_thread(tls.refresh)
            gateway.tls_problem = tls.problem


async def _adopt(gateway: Gateway, config: ConfigFile, active: Active) -> None:
    """Put a config in force. Errors: SettingsError when a file that it names cannot be read."""
    try:
        if active.settings.tls != gateway.active.settings.tls:
            raise SettingsError("tls: the section cannot be added or removed without a restart")
        await gateway.adopt(active)
    except SettingsError:
        config.forget()  # the file may come
        raise
    gateway.config_error = None
    gateway.metrics.reloads.add("ok")
    log.info("config %s is in force", active.hash)
