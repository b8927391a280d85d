"""The HTTP server of the two agents, storage and load, that run in a pod while their deployer sends requests.

It only uses the standard library of Python 3.8, because the storage agent is sent as source text to any image that has
Python. Every request carries a token; the agent was started with its sha256. An agent without requests for a while
exits, so that a deployer that was killed leaves nothing running.

Responses are JSON or raw bytes; errors are {"error": …} with 400, 403, 404, 409, 411, 500 or 507.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_STATUS = {errno.ENOENT: 404, errno.EEXIST: 409, errno.ENOTEMPTY: 409, errno.ENOSPC: 507, errno.EDQUOT: 507}


SILENT_SECONDS = 60
"""A connection that sends nothing for so long is closed."""


class Refusal(Exception):
    """A rejected request; `status` is the HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class AgentRequest:
    """One request: its query parameters and its body."""

    def __init__(self, fields: Mapping[str, str], body: bytes) -> None:
        self.fields = fields
        self.body = body

    def text(self, name: str) -> str:
        """A query parameter; empty if absent."""
        return self.fields.get(name, "")

    def number(self, name: str) -> int:
        """An integer query parameter; 0 if absent. Errors: Refusal."""
        try:
            return int(self.fields.get(name, "0"))
        except ValueError:
            raise Refusal(400, f"{name} must be an integer") from None


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


class AgentServer(ThreadingHTTPServer):
    """Serves `routes`: "GET /list" to a function of the request; `encode` turns its result into JSON.

    The token is read from the header `header`.
    """

    daemon_threads = True

    def __init__(
        self,
        host: str,
        port: int,
        routes: Mapping[str, Callable[[AgentRequest], object]],
        *,
        header: str,
        token_sha256: str,
        encode: Callable[[object], bytes] = _json,
    ) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), _Handler)
        self.routes = routes
        self.header = header
        self.token_sha256 = token_sha256
        self.encode = encode
        self._busy = 0
        self._last_request = time.monotonic()
        self._lock = threading.Lock()

    def serve_until_idle(self, idle: float) -> None:
        """Print the port, and serve until there was no request for `idle` seconds."""
        threading.Thread(target=self.serve_forever, daemon=True).start()
        sys.stdout.write(f"{self.server_address[1]}\n")
        sys.stdout.flush()
        while self.idle() < idle:
            time.sleep(min(1.0, idle / 4))

    def idle(self) -> float:
        """Seconds since the last request finished; 0 while a request is in progress."""
        with self._lock:
            return 0.0 if self._busy else time.monotonic() - self._last_request

    def count(self, change: int) -> None:
        """Count a request that starts (+1) or ends (-1)."""
        with self._lock:
            self._busy += change
            self._last_request = time.monotonic()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = SILENT_SECONDS
    server: AgentServer

    def do_GET(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        # Whoever has no token is sent away before the body is read, and does not keep the agent alive.
        token = hashlib.sha256(self.headers.get(self.server.header, "").encode()).hexdigest()
        if not hmac.compare_digest(token, self.server.token_sha256):
            self.close_connection = True
            self._reply(403, _json({"error": f"the header {self.server.header} is missing or wrong"}))
            return
        self.server.count(+1)  # from here on: an upload may take as long as it moves
        try:
            status, reply = 200, self._call(self._body())
        except TimeoutError:
            self.close_connection = True
            return
        except Refusal as error:
            status, reply = error.status, _json({"error": str(error)})
        except OSError as error:
            status, reply = _STATUS.get(error.errno or 0, 500), _json({"error": str(error)})
        finally:
            self.server.count(-1)
        self._reply(status, reply)

    def _body(self) -> bytes:
        """The body, whole. Errors: Refusal; socket.timeout."""
        length = self.headers.get("content-length", "0")
        if "transfer-encoding" in self.headers or not length.isdecimal():
            self.close_connection = True
            raise Refusal(411, "a body needs a content-length")
        body = self.rfile.read(int(length))
        if len(body) < int(length):
            self.close_connection = True
            raise Refusal(400, "the body is shorter than its content-length")
        return body

    def _reply(self, status: int, reply: bytes) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def _call(self, body: bytes) -> bytes:
        url = urlsplit(self.path)
        route = f"{self.command} {url.path}"
        if route not in self.server.routes:
            raise Refusal(404, f"unknown route {route}")
        fields = {name: values[0] for name, values in parse_qs(url.query).items()}
        reply = self.server.routes[route](AgentRequest(fields, body))
        return reply if isinstance(reply, bytes) else self.server.encode(reply)

    def log_message(self, format: str, *arguments: object) -> None:
        """Log nothing: a line for each chunk would help nobody."""
