"""`deployer cluster`."""

from __future__ import annotations

import shlex
from typing import Annotated

import typer

from deployer.cli.console import console
from deployer.cli.verb import DryRun, Kubeconfig, Timeout, Verb
from deployer.release import kind_cluster

app = Verb(group=True, help="Make and delete a kind cluster to deploy to.")

Name = Annotated[str, typer.Option("--name", help="Name of the cluster; its context is kind-NAME.")]


@app.command()
def up(
    name: Name = "deployer",
    node_image: Annotated[
        str, typer.Option("--node-image", envvar="KIND_NODE_IMAGE", help="Image of the nodes; by default kind's own.")
    ] = "",
    nodes: Annotated[
        int, typer.Option("--nodes", min=1, max=20, help="Number of nodes, including the control plane.")
    ] = 1,
    images: Annotated[
        bool, typer.Option("--images/--no-images", help="Build the project's images if absent, and load them.")
    ] = True,
    tag: Annotated[str, typer.Option("--tag", help="Tag of these images; by default that of the gateway chart.")] = "",
    build_args: Annotated[
        str,
        typer.Option("--docker-build-args", envvar="DOCKER_BUILD_ARGS", help="Additional arguments of `docker build`."),
    ] = "",
    kubeconfig: Kubeconfig = "",
    timeout: Timeout = 900.0,
    dry_run: DryRun = False,
) -> None:
    """Make a kind cluster with metrics-server and the project's images, and make its context the current one."""
    request = kind_cluster.UpRequest(
        name=name,
        node_image=node_image,
        workers=nodes - 1,
        kubeconfig=kubeconfig,
        images=images,
        tag=tag,
        build_arguments=tuple(shlex.split(build_args)),
        timeout=timeout,
    )
    if dry_run:
        plan = kind_cluster.plan(request)
        console.result("ClusterPlan", plan, lambda: _planned(plan))
        return
    found = kind_cluster.up(request, console.progress)
    console.result("Cluster", found, f"cluster {found.name} is ready, context {found.context}")


@app.command()
def down(
    name: Name = "deployer", kubeconfig: Kubeconfig = "", timeout: Timeout = 120.0, dry_run: DryRun = False
) -> None:
    """Delete the kind cluster of this name, and nothing else."""
    if dry_run:
        there = kind_cluster.can_delete(name)
        words = f"would delete cluster {name}" if there else f"cluster {name} does not exist"
        console.result("DeletePlan", {"name": name, "would_delete": there}, words)
        return
    deleted = kind_cluster.down(name, kubeconfig=kubeconfig, timeout=timeout, progress=console.progress)
    console.result(
        "Deleted", {"name": name, "deleted": deleted}, f"cluster {name} {'deleted' if deleted else 'did not exist'}"
    )


def _planned(plan: kind_cluster.UpPlan) -> str:
    lines = [f"would {'make' if plan.creates else 'keep'} cluster {plan.name}, context {plan.context}"]
    lines += [f"would build {reference}" for reference in plan.builds]
    lines += [f"would load {reference}" for reference in plan.loads]
    return "\n".join([*lines, "would install metrics-server, unless it is there already"])
