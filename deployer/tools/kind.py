"""kind by subprocess: clusters whose nodes are containers of this machine."""

from __future__ import annotations

from deployer.errors import ToolError
from deployer.tools import process

HINT = "scripts/tools gets kind; it needs Docker"
READ_TIMEOUT = 60.0
CONTEXT_PREFIX = "kind-"
"""What kind puts before a cluster's name to name its kube-context."""


def context(name: str) -> str:
    """The kube-context of a cluster."""
    return CONTEXT_PREFIX + name


def clusters() -> tuple[str, ...]:
    """Names of the kind clusters of this machine."""
    output = process.run(["kind", "get", "clusters", "--quiet"], timeout=READ_TIMEOUT, hint=HINT).stdout
    return tuple(line.strip() for line in output.splitlines() if line.strip())


def create(name: str, *, workers: int, image: str, kubeconfig: str, timeout: float) -> None:
    """Make a cluster of one control plane and `workers` further nodes, and write its context into `kubeconfig`.

    Empty `image` and `kubeconfig` mean kind's and kubectl's own. A cluster that does not come up is removed again.
    Errors: ToolError, WaitTimeout.
    """
    argv = ["kind", "create", "cluster", "--name", name, "--config", "-", "--wait", f"{timeout:.0f}s"]
    argv += ["--image", image] if image else []
    try:
        process.run(
            [*argv, *_kubeconfig(kubeconfig)], timeout=timeout, stdin=config(workers), hint=_creation_hint(image)
        )
    except BaseException:
        delete(name, kubeconfig=kubeconfig)
        raise


def delete(name: str, *, kubeconfig: str, timeout: float = 120.0) -> None:
    """Delete a cluster and its context."""
    argv = ["kind", "delete", "cluster", "--name", name, *_kubeconfig(kubeconfig)]
    process.run(argv, timeout=timeout, hint=HINT)


def load_image(name: str, reference: str, *, timeout: float) -> None:
    """Copy an image of this machine into every node; what a node has is not copied again."""
    try:
        process.run(["kind", "load", "docker-image", reference, "--name", name], timeout=timeout, hint=HINT)
    except ToolError as error:
        raise ToolError(
            f"image {reference} cannot be loaded into cluster {name}",
            hint="`docker image ls` shows what is there",
        ) from error


def config(workers: int) -> str:
    """kind's description of a cluster."""
    roles = ["control-plane", *["worker"] * workers]
    nodes = "".join(f"  - role: {role}\n" for role in roles)
    return f"kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n{nodes}"


def _kubeconfig(path: str) -> list[str]:
    return ["--kubeconfig", path] if path else []


def _creation_hint(image: str) -> str:
    return HINT if image else "kind pulls its own node image; --node-image or KIND_NODE_IMAGE names one that is there"
