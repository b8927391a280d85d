"""The two texts that pods follow, and what becomes of one that somebody made unusable by hand.

Helm keeps what it wrote last; between rollouts, that is what was in force.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass

import yaml

from deployer.domain.serving import ServingConfig
from deployer.errors import SpecError, TargetError
from deployer.release.render.readback import state_of
from deployer.targets.cluster.names import GATEWAY, GATEWAY_KEY, MODEL_SERVER, MODELS_KEY
from deployer.targets.cluster.target import ClusterTarget
from deployer.tools.helm import HelmRelease
from gateway.settings import SettingsError, parse_settings
from gateway.spec.text import Loader
from tfserving.config import ConfigError, ModelServerConfig, Specific


@dataclass(frozen=True, kw_only=True)
class Restored:
    """A text that cannot be used, and the one that takes its place. `component` says whose pods follow it."""

    component: str
    name: str
    why: str
    before: str
    after: str

    def __str__(self) -> str:
        """What is wrong and what is done about it, in a sentence."""
        return f"ConfigMap {self.name} gets the text back that Helm wrote last: {self.why}"

    @property
    def diff(self) -> str:
        """Unified diff of the two texts."""
        lines = (self.before.splitlines(), self.after.splitlines())
        return "\n".join(difflib.unified_diff(*lines, f"{self.name} (live)", f"{self.name} (new)", lineterm=""))


@dataclass(frozen=True, kw_only=True)
class Texts:
    """What is in force, or will be once `restored` is: the gateway's text, and the state that both texts say."""

    gateway: str
    state: ServingConfig
    restored: tuple[Restored, ...] = ()


def usable(target: ClusterTarget, tf_serving: HelmRelease, gateway: HelmRelease) -> Texts:
    """The texts in force; in place of those that cannot be used, what Helm wrote last.

    Errors: TargetError when that cannot be used either, or nothing is installed.
    """
    names = target.names
    called = {MODEL_SERVER: names.models, GATEWAY: names.gateway_config}
    live = {MODEL_SERVER: target.model_config(), GATEWAY: target.gateway_config()}
    wrong = {MODEL_SERVER: _models_problem(live[MODEL_SERVER]), GATEWAY: _gateway_problem(live[GATEWAY])}
    written = {
        MODEL_SERVER: _written(tf_serving, names.models, MODELS_KEY),
        GATEWAY: _written(gateway, names.gateway_config, GATEWAY_KEY),
    }
    # What Helm wrote of one may contradict what a rollout has made of the other since; of both it does not.
    for replaced in ({one for one in live if wrong[one]}, set(live)):
        texts = {one: written[one] if one in replaced else live[one] for one in live}
        try:
            state = state_of(texts[MODEL_SERVER], texts[GATEWAY])
        except SpecError as error:
            contradiction = error.cause
            continue
        changed = [one for one in live if texts[one] != live[one]]
        return Texts(
            gateway=texts[GATEWAY],
            state=state,
            restored=tuple(
                Restored(
                    component=one,
                    name=called[one],
                    why=wrong[one] or "it contradicts the other text in force",
                    before=live[one],
                    after=texts[one],
                )
                for one in changed
            ),
        )
    raise TargetError(
        f"the configuration in force of {names.release} cannot be used, nor what Helm wrote last",
        cause="; ".join(f"{called[one]}: {why}" for one, why in wrong.items() if why) or contradiction,
        hint="`helm history` shows the revisions, `helm rollback` brings one back",
    )


def _models_problem(text: str) -> str:
    try:
        config = ModelServerConfig.parse(text)
    except ConfigError as error:
        return str(error)
    loose = [model.name for model in config.models if not isinstance(model.policy, Specific)]
    return f"model {loose[0]} has no fixed list of versions" if loose else ""


def _gateway_problem(text: str) -> str:
    try:
        parse_settings(text)
    except SettingsError as error:
        return " ".join(str(error).split())
    return ""


def _written(release: HelmRelease, name: str, key: str) -> str:
    """The text of a ConfigMap as a Helm release has it; empty when it has none."""
    for one in yaml.load_all(release.manifest, Loader=Loader):
        if one and one["kind"] == "ConfigMap" and one["metadata"]["name"] == name:
            return str(one["data"].get(key, ""))
    return ""
