"""The docker command: whether Docker is running, images, builds, and running containers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deployer.errors import ToolError
from deployer.tools import process

DOCKER_HINT = "install Docker and start it; `docker info` must succeed"
DOCKER_TIMEOUT = 30.0


def require() -> None:
    """Check that Docker is running. Errors: ToolError."""
    try:
        process.run(["docker", "info", "--format", "{{.ServerVersion}}"], timeout=DOCKER_TIMEOUT, hint=DOCKER_HINT)
    except ToolError as error:
        raise ToolError("Docker is not running", cause=error.cause or error.message, hint=DOCKER_HINT) from error


def has_image(reference: str) -> bool:
    """Whether an image exists on this machine."""
    argv = ["docker", "image", "inspect", "--format", "{{.Id}}", reference]
    return process.run(argv, timeout=DOCKER_TIMEOUT, check=False).returncode == 0


def build(context: Path, *, target: str, reference: str, arguments: Sequence[str] = (), timeout: float) -> None:
    """Build one target of the Dockerfile in `context`; `arguments` are added to the command line.

    Errors: ToolError with the last lines of docker's output, WaitTimeout.
    """
    argv = ["docker", "build", "--quiet", *arguments, "--target", target, "--tag", reference, str(context)]
    process.run(argv, timeout=timeout, hint="run the same command manually to see the whole output")


def container_pid(name: str) -> int:
    """The pid of a container's first process on this machine; 0 if there is no such container."""
    argv = ["docker", "inspect", "--format", "{{.State.Pid}}", name]
    output = process.run(argv, timeout=DOCKER_TIMEOUT, check=False).stdout.strip()
    return int(output) if output.isdigit() else 0


def limit_cpus(name: str, cpus: float) -> None:
    """Set the CPU limit of a running container. Errors: ToolError."""
    process.run(["docker", "update", f"--cpus={cpus:g}", name], timeout=DOCKER_TIMEOUT, hint=DOCKER_HINT)


def remove_container(name: str) -> None:
    """Kill and remove a container; does nothing if it does not exist."""
    process.run(["docker", "rm", "--force", "--volumes", name], timeout=DOCKER_TIMEOUT, check=False)
