"""One real request for each label of a release: whatever makes requests fail is found, also what nobody thought of."""

from __future__ import annotations

from deployer.errors import DeployerError
from deployer.release.smoke import smoke
from deployer.targets.base import Target
from deployer.targets.serving_view import FailedRequest, ServingView
from gateway.settings import ModelSettings, SettingsError, parse_settings

LABEL_REQUEST_TIMEOUT = 10.0
"""Seconds for each request."""


def failed_requests(target: Target, view: ServingView) -> tuple[FailedRequest, ...]:
    """The requests that fail, of one Predict of zeros for each label through the first gateway that responds.

    A model that refuses zeros has been reached, so that is no failure.
    """
    gateway = next((name for name, found in view.gateways.items() if not found.unreachable), None)
    try:
        models = parse_settings(view.gateway_config).models
    except SettingsError:
        models = {}  # a finding of its own
    if gateway is None:
        return ()
    tried = [_try(target, gateway, name, model, label) for name, model in models.items() for label in _labels(model)]
    return tuple(failed for failed in tried if failed is not None)


def _labels(model: ModelSettings) -> tuple[str, ...]:
    routed = model.routing.weights if model.routing is not None else {}
    return tuple(label for label, weight in routed.items() if weight > 0) or tuple(model.labels) or ("",)


def _try(target: Target, gateway: str, name: str, model: ModelSettings, label: str) -> FailedRequest | None:
    try:
        smoke(target, gateway, name, label, signature=model.signature, timeout=LABEL_REQUEST_TIMEOUT)
    except DeployerError as error:
        why = f"{error.message}: {error.cause}" if error.cause else error.message
        return FailedRequest(gateway=gateway, model=name, label=label, why=why, remedy=error.hint)
    return None
