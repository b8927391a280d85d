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

import errno
import hashlib
import os
import re
import secrets
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO

from deployer.targets.agents.server import AgentServer, Refusal

TOKEN_HEADER = "x-storage-token"
READ_CHUNK_BYTES = 1 << 20

_STAGING = re.compile(r"[^/]+/\.staging-[0-9]+-[0-9a-f]{16}")
_REMOVED = re.compile(r"[^/]+/\.removed-[0-9]+-[0-9a-f]{16}")
_VERSION = re.compile(r"[^/.][^/]*/\+?([0-9]+)")


class Store:
    """The directory of a store. Paths cannot point outside of it: neither by `..` nor by a symbolic link on the volume,
    because every directory on the way is opened relative to the one before, and no link is followed."""

    def __init__(self, root: str) -> None:
        self.root = root

    def entries(self, path: str) -> list[dict[str, object]]:
        """The entries of a directory, by name. A link is an entry that is no directory."""
        with self._directory(path) as handle, os.scandir(handle) as entries:
            found = []
            for entry in sorted(entries, key=lambda entry: entry.name):
                facts = entry.stat(follow_symlinks=False)
                found.append(
                    {
                        "name": entry.name,
                        "directory": stat.S_ISDIR(facts.st_mode),
                        "size": facts.st_size,
                        "modified": facts.st_mtime,
                    }
                )
        return found

    def digest(self, path: str) -> dict[str, object]:
        """Size and sha256 of a file."""
        digest, size = hashlib.sha256(), 0
        with self._file(path, os.O_RDONLY) as file:
            while chunk := file.read(READ_CHUNK_BYTES):
                digest.update(chunk)
                size += len(chunk)
        return {"size": size, "sha256": digest.hexdigest()}

    def read(self, path: str) -> bytes:
        """The bytes of a file."""
        with self._file(path, os.O_RDONLY) as file:
            return file.read()

    def stage(self, path: str) -> dict[str, object]:
        """Create a staging directory; an existing one is kept, so that an interrupted copy can continue."""
        _require_staging(path)
        with self._directory(path, create=True):
            return {}

    def write(self, path: str, offset: int, body: bytes) -> dict[str, object]:
        """Truncate a file of a staging directory at `offset` and append `body`."""
        staging, _, below = path.partition("/.staging-")
        folder, _, rest = below.partition("/")
        _require_staging(f"{staging}/.staging-{folder}")
        if not rest:
            raise Refusal(400, f"{path!r} is not a file in a staging directory")
        with self._file(path, os.O_RDWR | (0 if offset else os.O_CREAT)) as file:
            if os.fstat(file.fileno()).st_size < offset:
                raise Refusal(409, f"{path!r} is shorter than {offset} bytes")
            file.truncate(offset)
            file.seek(offset)
            file.write(body)
        return {}

    def publish(self, path: str, version: int) -> dict[str, object]:
        """Flush a staging directory to the disk, files first, and rename it to its version number."""
        _require_staging(path)
        model, _, staging = path.rpartition("/")
        target = str(version)
        with self._directory(model) as parent:
            for _, folders, names, handle in os.fwalk(staging, topdown=False, dir_fd=parent):
                for name in [*names, *folders]:
                    _sync(name, handle)
            _sync(staging, parent)
            if _exists(target, parent):
                raise Refusal(409, f"version {version} exists")
            # Fails if the version was created meanwhile: that directory is not empty.
            os.rename(staging, target, src_dir_fd=parent, dst_dir_fd=parent)
            os.fsync(parent)
        with self._directory("") as root:
            os.fsync(root)
        return {}

    def remove(self, path: str) -> dict[str, object]:
        """Remove a version by one rename, then delete its files: no server ever sees a part of it."""
        match = _VERSION.fullmatch(path)
        if not match:
            raise Refusal(400, f"{path!r} is not a version")
        model, _, version = path.rpartition("/")
        removed = f".removed-{int(match[1])}-{secrets.token_hex(8)}"
        with self._directory(model) as parent:
            os.rename(version, removed, src_dir_fd=parent, dst_dir_fd=parent)
            os.fsync(parent)
            _delete(removed, parent)
        return {}

    def discard(self, path: str) -> dict[str, object]:
        """Delete a staging directory, or the rest of a removed version."""
        if not _REMOVED.fullmatch(path):
            _require_staging(path)
        model, _, name = path.rpartition("/")
        with self._directory(model) as parent:
            _delete(name, parent)
        return {}

    @contextmanager
    def _directory(self, path: str, create: bool = False) -> Iterator[int]:
        """A handle of a directory of the store. Errors: Refusal for a path that leaves it; OSError."""
        parts = path.split("/") if path else []
        if any(part in ("", ".", "..") for part in parts):
            raise Refusal(400, f"{path!r} is not a path inside the store")
        handle = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in parts:
                if create:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=handle)
                below = _open(part, os.O_RDONLY | os.O_DIRECTORY, handle)
                os.close(handle)
                handle = below
            yield handle
        finally:
            os.close(handle)

    @contextmanager
    def _file(self, path: str, flags: int) -> Iterator[BinaryIO]:
        """A file of the store; with O_CREAT it and its directories are created. Errors: Refusal, OSError."""
        folder, _, name = path.rpartition("/")
        if name in ("", ".", ".."):
            raise Refusal(400, f"{path!r} is not a path inside the store")
        with self._directory(folder, create=bool(flags & os.O_CREAT)) as parent:
            handle = _open(name, flags, parent)
        with os.fdopen(handle, "rb" if flags == os.O_RDONLY else "r+b") as file:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise Refusal(400, f"{path!r} is not a file")
            yield file


def _require_staging(path: str) -> None:
    if not _STAGING.fullmatch(path):
        raise Refusal(400, f"{path!r} is not a staging directory")


def _open(name: str, flags: int, parent: int) -> int:
    """Open an entry of a directory, and no link. Without O_NONBLOCK a pipe would wait for its other end."""
    if _exists(name, parent) and stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        raise Refusal(400, f"{name!r} is a symbolic link, and links in a store are not followed")
    return os.open(name, flags | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666, dir_fd=parent)


def _exists(name: str, parent: int) -> bool:
    try:
        os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _sync(name: str, parent: int) -> None:
    handle = _open(name, os.O_RDONLY, parent)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _delete(name: str, parent: int) -> None:
    """Delete a directory and everything below it; of a link the link."""
    if not _exists(name, parent):
        raise FileNotFoundError(errno.ENOENT, "no such directory", name)
    for _, folders, names, handle in os.fwalk(name, topdown=False, dir_fd=parent):
        for file in names:
            os.unlink(file, dir_fd=handle)
        for folder in folders:
            link = stat.S_ISLNK(os.stat(folder, dir_fd=handle, follow_symlinks=False).st_mode)
            (os.unlink if link else os.rmdir)(folder, dir_fd=handle)
    os.rmdir(name, dir_fd=parent)


def main(arguments: list[str]) -> int:
    """`ROOT HOST PORT TOKEN_SHA256 IDLE_SECONDS`; prints the port and serves until idle for IDLE_SECONDS."""
    if len(arguments) != 5:
        sys.stderr.write("usage: python -m deployer.targets.storage.agent ROOT HOST PORT TOKEN_SHA256 IDLE_SECONDS\n")
        return 2
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
