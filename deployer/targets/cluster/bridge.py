"""A local port that forwards requests to the gateways through the API server.

It is for single requests (`deployer predict`), not for load: that would measure the API server.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from deployer.errors import DeployerError, TargetError
from deployer.targets.base import HttpReply

FORWARD_TIMEOUT = 60.0
FORWARDED_HEADERS = ("x-request-id", "x-request-timeout-ms", "x-api-key", "x-no-sampling")


class Post(Protocol):
    """Sends one request to a pod."""

    def __call__(
        self, name: str, path: str, body: bytes | None, *, timeout: float, headers: dict[str, str]
    ) -> HttpReply: ...


@contextmanager
def bridge(post: Post, pods: Callable[[], Sequence[str]]) -> Iterator[str]:
    """Open the port while the context is open; yields its base URL.

    `pods` returns the pod names for round-robin; it is called once. Errors: TargetError when there are none.
    """
    names = pods()
    if not names:
        raise TargetError("no gateway of the release is ready", hint="`deployer status` shows their state")
    round_robin = itertools.cycle(names)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._forward(None)

        def do_POST(self) -> None:
            self._forward(self.rfile.read(int(self.headers.get("content-length", 0))))

        def _forward(self, body: bytes | None) -> None:
            headers = {name: value for name in FORWARDED_HEADERS if (value := self.headers.get(name))}
            try:
                reply = post(next(round_robin), self.path, body, timeout=FORWARD_TIMEOUT, headers=headers)
            except DeployerError as error:
                reply = HttpReply(status=502, body=error.message.encode())
            self.send_response(reply.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing: errors are in the responses."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
