"""An OCI registry on the loopback interface: as much of the distribution protocol as `helm push` and `pull` use."""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

_PATH = re.compile(r"/v2/(?P<name>.+)/(?P<kind>blobs|manifests)/(?P<what>[^/]+/?[^/]*)")


class LoopbackRegistry(ThreadingHTTPServer):
    """Blobs and manifests by name and digest, and tags; all in memory."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.uploads: dict[str, bytes] = {}

    @property
    def address(self) -> str:
        """HOST:PORT."""
        return f"127.0.0.1:{self.server_address[1]}"


@contextmanager
def registry() -> Iterator[LoopbackRegistry]:
    """A registry for as long as the context lasts."""
    with LoopbackRegistry() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield server
        finally:
            server.shutdown()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: LoopbackRegistry

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        if url.path == "/v2/":
            self._answer(200)
            return
        match = _PATH.fullmatch(url.path)
        found = self.server.content.get((match["name"], match["what"])) if match else None
        if found is None:
            self._answer(404, json.dumps({"errors": [{"code": "NOT_FOUND"}]}).encode())
        else:
            kind, body = found
            self._answer(200, body, {"Content-Type": kind, "Docker-Content-Digest": _digest(body)})

    do_HEAD = do_GET  # noqa: N815  # the name is that of http.server

    def do_POST(self) -> None:
        self._read()
        upload = secrets.token_hex(8)
        self.server.uploads[upload] = b""
        self._answer(202, headers={"Location": f"{urlsplit(self.path).path}{upload}"})

    def do_PATCH(self) -> None:
        self.server.uploads[urlsplit(self.path).path.rpartition("/")[2]] += self._read()
        self._answer(202, headers={"Location": self.path})

    def do_PUT(self) -> None:
        url, body = urlsplit(self.path), self._read()
        match = _PATH.fullmatch(url.path)
        assert match is not None
        kind = self.headers.get("Content-Type", "application/octet-stream")
        keys = [match["what"]]
        if match["kind"] == "blobs":
            body = self.server.uploads.pop(match["what"].rpartition("/")[2]) + body
            keys = parse_qs(url.query)["digest"]
            assert keys == [_digest(body)]
        for key in (*keys, _digest(body)):
            self.server.content[(match["name"], key)] = (kind, body)
        self._answer(201, headers={"Location": url.path, "Docker-Content-Digest": _digest(body)})

    def _read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def _answer(self, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing."""


def _digest(body: bytes) -> str:
    return f"sha256:{hashlib.sha256(body).hexdigest()}"
