"""The hands of `deployer publish` inside a cluster: a tiny HTTP server over the directory of a model store.

This file is sent as it is to a pod that mounts the claim, and runs there on any Python from 3.8 on, so it uses the
standard library and nothing of ours. What is decided (which files, whether they are right) is decided by the caller;
here is only what has to happen beside the disk. Nothing that TensorFlow Serving can see is ever written: files go below
`<model>/.staging-*`, and one rename gives that directory its number.

Every request carries a token whose sha256 the agent was started with. It ends by itself when nobody has asked anything
for a while, so that a caller that was killed leaves no pod running.

    GET  /list?path=P             entries of a directory: name, directory, size, modified
    GET  /digest?path=P           size and sha256 of a file
    GET  /content?path=P          the bytes of a file
    POST /stage?path=S            make a staging directory, or find it
    PUT  /content?path=S/F&offset=N   cut the file at N and add the body
    POST /publish?path=S&version=N    flush S to the disk and rename it to N; 409 when N exists
    POST /discard?path=S          delete a staging directory
Answers are JSON; errors are {"error": …} with 400, 403, 404, 409 500 or 507.
"""

from __future__ import annotations

import errno
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

TOKEN_HEADER = "x-storage-token"
CHUNK = 1 << 20

_STAGING = re.compile(r"[^/]+/\.staging-[0-9]+-[0-9a-f]{16}")
_STATUS = {errno.ENOENT: 404, errno.EEXIST: 409, errno.ENOTEMPTY: 409, errno.ENOSPC: 507, errno.EDQUOT: 507}


class Refusal(Exception):
    """A request that is not answered; `status` is HTTP's."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Store:
    """The directory of a store, reached by paths that cannot leave it."""

    def __init__(self, root: str) -> None:
        self.root = root

    def entries(self, path: str) -> list[dict[str, object]]:
        """The entries of a directory, by name."""
        with os.scandir(self._below(path)) as entries:
            found = sorted(entries, key=lambda entry: entry.name)
        return [
            {
                "name": entry.name,
                "directory": entry.is_dir(),
                "size": entry.stat().st_size,
                "modified": entry.stat().st_mtime,
            }
            for entry in found
        ]

    def digest(self, path: str) -> dict[str, object]:
        """Size and sha256 of a file."""
        digest, size = hashlib.sha256(), 0
        with open(self._below(path), "rb") as file:
            while chunk := file.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
        return {"size": size, "sha256": digest.hexdigest()}

    def read(self, path: str) -> bytes:
        """The bytes of a file."""
        with open(self._below(path), "rb") as file:
            return file.read()

    def stage(self, path: str) -> dict[str, object]:
        """Make a staging directory; one that is there is kept, so that an interrupted copy goes on."""
        os.makedirs(self._staging(path), exist_ok=True)
        return {}

    def write(self, path: str, offset: int, body: bytes) -> dict[str, object]:
        """Cut a file of a staging directory at `offset` and add `body`."""
        staging, _, inside = path.partition("/.staging-")
        folder, _, rest = inside.partition("/")
        self._staging(f"{staging}/.staging-{folder}")
        if not rest:
            raise Refusal(400, f"{path!r} names no file in a staging directory")
        target = self._below(path)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        with open(target, "r+b" if offset else "wb") as file:
            if os.fstat(file.fileno()).st_size < offset:
                raise Refusal(409, f"{path!r} is shorter than {offset} bytes")
            file.truncate(offset)
            file.seek(offset)
            file.write(body)
        return {}

    def publish(self, path: str, version: int) -> dict[str, object]:
        """Flush a staging directory to the disk, files first, and give it its number by one rename."""
        staging = self._staging(path)
        model = os.path.dirname(staging)
        for folder, _, names in os.walk(staging, topdown=False):
            for name in [*names, "."]:
                _sync(os.path.join(folder, name))
        target = os.path.join(model, str(version))
        if os.path.lexists(target):
            raise Refusal(409, f"version {version} exists")
        os.rename(staging, target)  # a directory that has appeared since is not replaced: it is not empty
        _sync(model)
        _sync(self.root)
        return {}

    def discard(self, path: str) -> dict[str, object]:
        """Delete a staging directory."""
        shutil.rmtree(self._staging(path))
        return {}

    def _staging(self, path: str) -> str:
        if not _STAGING.fullmatch(path):
            raise Refusal(400, f"{path!r} is not a staging directory")
        return self._below(path)

    def _below(self, path: str) -> str:
        parts = path.split("/") if path else []
        if any(part in ("", ".", "..") for part in parts):
            raise Refusal(400, f"{path!r} is not a path inside the store")
        return os.path.join(self.root, *parts)


def _sync(path: str) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class Server(ThreadingHTTPServer):
    """The server, with what its handlers share."""

    daemon_threads = True

    def __init__(self, host: str, port: int, store: Store, token_sha256: str) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, port), Handler)
        self.store = store
        self.token_sha256 = token_sha256
        self.busy = 0
        self.asked = time.monotonic()
        self.lock = threading.Lock()

    def idle(self) -> float:
        """Seconds since the last request was answered; 0 while one is worked on."""
        with self.lock:
            return 0.0 if self.busy else time.monotonic() - self.asked

    def count(self, change: int) -> None:
        """One request more, or one less."""
        with self.lock:
            self.busy += change
            self.asked = time.monotonic()


class Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    server: Server

    def do_GET(self) -> None:
        self._answer({"/list": Store.entries, "/digest": Store.digest, "/content": Store.read})

    def do_PUT(self) -> None:
        self._answer({"/content": Store.write})

    def do_POST(self) -> None:
        self._answer({"/stage": Store.stage, "/publish": Store.publish, "/discard": Store.discard})

    def _answer(self, calls: Mapping[str, Callable[..., object]]) -> None:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        self.server.count(+1)
        said: object
        try:
            status, said = 200, self._call(calls, body)
        except Refusal as error:
            status, said = error.status, {"error": str(error)}
        except OSError as error:
            status, said = _STATUS.get(error.errno or 0, 500), {"error": str(error)}
        finally:
            self.server.count(-1)
        content = said if isinstance(said, bytes) else json.dumps(said).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _call(self, calls: Mapping[str, Callable[..., object]], body: bytes) -> object:
        token = hashlib.sha256(self.headers.get(TOKEN_HEADER, "").encode()).hexdigest()
        if not hmac.compare_digest(token, self.server.token_sha256):
            raise Refusal(403, f"the header {TOKEN_HEADER} is missing or wrong")
        url = urlsplit(self.path)
        if url.path not in calls:
            raise Refusal(404, f"there is no {self.command} {url.path}")
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        arguments: list[object] = [asked.get("path", "")]
        try:
            arguments += [int(asked[name]) for name in ("offset", "version") if name in asked]
        except ValueError:
            raise Refusal(400, "offset and version are whole numbers") from None
        if self.command == "PUT":
            arguments.append(body)
        return calls[url.path](self.server.store, *arguments)

    def log_message(self, format: str, *arguments: object) -> None:
        """Nothing: the caller knows what it asked, and a log line for each chunk helps nobody."""


def main(arguments: list[str]) -> int:
    """`ROOT HOST PORT TOKEN_SHA256 IDLE_SECONDS`; prints the port and serves until it is idle for too long."""
    root, host, port, token_sha256, idle = arguments
    os.umask(0o022)  # servers may run as another user, and only read
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    server = Server(host, int(port), Store(root), token_sha256)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_address[1]}\n")
    sys.stdout.flush()
    while server.idle() < float(idle):
        time.sleep(min(1.0, float(idle) / 4))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
