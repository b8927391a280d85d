"""Docker by subprocess: whether it answers, which images are there, building one, and containers that run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from deployer.errors import ToolError
from deployer.tools import process

HINT = "install Docker and start it; `docker info` must answer"
READ_TIMEOUT = 30.0


def require() -> None:
    """Return when a container runtime answers. Errors: ToolError."""
    try:
        process.run(["docker", "info", "--format", "{{.ServerVersion}}"], timeout=READ_TIMEOUT, hint=HINT)
    except ToolError as error:
        raise ToolError("no container runtime answers", cause=error.cause or error.message, hint=HINT) from error


def has_image(reference: str) -> bool:
    """Whether an image is on this machine."""
    argv = ["docker", "image", "inspect", "--format", "{{.Id}}", reference]
    return process.run(argv, timeout=READ_TIMEOUT, check=False).returncode == 0


def build(context: Path, *, target: str, reference: str, arguments: Sequence[str] = (), timeout: float) -> None:
    """Build one target of the Dockerfile in `context`; `arguments` are added to the command line.

    Errors: ToolError with the tail of what docker said, WaitTimeout.
    """
    argv = ["docker", "build", "--quiet", *arguments, "--target", target, "--tag", reference, str(context)]
    process.run(argv, timeout=timeout, hint="the same command by hand shows the whole output")


def container_pid(name: str) -> int:
    """The pid of a container's first process as this machine sees it; 0 when there is no such container."""
    argv = ["docker", "inspect", "--format", "{{.State.Pid}}", name]
    output = process.run(argv, timeout=READ_TIMEOUT, check=False).stdout.strip()
    return int(output) if output.isdigit() else 0


def limit_cpus(name: str, cpus: float) -> None:
    """Give a running container this share of the CPUs. Errors: ToolError."""
    process.run(["docker", "update", f"--cpus={cpus:g}", name], timeout=READ_TIMEOUT, hint=HINT)


def remove_container(name: str) -> None:
    """Kill and remove a container; nothing happens when there is none."""
    process.run(["docker", "rm", "--force", "--volumes", name], timeout=READ_TIMEOUT, check=False)
