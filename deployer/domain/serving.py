"""What a release serves right now: versions, labels and traffic shares. Owned by rollouts, not by deployer.yaml."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from deployer.domain.names import label_problem

STABLE = "stable"
"""The label that takes all traffic of a model that is not being rolled out."""


@dataclass(frozen=True, kw_only=True)
class ModelState:
    """One model: the `versions` in memory, what each label stands for, and the labels' shares of traffic.

    `weights` are relative, over labels; empty means that only requests that name a label or version are routed by it,
    and all others go to the newest version. Values are kept in order, so equal states are rendered equally.
    Errors at construction: ValueError for a state that no server could be in, or that would answer nothing.
    """

    versions: tuple[int, ...]
    labels: Mapping[str, int] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.versions:
            raise ValueError("no version is served")
        if min(self.versions) < 1:
            raise ValueError(f"version {min(self.versions)}: versions count from 1")
        object.__setattr__(self, "versions", tuple(sorted(set(self.versions))))
        object.__setattr__(self, "labels", dict(sorted(self.labels.items())))
        object.__setattr__(self, "weights", dict(sorted(self.weights.items())))
        for label, version in self.labels.items():
            if problem := label_problem(label):
                raise ValueError(problem)
            if version not in self.versions:
                raise ValueError(f"label {label} stands for version {version}; served are {list(self.versions)}")
        self._check_weights()

    def _check_weights(self) -> None:
        for label, weight in self.weights.items():
            if label not in self.labels:
                raise ValueError(f"weight for label {label}, which stands for no version")
            if not 0 <= weight < float("inf"):
                raise ValueError(f"weight {weight} of label {label} is no share of traffic")
        if self.weights and sum(self.weights.values()) <= 0:
            raise ValueError("all weights are 0; no label would take traffic")


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """The state of a whole release, by model name."""

    models: Mapping[str, ModelState]


def first_state(available: Collection[int]) -> ModelState:
    """What a model serves when nothing was decided yet: its newest version, as stable, with all traffic.

    Errors: ValueError when there is no version.
    """
    if not available:
        raise ValueError("the store holds no version")
    newest = max(available)
    return ModelState(versions=(newest,), labels={STABLE: newest}, weights={STABLE: 100})
