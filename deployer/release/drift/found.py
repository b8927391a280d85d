"""Drift of every label of a model, from the counters of the gateways and the statistics in their settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from deployer.domain.drift import CHANCE, Divergence, compare, per_feature, share_bound
from deployer.errors import TargetError
from deployer.release import gateway_metrics
from deployer.release.gateway_metrics import Reading, Series
from deployer.release.window import DriftSeen
from deployer.targets.base import Target
from gateway.settings import SettingsError, parse_settings
from gateway.spec import Distribution, Statistics

COUNTER = "gateway_drift_records_total"
THRESHOLD = 0.1
"""PSI from which a feature has drifted; below 0.1 a population is commonly called stable, above 0.2 changed."""


@dataclass(frozen=True, kw_only=True)
class FeatureDrift:
    """One feature, or one score of the predictions. Counts are by bin; `missing` and `unknown` are shares of `live`.

    `missing_chance` is the difference from training's missing share that chance alone may give, as `unknown_chance`.
    """

    name: str
    kind: str
    psi: float
    js: float
    chance: float
    drifted: bool
    records: int
    missing: float
    missing_training: float
    missing_chance: float
    unknown: float
    unknown_training: float
    unknown_chance: float
    bins: tuple[str, ...]
    live: tuple[int, ...]
    training: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class LabelDrift:
    """What one version has answered for one label (empty: requests that named the version or nothing); worst first."""

    label: str
    version: int
    records: int
    features: tuple[FeatureDrift, ...]

    @property
    def drifted(self) -> tuple[str, ...]:
        """Names of features and scores that have drifted."""
        return tuple(feature.name for feature in self.features if feature.drifted)


@dataclass(frozen=True, kw_only=True)
class ModelDrift:
    """One model at `threshold`, by label."""

    model: str
    threshold: float
    labels: tuple[LabelDrift, ...]

    @property
    def drifted(self) -> bool:
        """Whether anything has drifted for any label."""
        return any(label.drifted for label in self.labels)


Counts = Mapping[tuple[int, int, str, str, str], Mapping[str, int]]
"""Counts by bin: for reference, version, label, kind and feature."""


def find(target: Target, model: str, threshold: float = THRESHOLD, before: Reading | None = None) -> ModelDrift:
    """Drift since the gateways started, or since the reading `before`.

    Errors: TargetError when the release has no such model, or no version of it has statistics.
    """
    known = statistics(target, model)
    if not known:
        raise TargetError(
            f"no served version of {model} has statistics of its training data",
            hint="`deployer export --features SPEC --data TRAINING_ROWS` stores them in a version",
        )
    reading = gateway_metrics.read(target, model)
    series = gateway_metrics.growth(before or Reading(model=model, gateways={}), reading)
    return judged(model, counts(series), known, threshold)


def statistics(target: Target, model: str) -> dict[int, Statistics]:
    """What training saw, by version, from the settings of the gateways. Errors: TargetError."""
    try:
        models = parse_settings(target.gateway_config()).models
    except SettingsError as error:
        raise TargetError("the settings of the gateways are not valid", hint="`deployer render` writes them") from error
    if model not in models:
        raise TargetError(f"the release serves no model {model}", hint=f"models: {', '.join(models)}")
    specs = models[model].specs
    return {int(version): spec.statistics for version, spec in specs.items() if spec.statistics is not None}


def counts(series: Series) -> Counts:
    """The counters for drift among all of one model."""
    found: dict[tuple[int, int, str, str, str], dict[str, int]] = defaultdict(dict)
    for (name, pairs), value in series.items():
        if name == COUNTER:
            facts = dict(pairs)
            who = int(facts["reference"]), int(facts["version"]), facts["label"], facts["kind"], facts["feature"]
            found[who][facts["bin"]] = round(value)
    return found


def judged(model: str, found: Counts, known: Mapping[int, Statistics], threshold: float) -> ModelDrift:
    """Every label's records in the bins of the version that answered them."""
    labels = sorted({(label, version) for reference, version, label, _, _ in found if reference == version})
    return ModelDrift(
        model=model,
        threshold=threshold,
        labels=tuple(
            one
            for label, version in labels
            if version in known and (one := _label(label, version, found, known[version], threshold)).records
        ),
    )


def seen(found: Counts, known: Statistics, version: int, label: str, other: str) -> tuple[DriftSeen, ...]:
    """The records of `label` in the bins of `version`, against training and against those of `other`.

    Scores are compared with those of training only: those of another version may differ.
    """
    result: list[DriftSeen] = []
    for kind, one in _named(known):
        live = _of_label(found, version, label, kind, one)
        if not any(live):
            continue
        result.append(DriftSeen(feature=one.name, against="training", live=live, other=tuple(one.all_counts)))
        beside = _of_label(found, version, other, kind, one)
        if kind == "feature" and any(beside):
            result.append(DriftSeen(feature=one.name, against=other, live=live, other=beside))
    return tuple(result)


def _named(known: Statistics) -> list[tuple[str, Distribution]]:
    return [("feature", one) for one in known.features] + [("score", one) for one in known.scores]


def _of_label(found: Counts, reference: int, label: str, kind: str, one: Distribution) -> tuple[int, ...]:
    """Counts of a label in the bins of `reference`, whichever version answered."""
    rows = [
        row_of(by_bin, one) for who, by_bin in found.items() if (who[0], *who[2:]) == (reference, label, kind, one.name)
    ]
    return tuple(sum(column) for column in zip(*rows, strict=True)) if rows else (0,) * len(one.bins)


def _label(label: str, version: int, found: Counts, known: Statistics, threshold: float) -> LabelDrift:
    counted = [
        (kind, one, row)
        for kind, one in _named(known)
        if sum(row := row_of(found.get((version, version, label, kind, one.name), {}), one))
    ]
    alpha = per_feature(CHANCE, len(counted))
    features = [_feature(kind, one, row, threshold, alpha) for kind, one, row in counted]
    return LabelDrift(
        label=label,
        version=version,
        records=max((one.records for one in features), default=0),
        features=tuple(sorted(features, key=lambda one: (not one.drifted, -one.psi))),
    )


def row_of(counts_: Mapping[str, int], distribution: Distribution) -> list[int]:
    """Counts in the order of the bins of a distribution."""
    return [counts_.get(bin_, 0) for bin_ in distribution.bins]


def _feature(kind: str, one: Distribution, row: Sequence[int], threshold: float, alpha: float) -> FeatureDrift:
    found: Divergence = compare(row, one.all_counts, alpha=alpha)
    live, total = sum(row), max(1, one.total)
    missing, unknown = row[-2], row[-1]
    return FeatureDrift(
        name=one.name,
        kind=kind,
        psi=found.psi,
        js=found.js,
        chance=found.chance,
        drifted=found.beyond(threshold),
        records=live,
        missing=missing / live,
        missing_training=one.missing / total,
        missing_chance=share_bound(missing, live, one.missing, total, alpha),
        unknown=unknown / live,
        unknown_training=one.unknown / total,
        unknown_chance=share_bound(unknown, live, one.unknown, total, alpha),
        bins=tuple(one.told(bin_) for bin_ in range(len(row))),
        live=tuple(row),
        training=tuple(one.all_counts),
    )
