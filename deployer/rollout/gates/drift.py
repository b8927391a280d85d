"""What a window shows of the drift of canary's records."""

from __future__ import annotations

from collections.abc import Sequence

from deployer.domain.gate import Gate, Metric
from deployer.domain.rollout import CANARY, Rollout
from deployer.domain.serving import STABLE
from deployer.release import gateway_metrics
from deployer.release.drift import found
from deployer.release.gateway_metrics import Reading
from deployer.release.window import DriftSeen
from deployer.rollout import files


def drift_seen(
    rollout: Rollout, features: str | None, before: Reading, after: Reading, gates: Sequence[Gate]
) -> tuple[DriftSeen, ...]:
    """The records of canary between two readings, in the bins of the training data of its version.

    `features` is its feature spec. Nothing without a gate for it, or without statistics. Errors: SpecError.
    """
    version = rollout.request.to
    if features is None or not any(gate.metric is Metric.DRIFT for gate in gates):
        return ()
    known = files.training(rollout.model, version, features)
    if known is None:
        return ()
    return found.seen(found.counts(gateway_metrics.growth(before, after)), known, version, CANARY, STABLE)
