"""The kind command: clusters whose nodes are containers on this machine."""

from __future__ import annotations

import json

from deployer.errors import ToolError
from deployer.tools import process

KIND_HINT = "scripts/tools installs kind; it needs Docker"
KIND_READ_TIMEOUT = 60.0
CONTEXT_PREFIX = "kind-"
"""kind's prefix of the kube-context name."""


MADE_LABEL = "tfserving-deployer/made-by"
"""Label of the nodes of clusters that `deployer cluster up` made."""


def context(name: str) -> str:
    """The kube-context of a cluster."""
    return CONTEXT_PREFIX + name


def clusters() -> tuple[str, ...]:
    """Names of the kind clusters on this machine."""
    output = process.run(["kind", "get", "clusters", "--quiet"], timeout=KIND_READ_TIMEOUT, hint=KIND_HINT).stdout
    return tuple(line.strip() for line in output.splitlines() if line.strip())


def create(name: str, *, workers: int, image: str, kubeconfig: str, timeout: float) -> None:
    """Create a cluster of one control plane and `workers` worker nodes, and write its context to `kubeconfig`.

    Empty `image` and `kubeconfig` mean the defaults of kind and kubectl. On failure the cluster is deleted again.
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
    process.run(argv, timeout=timeout, hint=KIND_HINT)


def load_image(name: str, reference: str, *, timeout: float) -> None:
    """Copy a local image to every node that does not have it."""
    try:
        process.run(["kind", "load", "docker-image", reference, "--name", name], timeout=timeout, hint=KIND_HINT)
    except ToolError as error:
        raise ToolError(
            f"image {reference} cannot be loaded into cluster {name}",
            hint="`docker image ls` lists the local images",
        ) from error


def made_here(name: str) -> bool:
    """Whether `create` made this cluster: its nodes have our label. Errors: ToolError when it does not respond."""
    node = f"{name}-control-plane"
    ask = ["kubectl", "--kubeconfig=/etc/kubernetes/admin.conf", "get", "node", node, "--output=json"]
    hint = f"`docker start {node}` starts it, `kind delete cluster --name {name}` deletes it"
    found = json.loads(process.run(["docker", "exec", node, *ask], timeout=KIND_READ_TIMEOUT, hint=hint).stdout)
    return MADE_LABEL in found["metadata"]["labels"]


def config(workers: int) -> str:
    """kind's configuration file of a cluster; each node has the label by which `made_here` knows it."""
    roles = ["control-plane", *["worker"] * workers]
    nodes = "".join(f"  - role: {role}\n    labels: {{{MADE_LABEL}: deployer}}\n" for role in roles)
    return f"kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n{nodes}"


def _kubeconfig(path: str) -> list[str]:
    return ["--kubeconfig", path] if path else []


def _creation_hint(image: str) -> str:
    return KIND_HINT if image else "kind pulls its node image; --node-image or KIND_NODE_IMAGE selects a local one"
