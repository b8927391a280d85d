"""A replica in a container of this machine: the official image, or any that brings the same server.

The process that a release knows is `docker run` itself. It passes signals on to the container and ends with it; when it
is killed, the container stays, so that every stop and every start removes what has its name.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from deployer.tools import docker

INSIDE = ("--rm", "--init", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")
"""As a pod has it, and with a first process that hands SIGTERM on: the original server ignores it as the first."""


class Container(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What each replica runs in. `entry_point` empty is the image's own; `mounts` are directories that it may read."""

    image: str
    entry_point: str = ""
    mounts: tuple[str, ...] = ()


def container_name(release: str, process: str) -> str:
    """The name that the container of a replica has."""
    return f"deployer-{release}-{process}"


def argv(
    container: Container, name: str, flags: Sequence[str], *, config: Path, ports: Sequence[int]
) -> tuple[str, ...]:
    """The command line of one replica. Directories and ports are the same inside as outside, so that flags and files
    mean what they mean without a container; they can only be read, and only reached from this machine."""
    published = [part for port in ports for part in ("--publish", f"127.0.0.1:{port}:{port}")]
    mounted = [part for path in (*container.mounts, str(config)) for part in ("--volume", f"{path}:{path}:ro")]
    entry = ["--entrypoint", container.entry_point] if container.entry_point else []
    user = ["--user", f"{os.getuid()}:{os.getgid()}", "--security-opt", "no-new-privileges"]
    own = ["--name", name, *user, "--env", "MALLOC_ARENA_MAX=2", *published, *mounted, *entry]
    return ("docker", "run", *INSIDE, *own, container.image, *flags)


def worker(name: str) -> int:
    """The pid of the server, by which its CPU time and memory are known; 0 where this machine does not see it."""
    first = docker.container_pid(name)
    try:
        children = Path(f"/proc/{first}/task/{first}/children").read_text().split()
    except OSError:
        return 0
    return int(children[0]) if children else first
