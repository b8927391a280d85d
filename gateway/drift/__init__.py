"""Drift: live records and scores, counted into the bins of the training data of a version."""

from gateway.drift.bins import Bins
from gateway.drift.live import Drift
from gateway.drift.measures import Measure, measures
from gateway.drift.scores import Values, scores
from gateway.drift.watch import Watch

__all__ = ["Bins", "Drift", "Measure", "Values", "Watch", "measures", "scores"]
