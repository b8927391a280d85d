"""A release as the page draws it: replicas by versions, labels with their shares, and the rollout. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployer.dashboard.live import LabelFigures
from deployer.domain.rollout import Event, Rollout
from deployer.domain.verdict import Judgement
from deployer.release.status import ReplicaStatus, Status
from deployer.rollout.overview import Overview
from deployer.rollout.status import RolloutHistory, RolloutStatus
from deployer.rollout.transitions import Reaction, reaction

ACTIONS = (Event.PAUSE, Event.PROMOTE, Event.ABORT)
"""What the page can ask for."""


@dataclass(frozen=True, kw_only=True)
class Tile:
    """One replica: the state of each version that it has, and what is not as configured."""

    name: str
    responds: bool
    versions: Mapping[int, str]
    labels: Mapping[str, int | None]
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class RolloutCard:
    """The latest rollout. `step` counts from 1, 0 at its end; times in seconds; `actions` are possible now."""

    previous: int
    to: int
    phase: str
    outcome: str
    reason: str
    at_work: str
    killed: bool
    step: int
    steps: tuple[str, ...]
    seconds_left: float | None
    window_left: float | None
    verdicts: tuple[Judgement, ...]
    actions: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ModelCard:
    """One model: its versions on each replica, shares of traffic in percent, live figures and rollouts by label."""

    name: str
    phase: str
    problem: str
    tiles: tuple[Tile, ...]
    versions: tuple[int, ...]
    shares: Mapping[str, float]
    live: Mapping[str, LabelFigures]
    rollout: RolloutCard | None
    history: RolloutHistory | None


@dataclass(frozen=True, kw_only=True)
class Gateway:
    """One gateway; `problems` is empty when it is ready."""

    name: str
    url: str
    problems: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class View:
    """The whole release. `at` is in seconds since 1970."""

    target: str
    phase: str
    at: float
    read_only: bool
    notes: tuple[str, ...]
    gateways: tuple[Gateway, ...]
    models: tuple[ModelCard, ...]


def whole(found: Overview, models: tuple[ModelCard, ...], *, at: float, read_only: bool) -> View:
    """The view of a release and its models."""
    release = found.release
    return View(
        target=release.target,
        phase=found.phase,
        at=round(at),
        read_only=read_only,
        notes=release.notes,
        gateways=tuple(Gateway(name=g.gateway.name, url=g.gateway.url, problems=g.missing) for g in release.gateways),
        models=models,
    )


def model_card(
    release: Status,
    model: str,
    live: Mapping[str, LabelFigures],
    *,
    phase: str,
    problem: str = "",
    status: RolloutStatus | None = None,
    history: RolloutHistory | None = None,
) -> ModelCard:
    """One model of a release; `status` and `history` are None when its history cannot be read (`problem`)."""
    tiles = tuple(_tile(replica, model) for replica in release.replicas)
    rollout = status.rollout if status is not None else None
    return ModelCard(
        name=model,
        phase=phase,
        problem=problem,
        tiles=tiles,
        versions=tuple(sorted({version for tile in tiles for version in tile.versions})),
        shares=release.weights.get(model, {}),
        live=live,
        rollout=_rollout(status, rollout) if status is not None and rollout is not None else None,
        history=history,
    )


def possible(rollout: Rollout) -> tuple[str, ...]:
    """The actions that a rollout accepts now."""
    return tuple(event.value for event in ACTIONS if reaction(rollout, event) is not Reaction.REFUSE)


def _rollout(status: RolloutStatus, rollout: Rollout) -> RolloutCard:
    return RolloutCard(
        previous=rollout.previous,
        to=rollout.request.to,
        phase=rollout.phase,
        outcome=rollout.outcome,
        reason=rollout.reason,
        at_work=status.at_work,
        killed=status.killed,
        step=status.step,
        steps=status.steps,
        seconds_left=_whole(status.seconds_left),
        window_left=_whole(status.window_left),
        verdicts=rollout.verdicts,
        actions=possible(rollout),
    )


def _tile(status: ReplicaStatus, model: str) -> Tile:
    served = next((one for one in status.served if one.model == model), None)
    states = served.versions if served is not None else {}
    return Tile(
        name=status.replica.name,
        responds=served is not None,
        versions={version: state for version, state in states.items() if state != "END"},
        labels=served.labels if served is not None else {},
        problems=status.missing,
    )


def _whole(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds)
