"""The hands of `deployer publish` inside a cluster: a tiny HTTP server over the directory of a model store.

This file is sent as it is, with that of its server, to a pod that mounts the claim, and runs there on any Python from
3.8 on, so it uses the standard library and nothing else of ours. What is decided (which files, whether they are right)
is decided by the caller; here is only what has to happen beside the disk. Nothing that TensorFlow Serving can see is
ever written: files go below `<model>/.staging-*`, one rename gives that directory its number, and one takes it away.

    GET  /list?path=P             entries of a directory: name, directory, size, modified
    GET  /digest?path=P           size and sha256 of a file
    GET  /content?path=P          the bytes of a file
    POST /stage?path=S            make a staging directory, or find it
    PUT  /content?path=S/F&offset=N   cut the file at N and add the body
    POST /publish?path=S&version=N    flush S to the disk and rename it to N; 409 when N exists
    POST /remove?path=V           take a version away by one rename, then delete its files
    POST /discard?path=S          delete a staging directory, or what is left of a removed version
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
CHUNK = 1 << 20

_STAGING = re.compile(r"[^/]+/\.staging-[0-9]+-[0-9a-f]{16}")
_REMOVED = re.compile(r"[^/]+/\.removed-[0-9]+-[0-9a-f]{16}")
_VERSION = re.compile(r"[^/.][^/]*/\+?([0-9]+)")


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
        staging, _, below = path.partition("/.staging-")
        folder, _, rest = below.partition("/")
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

    def remove(self, path: str) -> dict[str, object]:
        """Take a version away by one rename, then delete its files: no server ever sees a half of it."""
        match = _VERSION.fullmatch(path)
        if not match:
            raise Refusal(400, f"{path!r} is no version")
        version = self._below(path)
        model = os.path.dirname(version)
        gone = os.path.join(model, f".removed-{int(match[1])}-{secrets.token_hex(8)}")
        os.rename(version, gone)
        _sync(model)
        shutil.rmtree(gone)
        return {}

    def discard(self, path: str) -> dict[str, object]:
        """Delete a staging directory, or what is left of a removed version."""
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
    """`ROOT HOST PORT TOKEN_SHA256 IDLE_SECONDS`; prints the port and serves until it is idle for too long."""
    root, host, port, token_sha256, idle = arguments
    os.umask(0o022)  # servers may run as another user, and only read
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    store = Store(root)
    routes = {
        "GET /list": lambda asked: store.entries(asked.text("path")),
        "GET /digest": lambda asked: store.digest(asked.text("path")),
        "GET /content": lambda asked: store.read(asked.text("path")),
        "PUT /content": lambda asked: store.write(asked.text("path"), asked.number("offset"), asked.body),
        "POST /stage": lambda asked: store.stage(asked.text("path")),
        "POST /publish": lambda asked: store.publish(asked.text("path"), asked.number("version")),
        "POST /remove": lambda asked: store.remove(asked.text("path")),
        "POST /discard": lambda asked: store.discard(asked.text("path")),
    }
    server = AgentServer(host, int(port), routes, header=TOKEN_HEADER, token_sha256=token_sha256)
    server.serve_while_asked(float(idle))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
