"""`deployer status`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from deployer.cli.console import Table, console
from deployer.cli.options.target import TargetOptions
from deployer.cli.verb import Verb
from deployer.errors import TargetError
from deployer.release.status import Status
from deployer.release.where import open_target
from deployer.rollout.overview import Overview, overview, watch

app = Verb()


@app.command()
def status_(
    where: TargetOptions,
    watching: Annotated[bool, typer.Option("-w", "--watch", help="Keep running and show every change.")] = False,
) -> int:
    """Show phase, replicas, versions, labels, weights and the latest rollouts of a release.

    Each replica is queried for the versions that its labels resolve to. The exit code is 0 when everything is as
    configured, else 6.
    """
    target = open_target(where)
    if watching:
        watch(target, show)
    found = overview(target)
    show(found)
    return TargetError.exit_code if found.release.missing else 0


def show(found: Overview) -> None:
    """Print an overview."""
    release = found.release
    facts = {"healthy": not release.missing, "phase": found.phase, "missing": release.missing}
    console.result("Status", {**facts, "models": found.models, "status": release}, lambda: whole(found))


def whole(found: Overview) -> str:
    """The overview as a person reads it: the phase, what runs, and the latest rollouts."""
    rollouts = Table(
        columns=("model", "phase", "latest rollout"), rows=[(m.model, m.phase, m.rollout or None) for m in found.models]
    )
    return f"{found.phase}: {text(found.release)}" + (f"\n\n{rollouts}" if found.models else "")


def text(found: Status) -> str:
    """The status as a person reads it."""
    replicas = Table(
        columns=("replica", "model", "version", "state", "labels", "grpc", "rest", "cpu"), rows=[*_rows(found)]
    )
    grpc = any(g.gateway.grpc for g in found.gateways)
    gateways = Table(
        columns=("gateway", "url", "admin", *(["grpc"] if grpc else []), "ready"),
        rows=[
            (g.name, g.url, g.admin, *([g.grpc or None] if grpc else []), "no" if missing else "yes")
            for g, missing in ((entry.gateway, entry.missing) for entry in found.gateways)
        ],
    )
    weights = Table(
        columns=("model", "label", "share"),
        rows=[(m, label, f"{share:g} %") for m, shares in found.weights.items() for label, share in shares.items()],
    )
    parts = [found.target, str(replicas), str(gateways)]
    parts += [str(weights)] if weights.rows else []
    parts += ["\n".join(found.notes)] if found.notes else []
    parts += ["Not as configured:\n" + "\n".join(f"  {problem}" for problem in found.missing)] if found.missing else []
    return "\n\n".join(parts)


def _rows(found: Status) -> Iterator[tuple[object, ...]]:
    for one in found.replicas:
        replica = one.replica
        cpu = None if replica.cpus is None else f"{replica.cpus:g}"
        addresses = replica.grpc or None, replica.rest or None
        for served in one.served:
            for version, state in sorted(served.versions.items()):
                labels = ", ".join(label for label, resolved in served.labels.items() if resolved == version) or None
                yield replica.name, served.model, version, state, labels, *addresses, cpu
        if not one.served:
            yield (
                replica.name,
                None,
                None,
                "dead" if not replica.alive else "unreachable",
                None,
                *addresses,
                cpu,
            )
