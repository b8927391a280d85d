"""The storage agent of `deployer publish` in a cluster: a small HTTP server for the directory of a model store.

This file and agents/server.py are sent as source text to a pod that mounts the PVC. They run on any Python since 3.8
and only use the standard library. The caller makes all decisions (which files, whether they are correct); the agent
only does the disk operations. TensorFlow Serving never sees a partial version: files are written below
`<model>/.staging-*`, one rename publishes that directory under its number, and one rename removes it.

    GET  /list?path=P             entries of a directory: name, directory, size, modified
    GET  /digest?path=P           size and sha256 of a file
    GET  /content?path=P          the bytes of a file
    POST /stage?path=S            create a staging directory, or keep it if it exists
    PUT  /content?path=S/F&offset=N   truncate the file at N and append the body
    POST /publish?path=S&version=N    flush S to the disk and rename it to N; 409 when N exists
    POST /remove?path=V           remove a version by one rename, then delete its files
    POST /discard?path=S          delete a staging directory, or the rest of a removed version
"""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
import signal
import sys

from deployer.targets.agents.server import AgentServer, Refusal

TOKEN_HEADER = "x-storage-token"
READ_CHUNK_BYTES = 1 << 20

_STAGING = re.compile(r"[^/]+/\.staging-[0-9]+-[0-9a-f]{16}")
_REMOVED = re.compile(r"[^/]+/\.removed-[0-9]+-[0-9a-f]{16}")
_VERSION = re.compile(r"[^/.][^/]*/\+?([0-9]+)")


class Store:
    """The directory of a store; paths cannot point outside of it."""

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
            while chunk := file.read(READ_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
        return {"size": size, "sha256": digest.hexdigest()}

    def read(self, path: str) -> bytes:
        """The bytes of a file."""
        with open(self._below(path), "rb") as file:
            return file.read()

    def stage(self, path: str) -> dict[str, object]:
        """Create a staging directory; an existing one is kept, so that an interrupted copy can continue."""
        os.makedirs(self._staging(path), exist_ok=True)
        return {}

    def write(self, path: str, offset: int, body: bytes) -> dict[str, object]:
        """Truncate a file of a staging directory at `offset` and append `body`."""
        staging, _, below = path.partition("/.staging-")
        folder, _, rest = below.partition("/")
        self._staging(f"{staging}/.staging-{folder}")
        if not rest:
            raise Refusal(400, f"{path!r} is not a file in a staging directory")
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
        """Flush a staging directory to the disk, files first, and rename it to its version number."""
        staging = self._staging(path)
        model = os.path.dirname(staging)
        for folder, _, names in os.walk(staging, topdown=False):
            for name in [*names, "."]:
                _sync(os.path.join(folder, name))
        target = os.path.join(model, str(version))
        if os.path.lexists(target):
            raise Refusal(409, f"version {version} exists")
        os.rename(staging, target)  # fails if the version was created meanwhile: that directory is not empty
        _sync(model)
        _sync(self.root)
        return {}

    def remove(self, path: str) -> dict[str, object]:
        """Remove a version by one rename, then delete its files: no server ever sees a part of it."""
        match = _VERSION.fullmatch(path)
        if not match:
            raise Refusal(400, f"{path!r} is not a version")
        version = self._below(path)
        model = os.path.dirname(version)
        removed = os.path.join(model, f".removed-{int(match[1])}-{secrets.token_hex(8)}")
        os.rename(version, removed)
        _sync(model)
        shutil.rmtree(removed)
        return {}

    def discard(self, path: str) -> dict[str, object]:
        """Delete a staging directory, or the rest of a removed version."""
        shutil.rmtree(self._below(path) if _REMOVED.fullmatch(path) else self._staging(path))
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


def main(arguments: list[str]) -> int:
    """`ROOT HOST PORT TOKEN_SHA256 IDLE_SECONDS`; prints the port and serves until idle for IDLE_SECONDS."""
    root, host, port, token_sha256, idle = arguments
    os.umask(0o022)  # model servers may run as another user; they only read
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    store = Store(root)
    routes = {
        "GET /list": lambda request: store.entries(request.text("path")),
        "GET /digest": lambda request: store.digest(request.text("path")),
        "GET /content": lambda request: store.read(request.text("path")),
        "PUT /content": lambda request: store.write(request.text("path"), request.number("offset"), request.body),
        "POST /stage": lambda request: store.stage(request.text("path")),
        "POST /publish": lambda request: store.publish(request.text("path"), request.number("version")),
        "POST /remove": lambda request: store.remove(request.text("path")),
        "POST /discard": lambda request: store.discard(request.text("path")),
    }
    server = AgentServer(host, int(port), routes, header=TOKEN_HEADER, token_sha256=token_sha256)
    server.serve_until_idle(float(idle))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
