"""A gateway or a model server with a library in place of own code, to be measured beside the real one.

`python -m bench.libraries.variants VARIANT ARGUMENT...` runs it with the arguments of the real one.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import prometheus_client
import uvicorn.protocols.http.httptools_impl as uvicorns

REGISTRY = prometheus_client.CollectorRegistry()


class Children:
    """The labelled parts of one metric of prometheus_client, which is quicker to ask here than to ask the library."""

    def __init__(self, metric: Any, labels: tuple[str, ...]) -> None:
        self._metric = metric
        self._children: dict[tuple[str, ...], Any] = {} if labels else {(): metric}

    def of(self, labels: tuple[str, ...]) -> Any:
        child = self._children.get(labels)
        if child is None:
            child = self._children[labels] = self._metric.labels(*labels)
        return child


class GatewayCounter:
    """`gateway.observe.metrics.Counter` by prometheus_client."""

    def __init__(self, name: str, text: str, *labels: str) -> None:
        self._children = Children(prometheus_client.Counter(name, text, labels, registry=REGISTRY), labels)

    def add(self, *labels: str, amount: float = 1) -> None:
        self._children.of(labels).inc(amount)


class GatewayHistogram:
    """`gateway.observe.metrics.Histogram` by prometheus_client."""

    def __init__(self, name: str, text: str, bounds: tuple[float, ...], *labels: str) -> None:
        metric = prometheus_client.Histogram(name, text, labels, buckets=bounds, registry=REGISTRY)
        self._children = Children(metric, labels)

    def observe(self, value: float, *labels: str) -> None:
        self._children.of(labels).observe(value)


GATEWAY_COUNTS = patch.multiple("gateway.observe.metrics", Counter=GatewayCounter, Histogram=GatewayHistogram)


class ServerCounter(GatewayCounter):
    """`tfserving.server.metrics.Counter` by prometheus_client."""

    def __init__(self, name: str, labels: tuple[str, ...]) -> None:
        super().__init__(name.replace("/", ":"), "-", *labels)
        self.name = name

    def add(self, amount: int, *labels: str) -> None:  # type: ignore[override]
        self._children.of(labels).inc(amount)


class ServerHistogram(GatewayHistogram):
    """`tfserving.server.metrics.Histogram` by prometheus_client."""

    def __init__(self, name: str, labels: tuple[str, ...], bounds: tuple[float, ...]) -> None:
        super().__init__(name.replace("/", ":"), "-", bounds, *labels)
        self.name = name


def gateway_metrics() -> Callable[[list[str]], int]:
    """The gateway, counting by prometheus_client."""
    from gateway.__main__ import main

    GATEWAY_COUNTS.start()
    return main


def gateway_http() -> Callable[[list[str]], int]:
    """The gateway with uvicorn's HTTP protocol as it is."""
    from gateway.__main__ import main

    def protocol(*, timers: object, **given: Any) -> Any:
        del timers
        return uvicorns.HttpToolsProtocol(**given)

    patch("gateway.lifecycle.Protocol", protocol).start()
    return main


def bare(own: bool) -> Callable[[list[str]], int]:
    """An application that does nothing, under uvicorn with this project's protocol or its own."""
    import asyncio

    import uvicorn

    from gateway.listen.http_protocol import Protocol
    from gateway.timers import Timers

    async def application(scope: Any, receive: Any, send: Any) -> None:
        del scope
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"{}"})

    async def serve(port: int) -> None:
        idle = Timers(asyncio.get_running_loop(), slack=1.0)
        http: Any = partial(Protocol, timers=idle) if own else uvicorns.HttpToolsProtocol
        await uvicorn.Server(
            uvicorn.Config(application, port=port, http=http, ws="none", lifespan="off", log_level="error")
        ).serve()

    def main(arguments: list[str]) -> int:
        import uvloop

        uvloop.run(serve(int(arguments[0])))
        return 0

    return main


def server_metrics() -> Callable[[list[str]], int]:
    """The embedded model server, counting by prometheus_client."""
    from tfserving.server.__main__ import main

    patch.multiple("tfserving.server.metrics", Counter=ServerCounter, Histogram=ServerHistogram).start()
    return main


VARIANTS: dict[str, Callable[[], Callable[[list[str]], int]]] = {
    "gateway-metrics": gateway_metrics,
    "gateway-http": gateway_http,
    "server-metrics": server_metrics,
    "bare-own": lambda: bare(own=True),
    "bare-http": lambda: bare(own=False),
}

if __name__ == "__main__":
    sys.exit(VARIANTS[sys.argv[1]]()(sys.argv[2:]))
