"""The two configuration texts that pods read, and the repair of a text that was made invalid by a manual edit.

Helm keeps the text that it wrote last; between rollouts that is the live text.
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
from gateway.spec.reading.text import Loader
from tfserving.config import ConfigError, ModelServerConfig, Specific


@dataclass(frozen=True, kw_only=True)
class Restored:
    """An invalid text, and its replacement. `component` says which pods read it."""

    component: str
    name: str
    why: str
    before: str
    after: str

    def __str__(self) -> str:
        """The problem and its repair, in a sentence."""
        return f"restoring the text that Helm wrote last in ConfigMap {self.name}: {self.why}"

    @property
    def diff(self) -> str:
        """Unified diff of the two texts."""
        return text_diff(self.before, self.after, self.name)


@dataclass(frozen=True, kw_only=True)
class Texts:
    """The live configuration, or the repaired one: the gateway's text, and the state in both texts."""

    gateway: str
    state: ServingConfig
    restored: tuple[Restored, ...] = ()


def usable(target: ClusterTarget, tf_serving: HelmRelease, gateway: HelmRelease) -> Texts:
    """The live texts; invalid ones are replaced by the text that Helm wrote last.

    Errors: TargetError when that is invalid too, or nothing is installed.
    """
    names = target.names
    configmaps = {MODEL_SERVER: names.models, GATEWAY: names.gateway_config}
    live = {MODEL_SERVER: target.model_config(), GATEWAY: target.gateway_config()}
    problems = {MODEL_SERVER: _models_problem(live[MODEL_SERVER]), GATEWAY: _gateway_problem(live[GATEWAY])}
    written = {
        MODEL_SERVER: _written(tf_serving, names.models, MODELS_KEY),
        GATEWAY: _written(gateway, names.gateway_config, GATEWAY_KEY),
    }
    # One text from Helm may contradict the other one, which a rollout has changed since; both from Helm do not.
    for replaced in ({component for component in live if problems[component]}, set(live)):
        texts = {component: written[component] if component in replaced else live[component] for component in live}
        try:
            state = state_of(texts[MODEL_SERVER], texts[GATEWAY])
        except SpecError as error:
            contradiction = error.cause
            continue
        changed = [component for component in live if texts[component] != live[component]]
        return Texts(
            gateway=texts[GATEWAY],
            state=state,
            restored=tuple(
                Restored(
                    component=component,
                    name=configmaps[component],
                    why=problems[component] or "it contradicts the other configuration text",
                    before=live[component],
                    after=texts[component],
                )
                for component in changed
            ),
        )
    raise TargetError(
        f"the live configuration of {names.release} is invalid, and so is the one that Helm wrote last",
        cause="; ".join(f"{configmaps[key]}: {why}" for key, why in problems.items() if why) or contradiction,
        hint="`helm history` shows the revisions, `helm rollback` restores one",
    )


def text_diff(before: str, after: str, name: str) -> str:
    """Unified diff of a configuration text, live against new; empty if nothing changes."""
    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), f"{name} (live)", f"{name} (new)", lineterm=""
    )
    return "\n".join(lines)


def _models_problem(text: str) -> str:
    try:
        config = ModelServerConfig.parse(text)
    except ConfigError as error:
        return str(error)
    without_versions = [model.name for model in config.models if not isinstance(model.policy, Specific)]
    return f"model {without_versions[0]} has no fixed list of versions" if without_versions else ""


def _gateway_problem(text: str) -> str:
    try:
        parse_settings(text)
    except SettingsError as error:
        return " ".join(str(error).split())
    return ""


def _written(release: HelmRelease, name: str, key: str) -> str:
    """The text of a ConfigMap in the manifest of a Helm release; empty if there is none."""
    for document in yaml.load_all(release.manifest, Loader=Loader):
        if document and document["kind"] == "ConfigMap" and document["metadata"]["name"] == name:
            return str(document["data"].get(key, ""))
    return ""
