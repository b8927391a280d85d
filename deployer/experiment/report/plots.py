"""The plots of an experiment, each as PNG (a file) and SVG (inside the report)."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from deployer.experiment.capacity import times_text
from deployer.experiment.report.labels import Label, place
from deployer.experiment.results import Experiment, Kind, Trial
from deployer.experiment.summary import rate_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

INK, MUTED, GRID, BAD = "#0f172a", "#64748b", "#e2e8f0", "#dc2626"
COLOURS = ("#2563eb", "#0d9488", "#d97706", "#9333ea", "#be185d", "#4d7c0f")
"""One colour per replica count, the same in every plot."""

_STYLE = {
    "font.family": "sans-serif",
    "font.sans-serif": ["Inter", "Helvetica Neue", "Arial", "DejaVu Sans"],
    "font.size": 11,
    "text.color": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": "#cbd5e1",
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.minor.size": 0,
    "legend.frameon": False,
    "legend.fontsize": 10,
    "lines.linewidth": 2.2,
    "lines.markersize": 7,
    "figure.facecolor": "white",
    "svg.fonttype": "path",
    "svg.hashsalt": "deployer",
}


Paint = Callable[["Axes", Experiment], Sequence[Label]]
"""Draws one plot, and returns the labels that still have to find a place."""


@dataclass(frozen=True, kw_only=True)
class Plot:
    """One plot; `caption` explains it."""

    name: str
    title: str
    caption: str
    png: bytes
    svg: bytes


def draw(experiment: Experiment) -> tuple[Plot, ...]:
    """All plots for which there are trials: throughput, latency and CPU."""
    import matplotlib

    matplotlib.use("Agg")
    wanted: list[tuple[str, str, str, Paint]] = []
    if experiment.capacities:
        wanted.append(
            (
                "throughput",
                "Throughput against replicas",
                "Filled: the highest rate that met the objective. Hollow: the maximum throughput in a closed loop. "
                "Bar: up to the lowest rate that missed the objective. Dashed: perfect scaling of the smallest count.",
                _throughput,
            )
        )
    if experiment.direct is not None and experiment.direct.capacities:
        wanted.append(
            (
                "balancing",
                "One connection against load balancing",
                "Maximum throughput in a closed loop: through the gateways, which balance requests over all replicas, "
                "and through one plain gRPC channel, which is one connection. Dashed: perfect scaling of each.",
                _balancing,
            )
        )
    if any(t.kind is Kind.OPEN for t in experiment.trials):
        wanted.append(
            (
                "latency",
                "Latency against offered load",
                "Solid: p99. Dotted: p50. Measured from the time each request was due, so waiting is included. Hollow "
                "points have few responses; crosses are invalid trials.",
                _latency,
            )
        )
    if any(t.cpu for t in experiment.trials):
        wanted.append(
            (
                "cpu",
                "CPU use",
                "Average cores used, in the representative trial of each capacity. The dashed line is the number of "
                "cores of the machine.",
                _cpu,
            )
        )
    with matplotlib.rc_context(_STYLE):
        return tuple(_plot(experiment, name, title, caption, paint) for name, title, caption, paint in wanted)


def _plot(experiment: Experiment, name: str, title: str, caption: str, paint: Paint) -> Plot:
    from matplotlib.figure import Figure

    height = 4.3 if name != "cpu" else 1.5 + 0.62 * len(experiment.capacities or experiment.settings.replicas)
    figure = Figure(figsize=(7.6, height), layout="constrained")
    axes = figure.add_subplot()
    labels = paint(axes, experiment)
    _legend(figure, axes)
    place(figure, axes, labels)
    return Plot(name=name, title=title, caption=caption, png=_save(figure, "png"), svg=_save(figure, "svg"))


def _legend(figure: Figure, axes: Axes) -> None:
    """Above the axes: inside, it would cover a line of some experiment."""
    handles, names = axes.get_legend_handles_labels()
    if handles:
        figure.legend(handles, names, loc="outside upper left", ncols=min(4, len(handles)), borderaxespad=0.2)


def _save(figure: Figure, kind: str) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
    return buffer.getvalue()


def _colour(experiment: Experiment, replicas: int) -> str:
    counts = sorted(set(experiment.settings.replicas))
    return COLOURS[counts.index(replicas) % len(COLOURS)]


def _throughput(axes: Axes, experiment: Experiment) -> Sequence[Label]:
    capacities = [c for c in experiment.capacities if c.rate > 0] or list(experiment.capacities)
    base, top = capacities[0], max(c.replicas for c in experiment.capacities)
    end = max(top * 1.15, top + 0.4)
    per_replica = base.rate / base.replicas
    axes.plot([0, end], [0, end * per_replica], "--", color="#94a3b8", linewidth=1.5, label="perfect scaling")
    fit = experiment.fit
    if fit is not None:
        counts = list(range(1, len(fit.curve) + 1))
        axes.plot(counts, [c.value for c in fit.curve], color="#475569", linewidth=1.6, label="scaling law")
        axes.fill_between(
            counts, [c.low for c in fit.curve], [c.high for c in fit.curve], color="#475569", alpha=0.13, linewidth=0
        )
    labels = []
    for c in experiment.capacities:
        colour = _colour(experiment, c.replicas)
        axes.plot(c.replicas, c.ceiling, "o", markersize=9, markerfacecolor="white", color=colour, markeredgewidth=1.8)
        if not c.rate:
            continue
        if len(c.by_round) > 1:
            axes.plot([c.replicas] * len(c.by_round), c.by_round, "_", color=colour, markersize=14, alpha=0.6)
        axes.plot(c.replicas, c.rate, "o", markersize=11, color=colour, zorder=5)
        if c.broke_at is not None:
            axes.vlines(c.replicas, c.rate, c.broke_at, color=colour, linewidth=3, alpha=0.45)
        ratio = f"\n{times_text(c, base)}" if c is not base else ""
        labels.append(Label(text=f"{rate_text(c.rate)}/s{ratio}", at=(c.replicas, c.rate), colour=colour, bold=True))
    axes.set(xlim=(0, end), xlabel="replicas", ylabel="requests per second")
    axes.set_ylim(0, 1.18 * max(*(max(c.rate, c.ceiling) for c in experiment.capacities), top * per_replica))
    axes.set_xticks(sorted({c.replicas for c in experiment.capacities}))
    return labels


def _balancing(axes: Axes, experiment: Experiment) -> Sequence[Label]:
    direct = experiment.direct.capacities if experiment.direct is not None else ()
    sweeps = (
        ("through the gateways", experiment.capacities, COLOURS[0]),
        ("one gRPC channel", direct, COLOURS[2]),
    )
    counts_of_both = sorted({c.replicas for _, capacities, _ in sweeps for c in capacities})
    top, labels = counts_of_both[-1], []
    for name, capacities, colour in sweeps:
        shown = [c for c in capacities if c.ceiling > 0]
        if not shown:
            continue
        base, counts = shown[0], [c.replicas for c in shown]
        perfect = [base.ceiling / base.replicas * n for n in (0, top)]
        axes.plot([0, top], perfect, "--", color=colour, linewidth=1.2, alpha=0.45)
        axes.plot(counts, [c.ceiling for c in shown], "o-", color=colour, label=name, zorder=5)
        labels += [Label(text=f"{rate_text(c.ceiling)}/s", at=(c.replicas, c.ceiling), colour=colour) for c in shown]
    axes.set(xlim=(0, top * 1.12), xlabel="replicas", ylabel="requests per second")
    axes.set_ylim(0)
    axes.set_xticks(counts_of_both)
    return labels


def _latency(axes: Axes, experiment: Experiment) -> Sequence[Label]:
    axes.set_yscale("log")
    opened = [t for t in experiment.trials if t.kind is Kind.OPEN and t.latency.count]
    for count in sorted({t.replicas for t in opened}):
        colour = _colour(experiment, count)
        of_count = sorted((t for t in opened if t.replicas == count and t.valid), key=lambda t: t.offered)
        rates = [t.offered for t in of_count]
        label = "1 replica" if count == 1 else f"{count} replicas"
        axes.plot(rates, [t.latency.at(99).ms for t in of_count], color=colour, label=label)
        axes.plot(rates, [t.latency.at(50).ms for t in of_count], ":", color=colour, linewidth=1.6)
        for t in of_count:
            p99 = t.latency.at(99)
            axes.plot(
                t.offered, p99.ms, "o", color=colour, markerfacecolor=colour if p99.resolved else "white", zorder=5
            )
    invalid = [t for t in opened if not t.valid]
    axes.plot([t.offered for t in invalid], [t.latency.at(99).ms for t in invalid], "x", color=BAD, markeredgewidth=2)
    limit = experiment.objective.p99_ms
    objective = f"objective: p99 ≤ {limit:g} ms"
    axes.axhline(limit, color=BAD, linewidth=1.3, linestyle=(0, (5, 3)), label=objective)
    low = min([t.latency.at(50).ms for t in opened] + [limit])
    high = max([t.latency.at(99).ms for t in opened] + [limit])
    axes.set_ylim(low / 1.8, high * 2)
    axes.set_xlim(0, 1.06 * max((t.offered for t in opened), default=1.0))
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axes.set(xlabel="offered requests per second", ylabel="milliseconds")
    return ()


def _cpu(axes: Axes, experiment: Experiment) -> Sequence[Label]:
    shown = _representative_trials(experiment)
    tones = ("#1d4ed8", "#3b82f6", "#60a5fa", "#93c5fd")
    for row, trial in enumerate(shown):
        left = 0.0
        replicas = [use for use in trial.cpu if use.role == "replica"]
        parts: list[tuple[str, float, str]] = [
            ("replicas", use.cores, tones[i % len(tones)]) for i, use in enumerate(replicas)
        ]
        parts.append(("gateway", trial.cores("gateway"), "#d97706"))
        parts.append(("load generator", trial.generator_cores, "#94a3b8"))
        if trial.machine_busy is not None:
            known = sum(cores for _, cores, _ in parts)
            other = trial.machine_busy * experiment.environment.cores - known
            parts.append(("everything else", max(0.0, other), "#e2e8f0"))
        for name, cores, colour in parts:
            label = name if row == 0 and name not in axes.get_legend_handles_labels()[1] else None
            axes.barh(row, cores, left=left, color=colour, height=0.58, edgecolor="white", label=label)
            if cores > 0.065 * experiment.environment.cores:
                dark = colour in ("#e2e8f0", "#93c5fd", "#94a3b8")
                axes.text(
                    left + cores / 2, row, f"{cores:.2f}", ha="center", va="center", fontsize=9.5,
                    color=INK if dark else "white",
                )  # fmt: skip
            left += cores
    axes.axvline(experiment.environment.cores, color=INK, linewidth=1.2, linestyle="--")
    axes.set_yticks(range(len(shown)), [f"{t.replicas} at {rate_text(t.offered)}/s" for t in shown], color=INK)
    axes.grid(visible=False, axis="y")
    axes.invert_yaxis()
    axes.set(xlabel="cores", xlim=(0, experiment.environment.cores * 1.03))
    return ()


def _representative_trials(experiment: Experiment) -> list[Trial]:
    """The representative trial of each capacity; if there are none, the last trial of each replica count."""
    numbered: dict[int | None, Trial] = {t.number: t for t in experiment.trials}
    found = [numbered[c.trial] for c in experiment.capacities if c.trial in numbered]
    if found:
        return found
    latest: dict[int, Trial] = {t.replicas: t for t in experiment.trials}
    return list(latest.values())
