"""A port on this machine behind which requests go to the gateways, through the API server.

It serves a person's own requests (`deployer predict`). Load never goes through it: that would measure the API server.
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

TIMEOUT = 60.0
PASSED_ON = ("x-request-id", "x-request-timeout-ms")


class Post(Protocol):
    """Sends one request to a pod."""

    def __call__(
        self, name: str, path: str, body: bytes | None, *, timeout: float, headers: dict[str, str]
    ) -> HttpReply: ...


@contextmanager
def bridge(post: Post, pods: Callable[[], Sequence[str]]) -> Iterator[str]:
    """The base URL of a port that is open for as long as the context lasts.

    `pods` names the pods that requests take turns on; it is called once. Errors: TargetError when it names none.
    """
    names = pods()
    if not names:
        raise TargetError("no gateway of the release is ready", hint="`deployer status` shows what is")
    turns = itertools.cycle(names)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._pass_on(None)

        def do_POST(self) -> None:
            self._pass_on(self.rfile.read(int(self.headers.get("content-length", 0))))

        def _pass_on(self, body: bytes | None) -> None:
            headers = {name: value for name in PASSED_ON if (value := self.headers.get(name))}
            try:
                reply = post(next(turns), self.path, body, timeout=TIMEOUT, headers=headers)
            except DeployerError as error:
                reply = HttpReply(status=502, body=error.message.encode())
            self.send_response(reply.status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Nothing: what goes wrong is in the answers."""

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
