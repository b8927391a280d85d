"""A release as `deployer status` shows it: what is running, and the latest rollout of each model."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NoReturn

from deployer.domain.history import summary
from deployer.domain.rollout import Phase
from deployer.errors import DeployerError, TargetError
from deployer.release.status import Status, status
from deployer.rollout.transitions import current
from deployer.targets.base import Target
from deployer.targets.history import HistoryStore
from deployer.targets.serving_view import ServingView
from tfserving.config import ConfigError, ModelServerConfig

STATUS_WATCH_SECONDS = 2.0

_WORST_FIRST = (Phase.DEGRADED, Phase.PAUSED, Phase.PROGRESSING, Phase.PENDING, Phase.HEALTHY)


@dataclass(frozen=True, kw_only=True)
class ModelPhase:
    """The phase of one model; `rollout` summarizes its latest rollout, empty if there was none."""

    model: str
    phase: Phase
    rollout: str


@dataclass(frozen=True, kw_only=True)
class Overview:
    """A release at one moment."""

    release: Status
    models: tuple[ModelPhase, ...]

    @property
    def phase(self) -> Phase:
        """The worst phase of all models; Degraded if something is not as configured and no rollout is in progress."""
        found = {model.phase for model in self.models}
        in_progress = found & {Phase.PENDING, Phase.PROGRESSING}
        if self.release.missing and not in_progress:
            return Phase.DEGRADED
        return next((phase for phase in _WORST_FIRST if phase in found), Phase.HEALTHY)


def overview(target: Target) -> Overview:
    """Query every replica and gateway, and read the histories. Errors: as for `release.status`, TargetError."""
    return of_histories(status(target), target.history())


def with_rollouts(target: Target, view: ServingView) -> ServingView:
    """The view with the open rollouts; unchanged if the histories cannot be read."""
    try:
        histories = target.history()
        models = [model.name for model in ModelServerConfig.parse(view.model_config).models]
        found = tuple(rollout for model in models if (rollout := histories.read(model).open) is not None)
        steps = {rollout.model: str(step) for rollout in found if (step := current(rollout)) is not None}
        return replace(view, rollouts=found, steps=steps, at_work=histories.holder())
    except (ConfigError, TargetError):
        return view


def of_histories(found: Status, histories: HistoryStore) -> Overview:
    """A status, combined with the histories of its models."""
    served = {model.model for replica in found.replicas for model in replica.served}
    return Overview(release=found, models=tuple(_model(histories, name) for name in sorted({*served, *found.weights})))


def watch(target: Target, show: Callable[[Overview], None], *, sleep: Callable[[float], None] = time.sleep) -> NoReturn:
    """Show the overview now and after every change, until interrupted. Errors: as for `overview`."""
    shown = None
    while True:
        found = overview(target)
        if found != shown:
            show(found)
            shown = found
        sleep(STATUS_WATCH_SECONDS)


def _model(histories: HistoryStore, model: str) -> ModelPhase:
    try:
        rollout = histories.read(model).rollout
    except DeployerError as error:  # one unreadable history must not hide the other models
        return ModelPhase(model=model, phase=Phase.DEGRADED, rollout=error.message)
    if rollout is None:
        return ModelPhase(model=model, phase=Phase.HEALTHY, rollout="")
    past = summary(rollout)
    reason = f" ({past.reason})" if past.reason else ""
    return ModelPhase(
        model=model, phase=rollout.phase, rollout=f"version {past.previous} → {past.to}: {past.outcome}{reason}"
    )
