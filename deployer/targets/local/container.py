"""A local replica in a container: the official image, or another image with the same server.

The process of the replica is `docker run`. It forwards signals to the container and ends with it. If it is killed, the
container keeps running, so every start and every stop removes a container of this name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from deployer.tools import docker

RUN_OPTIONS = ("--rm", "--init", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")
"""The same restrictions as in a pod, and --init forwards SIGTERM: as process 1 the official server ignores it."""


class Container(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The container of each replica. An empty `entry_point` means the image's; `mounts` are mounted read-only."""

    image: str
    entry_point: str = ""
    mounts: tuple[str, ...] = ()


def container_name(release: str, process: str) -> str:
    """The name of a replica's container."""
    return f"deployer-{release}-{process}"


def container_argv(
    container: Container, name: str, flags: Sequence[str], *, config: Path, ports: Sequence[int]
) -> tuple[str, ...]:
    """The command line of one replica. Paths and ports are the same inside and outside of the container, so flags and
    files need no change. Mounts are read-only; ports are published on loopback only."""
    published = [part for port in ports for part in ("--publish", f"127.0.0.1:{port}:{port}")]
    mounted = [part for path in (*container.mounts, str(config)) for part in ("--volume", f"{path}:{path}:ro")]
    entry = ["--entrypoint", container.entry_point] if container.entry_point else []
    user = ["--user", f"{os.getuid()}:{os.getgid()}", "--security-opt", "no-new-privileges"]
    own = ["--name", name, *user, "--env", "MALLOC_ARENA_MAX=2", *published, *mounted, *entry]
    return ("docker", "run", *RUN_OPTIONS, *own, container.image, *flags)


def server_pid(name: str) -> int:
    """The pid of the server, for its CPU time and memory; 0 if this machine cannot see it."""
    first = docker.container_pid(name)
    try:
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    except OSError:
        return 0
    return int(children[0]) if children else first
