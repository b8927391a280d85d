"""Decisions beside what the model said: arrays of scores in, words out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gateway.spec.rules import Calibration, LabelRules, Range, ScoreRules

Array = NDArray[Any]


def calibrated(scores: Array, rule: Calibration | None) -> Array:
    """Scores as probabilities."""
    if rule is None:
        return scores
    if rule.platt is not None:
        return np.asarray(0.5 * (1 + np.tanh(0.5 * (rule.platt.slope * scores + rule.platt.intercept))))
    assert rule.isotonic is not None
    return np.asarray(np.interp(scores, rule.isotonic.scores, rule.isotonic.probabilities))


def by_label(scores: Array, labels: Sequence[str], rules: LabelRules) -> list[str | None]:
    """The decision for each row of records x labels scores; None where no label reaches its threshold."""
    needed = np.array([(rules.thresholds or {}).get(label, 0.0) for label in labels])
    reached = np.where(scores >= needed, scores, -np.inf)
    best = reached.argmax(axis=1)
    tops = reached[np.arange(len(scores)), best]
    found: list[str | None] = [
        labels[index] if top > -np.inf else None for index, top in zip(best.tolist(), tops.tolist(), strict=True)
    ]
    return _abstained(found, tops, rules)


def by_score(scores: Array, labels: Sequence[str | None], certainty: Array, rules: ScoreRules) -> list[str | None]:
    """The decision for each score; `labels` holds those without ranges, `certainty` what abstaining looks at."""
    return _abstained(by_range(scores, rules.ranges) if rules.ranges else list(labels), certainty, rules)


def by_range(scores: Array, ranges: Sequence[Range]) -> list[str | None]:
    """The decision of the range in which each score lies."""
    bounds = [one.below for one in ranges if one.below is not None]
    words = [one.decision for one in ranges]
    return [words[index] for index in np.searchsorted(bounds, scores, side="right").tolist()]


def _abstained(found: list[str | None], certainty: Array, rules: LabelRules | ScoreRules) -> list[str | None]:
    if rules.abstain is None:
        return found
    word, uncertain = rules.abstain.decision, (certainty < rules.abstain.below).tolist()
    return [word if below else one for one, below in zip(found, uncertain, strict=True)]
