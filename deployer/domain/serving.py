"""What a release serves now: versions, labels and traffic weights. Rollouts change it, not deployer.yaml."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from deployer.domain.names import label_problem

STABLE = "stable"
"""The label that gets all traffic of a model while no rollout is open."""


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """The state of one model: the `versions` in memory, the version of each label, and the labels' weights.

    `weights` are relative. When empty, requests that name no label or version go to the newest version. Values are
    sorted, so that equal states are rendered equally.
    Errors at construction: ValueError for a state that is impossible or would serve nothing.
    """

    versions: tuple[int, ...]
    labels: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.versions:
            raise ValueError("no version is served")
        if min(self.versions) < 1:
            raise ValueError(f"version {min(self.versions)}: versions start at 1")
        object.__setattr__(self, "versions", tuple(sorted(set(self.versions))))
        object.__setattr__(self, "labels", dict(sorted(self.labels.items())))
        object.__setattr__(self, "weights", dict(sorted(self.weights.items())))
        for label, version in self.labels.items():
            if problem := label_problem(label):
                raise ValueError(problem)
            if version not in self.versions:
                raise ValueError(
                    f"label {label} is version {version}, which is not served; served are {list(self.versions)}"
                )
        self._check_weights()

    def _check_weights(self) -> None:
        for label, weight in self.weights.items():
            if label not in self.labels:
                raise ValueError(f"weight for label {label}, which has no version")
            if not 0 <= weight < float("inf"):
                raise ValueError(f"weight {weight} of label {label} must be a finite number, 0 or more")
        if self.weights and sum(self.weights.values()) <= 0:
            raise ValueError("all weights are 0; no label would get traffic")


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """The state of a whole release, by model name."""

    models: Mapping[str, ModelState]


def first_state(available: Collection[int]) -> ModelState:
    """The initial state of a model: its newest version is stable and gets all traffic.

    Errors: ValueError when there is no version.
    """
    if not available:
        raise ValueError("the store has no version")
    newest = max(available)
    return ModelState(versions=(newest,), labels={STABLE: newest}, weights={STABLE: 100})
