"""The state of a release, read back from its two configuration files."""

from __future__ import annotations

from deployer.domain.serving import ModelState, ServingConfig
from deployer.errors import SpecError
from gateway.settings import SettingsError, parse_settings
from tfserving.config import ConfigError, ModelServerConfig, Specific


def state_of(model_config: str, gateway_config: str) -> ServingConfig:
    """Versions and labels from model_config, weights from the gateway's settings.

    Errors: SpecError when a file is invalid, or was not written by `deployer` (no fixed list of versions).
    """
    try:
        config, settings = ModelServerConfig.parse(model_config), parse_settings(gateway_config)
        states = {}
        for model in config.models:
            if not isinstance(model.policy, Specific):
                raise ConfigError(f"model {model.name} has no fixed list of versions")
            routed = settings.models.get(model.name)
            weights = routed.routing.weights if routed and routed.routing else {}
            states[model.name] = ModelState(versions=model.policy.versions, labels=model.labels, weights=weights)
    except (ValueError, SettingsError) as error:
        raise SpecError(
            "the current configuration cannot be parsed",
            hint="it was edited manually; in a cluster, `deployer deploy` repairs it;"
            " for a local release, `deployer local down` and `up` write it again",
        ) from error
    return ServingConfig(models=states)
