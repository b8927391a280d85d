"""A rollout drawn for a person."""

from __future__ import annotations

import time

from deployer.cli.console import Table
from deployer.domain.rollout import Rollout
from deployer.usecases.rollout_status import History, RolloutStatus


def drawn(found: RolloutStatus) -> str:
    """Phase and step, the verdicts, and who serves what right now."""
    parts = [_headline(found)]
    rollout = found.rollout
    if rollout is not None and rollout.open and found.steps:
        parts.append("  ".join(_step(index, name, found.step) for index, name in enumerate(found.steps, 1)))
    if rollout is not None and rollout.verdicts:
        rows = [(v.gate, v.verdict, v.numbers) for v in rollout.verdicts]
        parts.append(str(Table(columns=("gate", "verdict", "numbers"), rows=rows)))
    parts += [str(_replicas(found)), str(_gateways(found))]
    if found.release.lacks:
        parts.append("Not as configured:\n" + "\n".join(f"  {lack}" for lack in found.release.lacks))
    return "\n\n".join(parts)


def sentence(rollout: Rollout) -> str:
    """How a rollout ended, or where it rests."""
    way = f"{rollout.model}: version {rollout.previous} → {rollout.request.to}"
    said = f"{rollout.phase}" + (f", {rollout.outcome}" if rollout.outcome else "")
    return f"{way}: {said}" + (f"\n{rollout.reason}" if rollout.reason else "")


def told(found: History) -> str:
    """The past in one table, and everything that happened in the latest rollout."""
    rows = [(_moment(p.started), p.previous, p.to, p.outcome, p.who, p.reason or None) for p in found.past]
    rollout = found.rollout
    if rollout is not None:
        outcome = rollout.outcome or rollout.phase
        rows.append(
            (
                _moment(rollout.started),
                rollout.previous,
                rollout.request.to,
                outcome,
                rollout.who,
                rollout.reason or None,
            )
        )
    parts = [str(Table(columns=("started", "from", "to", "outcome", "who", "reason"), rows=rows))]
    if found.entries:
        steps = [(_moment(e.at), e.step, e.event, e.text or None) for e in found.entries]
        parts.append(str(Table(columns=("at", "step", "event", "text"), rows=steps)))
    if found.dropped:
        parts.append(f"{found.dropped} older entries are no longer kept")
    return "\n\n".join(parts)


def _headline(found: RolloutStatus) -> str:
    rollout = found.rollout
    if rollout is None:
        return f"{found.model}: {found.phase}, no rollout so far"
    text = sentence(rollout)
    if found.at_work:
        text += f"\n{found.at_work} is at work"
    if found.killed:
        text += "\nno deployer is at work: `deployer rollout resume` or `abort` goes on"
    if found.seconds_left is not None and found.at_work:
        text += f", for at most {found.seconds_left:.0f} s more"
    return text


def _step(index: int, name: str, now: int) -> str:
    return f"[{name}]" if index == now else f"({name})" if now and index < now else name


def _replicas(found: RolloutStatus) -> Table:
    rows: list[tuple[object, ...]] = []
    for one in found.release.replicas:
        served = [s for s in one.served if s.model == found.model]
        if not served:
            rows.append((one.replica.name, None, "dead" if not one.replica.alive else "unreachable", None))
        for model in served:
            for version, state in sorted(model.versions.items()):
                labels = ", ".join(label for label, at in model.labels.items() if at == version)
                rows.append((one.replica.name, version, state, labels or None))
    return Table(columns=("replica", "version", "state", "labels"), rows=rows)


def _gateways(found: RolloutStatus) -> Table:
    weights = found.release.weights.get(found.model, {})
    shares = ", ".join(f"{label} {share:g} %" for label, share in weights.items()) or "newest version"
    rows = [(g.gateway.name, "old settings" if g.lacks else shares) for g in found.release.gateways]
    return Table(columns=("gateway", "traffic"), rows=rows)


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
