"""Texts about a rollout, for the terminal."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence

from deployer.cli.console import Table
from deployer.domain.rollout import Course, Rollout
from deployer.domain.verdict import Judgement, Verdict
from deployer.release.status import ReplicaStatus
from deployer.rollout.preview import Preview
from deployer.rollout.rollouts import description
from deployer.rollout.status import RolloutHistory, RolloutStatus
from deployer.targets.proof import Served

WIDTH = 80
"""Columns of a terminal whose size is unknown."""


def rollout_text(found: RolloutStatus) -> str:
    """Phase and step, the verdicts, and who serves what right now."""
    parts = [_headline(found)]
    rollout = found.rollout
    if rollout is not None and rollout.open and found.steps:
        parts.append(_steps(found))
    if rollout is not None and rollout.verdicts:
        parts.append("\n".join(line for verdict in rollout.verdicts for line in _verdict(verdict)))
    parts += [str(_replicas(found)), str(_gateways(found))]
    if found.release.missing:
        parts.append("Not as configured:\n" + "\n".join(f"  {problem}" for problem in found.release.missing))
    return "\n\n".join(parts)


def summary_line(found: RolloutStatus) -> str:
    """One line for a log: phase, step and verdicts."""
    rollout = found.rollout
    if rollout is None or not found.step:
        return _headline(found).splitlines()[0]
    summary = "; ".join(f"{verdict.gate} {verdict.verdict}" for verdict in rollout.verdicts)
    where = f"step {found.step} of {len(found.steps)}, {found.steps[found.step - 1]}"
    return f"{sentence(rollout).splitlines()[0]}; {where}" + (f" ({summary})" if summary else "")


def sentence(rollout: Rollout) -> str:
    """How a rollout ended, or where it rests."""
    way = f"{rollout.model}: version {rollout.previous} → {rollout.request.to}"
    summary = f"{rollout.phase}" + (f", {rollout.outcome}" if rollout.outcome else "")
    return f"{way}: {summary}" + (f"\n{rollout.reason}" if rollout.reason else "")


def plan_text(found: Preview) -> str:
    """What would be done, step by step, and what can be judged of it now."""
    rollout = found.rollout
    aborts = rollout.course is Course.ABORT
    plan = f"abort, back to version {rollout.previous}" if aborts else description(rollout)
    head = [f"{rollout.model}: planned {plan}"]
    if found.at_work:
        effect = "it would receive the command" if aborts else "this would be rejected"
        head.append(f"{found.at_work} is working on this release: {effect}")
    rows = [
        (
            one.step,
            ", ".join(map(str, one.after.versions)),
            ", ".join(f"{label} → {version}" for label, version in one.after.labels.items()),
            ", ".join(f"{label} {weight:.3g}" for label, weight in one.after.weights.items()) or "newest version",
        )
        for one in found.steps
    ]
    parts = ["\n".join(head), str(Table(columns=("step", "loaded", "labels", "traffic"), rows=rows))]
    if found.verdicts:
        parts.append("\n".join(line for verdict in found.verdicts for line in _verdict(verdict)))
    if found.later:
        parts.append(f"judged later: {', '.join(found.later)}")
    return "\n\n".join(parts)


def history_text(found: RolloutHistory) -> str:
    """The past in one table, and everything that happened in the latest rollout."""
    rows = [(_moment(p.started), p.previous, p.to, p.outcome, p.who, p.reason or None) for p in found.past]
    rollout = found.rollout
    if rollout is not None:
        rows.append(
            (
                _moment(rollout.started),
                rollout.previous,
                rollout.request.to,
                found.outcome,
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
        text += f"\n{found.at_work} is working on this release"
    if found.killed:
        text += "\nno deployer is working on this release: `deployer rollout resume` continues, `abort` aborts"
    if found.seconds_left is not None and found.at_work:
        text += f"; {_time(found.seconds_left)} of --max-duration remain"
        if (watched := found.window_left) is not None:
            text += f"\nthis share is observed for {watched:.0f} s more"
    return text


def _steps(found: RolloutStatus) -> str:
    """The whole course: ✓ is done, ▶ is under way."""
    marks = [("✓" if index < found.step else "▶" if index == found.step else "·") for index in _counted(found.steps)]
    course = "  ".join(f"{mark}\u00a0{_whole(name)}" for mark, name in zip(marks, found.steps, strict=True))
    return textwrap.fill(course, WIDTH, break_on_hyphens=False).replace("\u00a0", " ")


def _counted(steps: Sequence[str]) -> range:
    return range(1, len(steps) + 1)


def _whole(name: str) -> str:
    """A name that no line break divides."""
    return name.replace(" ", "\u00a0")


_MARKS = {Verdict.PASS: "✓", Verdict.FAIL: "✗", Verdict.INCONCLUSIVE: "?", Verdict.NOT_JUDGED: "–"}


def _verdict(one: Judgement) -> list[str]:
    """A gate with its verdict, and its numbers below where they would not fit beside it."""
    head = f"{_MARKS[one.verdict]} {one.gate}  {one.verdict}"
    if len(head) + len(one.numbers) + 4 <= WIDTH:
        return [f"{head}  ({one.numbers})"]
    return [head, *textwrap.wrap(one.numbers, WIDTH, initial_indent="    ", subsequent_indent="    ")]


def _replicas(found: RolloutStatus) -> Table:
    """One line a replica, one column a version: its labels, or its state when it is not AVAILABLE."""
    models = {one.replica.name: next((s for s in one.served if s.model == found.model), None) for one in _ones(found)}
    versions = sorted(
        {version for model in models.values() if model for version, state in model.versions.items() if state != "END"}
    )
    rows: list[tuple[object, ...]] = []
    for one in _ones(found):
        model = models[one.replica.name]
        if model is None:
            rows.append((one.replica.name, "has ended" if not one.replica.alive else "does not respond"))
            continue
        cells = [_cell(model, version) for version in versions]
        rows.append((one.replica.name, *cells))
    width = len(versions) + 1
    padded = [(*row, *[None] * (width - len(row))) for row in rows]
    return Table(columns=("replica", *(f"version {version}" for version in versions)), rows=padded)


def _ones(found: RolloutStatus) -> Sequence[ReplicaStatus]:
    return found.release.replicas


def _cell(model: Served, version: int) -> str | None:
    state = model.versions.get(version)
    if state is None or state == "END":
        return None
    labels = ", ".join(label for label, at in model.labels.items() if at == version)
    return (labels or "loaded") if state == "AVAILABLE" else state.lower()


def _gateways(found: RolloutStatus) -> Table:
    weights = found.release.weights.get(found.model, {})
    shares = "  ".join(f"{label} {_bar(share)} {share:.3g} %" for label, share in weights.items()) or "newest version"
    rows = [(g.gateway.name, f"out of date: {g.missing[0]}" if g.missing else shares) for g in found.release.gateways]
    return Table(columns=("gateway", "traffic"), rows=rows)


def _bar(share: float) -> str:
    """A share in percent as a bar of up to 20 characters; what is not nothing can be seen."""
    return "█" * (max(1, round(share / 5)) if share else 0)


def _time(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _moment(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
