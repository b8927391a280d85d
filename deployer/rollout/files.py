"""Reads and writes one model's part of the two configuration files of a release; the rest of the files is unchanged."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

import msgspec

from deployer.domain.serving import ModelState
from deployer.errors import SpecError, TargetError
from deployer.release.render import state_of
from deployer.release.render.text import to_yaml
from deployer.targets.base import Target
from gateway.settings import Settings, SettingsError, parse_settings
from gateway.spec import FeatureSpec, SpecProblem, Statistics, dump_spec, parse_spec
from gateway.spec.reading.text import load
from tfserving.config import ModelServerConfig, Specific

FALLBACK, SHADOW = "fallback", "shadow"
HELPERS = (FALLBACK, SHADOW)
"""Routing settings of the gateway that are only set during a rollout."""

Put = Callable[[str], None]
"""Writes a model_config."""

RENDER_HINT = "`deployer render` writes valid files"


@dataclass(frozen=True, kw_only=True)
class ReleaseConfig:
    """The two configuration texts of a release, read at the same time."""

    model_config: str
    gateway_config: str


def current_config(target: Target) -> ReleaseConfig:
    """Read both. Errors: TargetError."""
    return ReleaseConfig(model_config=target.model_config(), gateway_config=target.gateway_config())


def state(config: ReleaseConfig, model: str) -> ModelState:
    """The current state of a model. Errors: TargetError for an unknown model, SpecError."""
    models = state_of(config.model_config, config.gateway_config).models
    if model not in models:
        raise TargetError(f"the release serves no model {model}", hint=f"models: {', '.join(models)}")
    return models[model]


def put_replicas(
    target: Target,
    model: str,
    wanted: ModelState,
    *,
    config: ReleaseConfig,
    before_write: Callable[[], None],
    put: Put | None = None,
) -> bool:
    """Write versions and labels; returns False if they are already set. `config` is the configuration as last read.

    `before_write` is called just before the write; it raises if nothing must be written. `put` replaces the target's
    `put_model_config`. Errors: WriteConflict.
    """
    served = ModelServerConfig.parse(config.model_config)
    models = tuple(
        replace(m, policy=Specific(versions=wanted.versions), labels=wanted.labels) if m.name == model else m
        for m in served.models
    )
    if models == served.models:
        return False
    before_write()
    (put or target.put_model_config)(ModelServerConfig(models=models).to_text())
    return True


def put_gateways(
    target: Target,
    model: str,
    *,
    labels: Mapping[str, int],
    weights: Mapping[str, float],
    specs: Mapping[int, str],
    kept_specs: Collection[int] | None,
    helpers: Mapping[str, str],
    config: ReleaseConfig,
    before_write: Callable[[], None],
) -> bool:
    """Write labels and weights, and add feature specs by version; returns False if nothing changes.

    Existing specs of versions that are not in `kept_specs` are removed (None: none are). `helpers` are the labels for
    fallback and shadow; those that are not given are removed. `config` and `before_write` as for `put_replicas`.

    Errors: SpecError for a feature spec or settings that the gateway would reject; WriteConflict.
    """
    text = config.gateway_config
    document = load(text)
    section = document["models"][model]
    section["labels"] = dict(labels)
    routing = {key: value for key, value in (section.get("routing") or {}).items() if key not in HELPERS}
    section["routing"] = {**routing, "weights": dict(weights), **helpers}
    known = {
        str(version): spec
        for version, spec in (section.get("specs") or {}).items()
        if kept_specs is None or int(version) in kept_specs
    }
    _require_files(model, specs, section)
    section["specs"] = {**known, **{str(version): _spec(model, version, spec) for version, spec in specs.items()}}
    changed = to_yaml(document) + "\n"
    if _parsed(changed) == _parsed(text):
        return False
    before_write()
    target.put_gateway_config(changed)
    return True


def one_model(target: Target, model: str) -> ModelServerConfig:
    """The current model_config, reduced to this model."""
    config = ModelServerConfig.parse(target.model_config())
    return ModelServerConfig(models=tuple(m for m in config.models if m.name == model))


def signature(target: Target, model: str) -> str:
    """The signature that the gateway calls."""
    return _parsed(target.gateway_config()).models[model].signature


def versions_with_spec(target: Target, model: str) -> frozenset[int]:
    """Versions whose feature spec the gateways have."""
    return frozenset(map(int, _parsed(target.gateway_config()).models[model].specs))


def _require_files(model: str, specs: Mapping[int, str], section: Mapping[str, object]) -> None:
    """Errors: SpecError for a spec with files where gateways do not see the store."""
    for version, text in specs.items():
        if (named := _read(model, version, text).vocabularies) and not section.get("files"):
            feature, words = next(iter(named.items()))
            raise SpecError(
                f"the feature spec of {model} version {version} reads '{feature}' from {words.vocabulary_file}, and "
                "gateways do not see the store",
                hint="set gateway.mount_store: true in deployer.yaml and deploy, then start the rollout again",
            )


def _parsed(text: str) -> Settings:
    try:
        return parse_settings(text)
    except SettingsError as error:
        raise SpecError("the gateway would reject its settings", hint=RENDER_HINT) from error


def training(model: str, version: int, text: str) -> Statistics | None:
    """What training saw, from the text of a feature spec; None without statistics. Errors: SpecError."""
    return _read(model, version, text).statistics


def _spec(model: str, version: int, text: str) -> object:
    return msgspec.to_builtins(dump_spec(_read(model, version, text)))


def _read(model: str, version: int, text: str) -> FeatureSpec:
    try:
        return parse_spec(text)
    except SpecProblem as error:
        raise SpecError(
            f"the feature spec of {model} version {version} is invalid",
            hint="docs/reference/features-yaml.md describes every key; correct it and export the version again",
        ) from error
