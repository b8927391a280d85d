"""`deployer deploy`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from deployer.cli.console import Table, console
from deployer.cli.options.choices import ChoiceOptions
from deployer.cli.options.target import Context, Namespace
from deployer.cli.verb import DryRun, File, Kubeconfig, Timeout, Verb, Yes
from deployer.release.deploy import deploy as usecase
from deployer.release.git import values_files
from deployer.release.where import Kind, Where
from deployer.tools.kind import CONTEXT_PREFIX

app = Verb()


@app.command()
def deploy(
    file: File = Path("deployer.yaml"),
    *,
    chosen: ChoiceOptions,
    context: Context = "",
    namespace: Namespace = "",
    kubeconfig: Kubeconfig = "",
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait until the release is verified, or only apply it.")
    ] = True,
    storage_image: Annotated[
        str,
        typer.Option(
            "--storage-image", help="Image with Python for the pod that lists the PVC; by default the gateway's."
        ),
    ] = "",
    from_values: Annotated[
        Path | None,
        typer.Option(
            "--from-values",
            metavar="DIR",
            help="Folder with the values files of both charts: models that are not installed begin with their state.",
            show_default=False,
        ),
    ] = None,
    timeout: Timeout = 600.0,
    dry_run: DryRun = False,
    yes: Yes = False,
) -> None:
    """Install or upgrade a release in a cluster, and verify that it works.

    Versions, labels and weights of a live release stay as they are; --version, --label and --weight are for models that
    are installed for the first time. If there is nothing to change, nothing is written.
    """
    where = Where(file=file, kind=Kind.CLUSTER, context=context, namespace=namespace, kubeconfig=kubeconfig)
    request = usecase.DeployRequest(
        where=where,
        choices=chosen.choices(),
        recorded=values_files.choices(from_values) if from_values is not None else {},
        storage_image=storage_image,
        timeout=timeout,
    )
    plan = usecase.plan(request, console.progress)
    if dry_run:
        facts = {"target": plan.target.describe(), "changes": [c.name for c in plan.changes], "diff": plan.diff}
        text = "\n".join([*(f"would repair: {one}" for one in plan.repairs), *([plan.diff] if plan.diff else [])])
        console.result("DeployPlan", {**facts, "repairs": plan.repairs}, text or "nothing would change")
        return
    if plan.touched and not plan.target.place.context.startswith(CONTEXT_PREFIX):
        console.confirm(f"Change {' and '.join(plan.touched)} in {plan.target.describe()}?", yes=yes)
    done = usecase.execute(plan, wait=wait, timeout=timeout, progress=console.progress)
    console.result("Deployed", {"changed": done.changed, "deployed": done}, lambda: deployed_text(done))


def deployed_text(done: usecase.Deployed) -> str:
    """What was done and proven, for a person."""
    head = [f"{name} is at revision {revision}" for name, revision in done.revisions.items()]
    head += [f"ConfigMap {name} is written" for name in done.written]
    if not done.changed:
        head = [f"nothing to change in {done.target}"]
    rows = [(p.model, p.label, p.version, f"{1000 * p.seconds:.0f} ms", p.refused or None) for p in done.proofs]
    table = Table(columns=("model", "label", "version", "predict", "zeros rejected because"), rows=rows)
    return "\n".join([*head, *([f"\n{table}"] if rows else [])])
