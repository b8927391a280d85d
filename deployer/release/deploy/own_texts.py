"""The configuration texts of a release whose ConfigMaps only the deployer writes (`models_source: live`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployer.domain.release import Release
from deployer.domain.serving import ServingConfig
from deployer.release.deploy.live_texts import text_diff
from deployer.release.render import server_files
from deployer.release.render.gateway_file import Specs, gateway_text
from deployer.targets.cluster.names import GATEWAY, MODEL_SERVER, Names
from gateway.settings import SettingsError, parse_settings
from tfserving.config import ConfigError, ModelServerConfig


@dataclass(frozen=True, kw_only=True)
class OwnText:
    """A text to write to ConfigMap `name`. `before` is the current one, empty for the first."""

    component: str
    name: str
    before: str
    after: str

    @property
    def diff(self) -> str:
        """Unified diff of the two texts."""
        return text_diff(self.before, self.after, self.name)


def own_texts(release: Release, state: ServingConfig, specs: Specs, current: Mapping[str, str]) -> tuple[OwnText, ...]:
    """The texts that must be written, model servers first. A text that means the same already stays.

    Errors: SpecError for a configuration that a model server or the gateway would reject.
    """
    names = Names(release=release.name)
    config = server_files.model_server_config(release, state)
    wanted = {
        MODEL_SERVER: (names.models, server_files.model_config_text(release.name, config)),
        GATEWAY: (names.gateway_config, gateway_text(release, state, specs)),
    }
    return tuple(
        OwnText(component=component, name=name, before=current.get(component, ""), after=text)
        for component, (name, text) in wanted.items()
        if component not in current or not same_meaning(component, current[component], text)
    )


def same_meaning(component: str, before: str, after: str) -> bool:
    """Whether both texts of a component configure the same."""
    try:
        if component == MODEL_SERVER:
            return ModelServerConfig.parse(before) == ModelServerConfig.parse(after)
        return parse_settings(before) == parse_settings(after)
    except (ConfigError, SettingsError):
        return False
