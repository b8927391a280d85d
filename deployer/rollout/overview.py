"""A release as `deployer status` shows it: what runs, and for each model where its latest rollout stands."""

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

WATCH_SECONDS = 2.0

_GRAVEST_FIRST = (Phase.DEGRADED, Phase.PAUSED, Phase.PROGRESSING, Phase.PENDING, Phase.HEALTHY)


@dataclass(frozen=True, kw_only=True)
class ModelPhase:
    """Where one model stands: `rollout` tells its latest rollout in a few words, empty when there was none."""

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
        """The gravest of all models; Degraded when something is not as configured and no rollout is changing it."""
        found = {model.phase for model in self.models}
        moving = found & {Phase.PENDING, Phase.PROGRESSING}
        if self.release.missing and not moving:
            return Phase.DEGRADED
        return next((phase for phase in _GRAVEST_FIRST if phase in found), Phase.HEALTHY)


def overview(target: Target) -> Overview:
    """Ask every replica and gateway, and read the ledgers. Errors: as of `release.status`, TargetError."""
    return of_histories(status(target), target.history())


def with_rollouts(target: Target, seen: ServingView) -> ServingView:
    """The view with the rollouts that are open, as far as anything can be read of them."""
    try:
        histories = target.history()
        models = [model.name for model in ModelServerConfig.parse(seen.model_config).models]
        found = tuple(one for model in models if (one := histories.read(model).open) is not None)
        steps = {one.model: str(step) for one in found if (step := current(one)) is not None}
        return replace(seen, rollouts=found, steps=steps, at_work=histories.holder())
    except (ConfigError, TargetError):
        return seen


def of_histories(found: Status, histories: HistoryStore) -> Overview:
    """A status, and what these ledgers tell of its models."""
    served = {one.model for replica in found.replicas for one in replica.served}
    return Overview(release=found, models=tuple(_model(histories, name) for name in sorted({*served, *found.weights})))


def watch(target: Target, show: Callable[[Overview], None], *, sleep: Callable[[float], None] = time.sleep) -> NoReturn:
    """Show the overview now and whenever it has changed, until interrupted. Errors: as of `overview`."""
    shown = None
    while True:
        found = overview(target)
        if found != shown:
            show(found)
            shown = found
        sleep(WATCH_SECONDS)


def _model(histories: HistoryStore, model: str) -> ModelPhase:
    try:
        rollout = histories.read(model).rollout
    except DeployerError as error:  # one ledger that cannot be read hides nothing of the rest
        return ModelPhase(model=model, phase=Phase.DEGRADED, rollout=error.message)
    if rollout is None:
        return ModelPhase(model=model, phase=Phase.HEALTHY, rollout="")
    past = summary(rollout)
    reason = f" ({past.reason})" if past.reason else ""
    return ModelPhase(
        model=model, phase=rollout.phase, rollout=f"version {past.previous} → {past.to}: {past.outcome}{reason}"
    )
