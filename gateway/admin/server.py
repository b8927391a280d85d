"""The process that serves the admin port: `python server.py LISTENER LINK`, two file descriptors.

It is a process of its own so that a probe waits neither for the event loop nor for the interpreter lock of the gateway.
Its responses come over the link from the gateway: health several times a second, and every other page when somebody
asks for it. A page that the gateway does not deliver at once is replaced by the one it delivered before, with its
`age`, unless the request says `cache-control: no-cache`. The process ends when the link does: with the gateway.

Standard library only, and nothing of this package: it starts in milliseconds and needs little memory.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import sys
import threading
import time
from collections import OrderedDict
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final

LIVE, READY = "/livez", "/readyz"
FRESH: Final = "/labels"
"""Asks the model servers, so it is never answered from memory."""
STUCK_SECONDS: Final = 120.0
"""A gateway whose event loop did not turn for so long hangs, and /livez says so. No request takes nearly as long."""
PAGE_PATIENCE: Final = 0.03
"""Seconds for the gateway to deliver a page of which there is an older one."""
FRESH_PATIENCE: Final = 4.0
"""Seconds for the gateway to deliver a page of which there is none."""
SILENT_SECONDS: Final = 1.0
"""Seconds without a sign of the event loop after which it is not waited for."""
PAGES_KEPT: Final = 64
"""Pages that are remembered, and that may be asked for at a time."""
CONNECTIONS_MAX: Final = 64
"""Connections that may be open."""
TRY: Final = "/try"
"""Before the path of a prediction that the page asks for."""
TRY_PATIENCE: Final = 30.0
BODY_BYTES_MAX: Final = 1024 * 1024
"""Bytes of a body that the page sends."""
PATH_BYTES_MAX: Final = 1024
"""Bytes of a path."""
IDLE_SECONDS: Final = 10.0
"""A connection that sends nothing for so long is closed."""
JSON: Final = "application/json"


def write_frame(fields: dict[str, Any], body: bytes = b"") -> bytes:
    """A message of the link: the sizes of both parts, JSON, bytes."""
    head = json.dumps(fields).encode()
    return len(head).to_bytes(4, "big") + len(body).to_bytes(4, "big") + head + body


def sizes(prefix: bytes) -> tuple[int, int]:
    """Of a frame, from its first eight bytes: bytes of JSON, bytes after it."""
    return int.from_bytes(prefix[:4], "big"), int.from_bytes(prefix[4:], "big")


def read_head(head: bytes) -> dict[str, Any]:
    """The JSON of a frame."""
    fields: dict[str, Any] = json.loads(head)
    return fields


class Page:
    """A response of the gateway, and when it came (monotonic)."""

    __slots__ = ("at", "body", "kind", "status")

    def __init__(self, status: int, kind: str, body: bytes, at: float) -> None:
        self.status, self.kind, self.body, self.at = status, kind, body, at


class Gateway:
    """The gateway as far as it is known here. Threads share it."""

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._pages: OrderedDict[str, Page] = OrderedDict()
        self._asked: dict[str, threading.Event] = {}
        self._lock = threading.Lock()
        self._unready: list[str] = ["the gateway is starting"]
        self._busy = False
        self._tried = 0
        self._seen = time.monotonic()

    def greet(self) -> None:
        """Say that the port is served."""
        self._link.sendall(write_frame({"started": True}))

    def listen(self) -> None:
        """Take what the gateway says until it is gone."""
        with self._link.makefile("rb") as stream:
            while len(prefix := stream.read(8)) == 8:
                head, body = (stream.read(size) for size in sizes(prefix))
                fields = read_head(head)
                self._seen = time.monotonic()
                if "unready" in fields:
                    self._unready, self._busy = fields["unready"], fields["busy"]
                else:
                    self._deliver(fields, body)

    def live(self) -> Page:
        """Whether the event loop has turned lately."""
        silent = time.monotonic() - self._seen
        if silent < STUCK_SECONDS:
            return _json(200, {"status": "alive"})
        return _json(503, {"status": "stuck", "seconds": round(silent)})

    def ready(self) -> Page:
        """Whether requests should be sent to the gateway."""
        missing = self._unready
        if missing:
            return _json(503, {"status": "not ready", "missing": missing})
        return _json(200, {"status": "ready"})

    def page(self, target: str, *, fresh: bool) -> Page | None:
        """The gateway's response for a path: a new one, else the one before; None when there is neither.

        With `fresh` only a new one will do, which the gateway was asked for after this call.
        """
        earlier = self._asked.get(target) if fresh else None
        if earlier is not None:
            earlier.wait(FRESH_PATIENCE)
        with self._lock:
            before = None if fresh else self._pages.get(target)
            answered = self._asked.get(target)
            if answered is None:
                if len(self._asked) >= PAGES_KEPT:
                    return before
                answered = self._asked[target] = threading.Event()
                self._link.sendall(write_frame({"ask": target}))
        if before is not None and (self._busy or time.monotonic() - self._seen > SILENT_SECONDS):
            return before
        delivered = answered.wait(FRESH_PATIENCE if before is None else PAGE_PATIENCE)
        return self._pages.get(target) if delivered else before

    def attempt(self, fields: dict[str, Any], body: bytes) -> Page | None:
        """The gateway's response to a request that a user tries on the page; it is not kept."""
        with self._lock:
            if len(self._asked) >= PAGES_KEPT:
                return None
            self._tried += 1
            name = f"{TRY} {self._tried}"
            answered = self._asked[name] = threading.Event()
            self._link.sendall(write_frame({"ask": name, **fields}, body))
        delivered = answered.wait(TRY_PATIENCE)
        with self._lock:
            page = self._pages.pop(name, None)
        return page if delivered else None

    def _deliver(self, fields: dict[str, Any], body: bytes) -> None:
        target = fields["target"]
        with self._lock:
            self._pages[target] = Page(fields["status"], fields["type"], body, self._seen)
            self._pages.move_to_end(target)
            if len(self._pages) > PAGES_KEPT:
                self._pages.popitem(last=False)
            answered = None if fields["pushed"] else self._asked.pop(target, None)
        if answered is not None:
            answered.set()


class Handler(BaseHTTPRequestHandler):
    """GET and HEAD of every page."""

    protocol_version = "HTTP/1.1"
    timeout = IDLE_SECONDS
    gateway: Gateway

    def do_GET(self) -> None:
        """Answer with a page."""
        target = self.path
        if len(target) > PATH_BYTES_MAX:
            page: Page | None = _json(414, {"error": f"a path has at most {PATH_BYTES_MAX} bytes here"})
        elif target == LIVE:
            page = self.gateway.live()
        elif target == READY:
            page = self.gateway.ready()
        else:
            fresh = target == FRESH or "no-cache" in self.headers.get("cache-control", "")
            page = self.gateway.page(target, fresh=fresh)
        if page is None:
            page = _json(503, {"error": f"the gateway is too busy for {self.command} {target}; try later"})
        self._write(page)

    def do_HEAD(self) -> None:
        """As GET, without the body."""
        self.do_GET()

    def do_POST(self) -> None:
        """Pass on what a user tries on the page; refuse anything else, as nothing can be changed here."""
        self.close_connection = True  # a body may follow
        if self.command == "POST" and self.path.startswith(f"{TRY}/"):
            self._write(self._tried())
            return
        self._write(_json(405, {"error": f"{self.command} is not allowed here, only GET and HEAD"}))

    def _tried(self) -> Page:
        """A page of another site cannot send JSON here: its browser would ask first, which is refused."""
        length = self.headers.get("content-length", "")
        if self.headers.get_content_type() != JSON or not length.isdecimal():
            return _json(415, {"error": "expected JSON with its length"})
        if int(length) > BODY_BYTES_MAX:
            return _json(413, {"error": f"the page sends at most {BODY_BYTES_MAX} bytes; use the public port"})
        fields = {"path": self.path.removeprefix(TRY), "key": self.headers.get("x-api-key", "")}
        page = self.gateway.attempt(fields, self.rfile.read(int(length)))
        return page or _json(503, {"error": "the gateway is too busy; try later"})

    def __getattr__(self, name: str) -> Any:
        """Other methods are refused in the same way."""
        if name.startswith("do_"):
            return self.do_POST
        raise AttributeError(name)

    def _write(self, page: Page) -> None:
        """The whole response at once: fewer packets, fewer chances to be put to sleep in between."""
        age = int(time.monotonic() - page.at)
        lines = [
            f"HTTP/1.1 {page.status} {self.responses.get(page.status, ('',))[0]}",
            f"content-type: {page.kind}",
            f"content-length: {len(page.body)}",
            "x-content-type-options: nosniff",
            "cache-control: no-store",
            *([f"age: {age}"] if age else []),
            *(["retry-after: 1"] if page.status == 503 else []),
            *(["allow: GET, HEAD"] if page.status == 405 else []),
            *(["connection: close"] if self.close_connection else []),
        ]
        head = "\r\n".join([*lines, "", ""]).encode("latin-1")
        self.wfile.write(head if self.command == "HEAD" else head + page.body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Probes come every second: log nothing."""


class Server(ThreadingHTTPServer):
    """One thread per connection, and no more than `CONNECTIONS_MAX` of them."""

    daemon_threads = True

    def __init__(self, listener: socket.socket, gateway: Gateway) -> None:
        handler = type("BoundHandler", (Handler,), {"gateway": gateway})
        super().__init__(("", 0), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self._places = threading.Semaphore(CONNECTIONS_MAX)

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._places.acquire(blocking=False):
            request.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that left is no news."""


def _json(status: int, content: object) -> Page:
    return Page(status, JSON, json.dumps(content).encode(), time.monotonic())


def main(listener_fd: int, link_fd: int) -> None:
    """Serve until the gateway is gone. Signals are the gateway's business: it closes the link when it has finished."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    gateway = Gateway(socket.socket(fileno=link_fd))
    server = Server(socket.socket(fileno=listener_fd), gateway)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    gateway.greet()
    with contextlib.suppress(OSError):  # the gateway was killed
        gateway.listen()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
