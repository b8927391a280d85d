"""One model's part in the two files of a release, read and rewritten; everything else in them stays as it is."""

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
from gateway.spec import SpecProblem, dump_spec, parse_spec
from gateway.spec.text import load
from tfserving.config import ModelServerConfig, Specific

FALLBACK, SHADOW = "fallback", "shadow"
HELPERS = (FALLBACK, SHADOW)
"""Settings of the gateway's routing that are there while a rollout is."""

Put = Callable[[str], None]
"""Writes a model_config."""

DRAFT = "`deployer render` writes files that can be used"


@dataclass(frozen=True, kw_only=True)
class InForce:
    """The two texts of a release as they were read at one moment."""

    model_config: str
    gateway_config: str


def in_force(target: Target) -> InForce:
    """Read both. Errors: TargetError."""
    return InForce(model_config=target.model_config(), gateway_config=target.gateway_config())


def state(seen: InForce, model: str) -> ModelState:
    """What is in force for a model. Errors: TargetError for a model that the release has not, SpecError."""
    models = state_of(seen.model_config, seen.gateway_config).models
    if model not in models:
        raise TargetError(f"the release serves no model {model}", hint=f"it serves {', '.join(models)}")
    return models[model]


def put_replicas(
    target: Target,
    model: str,
    wanted: ModelState,
    *,
    seen: InForce,
    before_write: Callable[[], None],
    put: Put | None = None,
) -> bool:
    """Write versions and labels; False when they are in force already. `seen` is what was read last.

    `before_write` is called just before, and raises when nothing may be written. `put` writes, if it is not the
    target's usual way. Errors: WriteConflict.
    """
    config = ModelServerConfig.parse(seen.model_config)
    models = tuple(
        replace(m, policy=Specific(versions=wanted.versions), labels=wanted.labels) if m.name == model else m
        for m in config.models
    )
    if models == config.models:
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
    remembered: Collection[int] | None,
    helpers: Mapping[str, str],
    seen: InForce,
    before_write: Callable[[], None],
) -> bool:
    """Write labels and weights, and add feature specs by version; False when all that is in force already.

    Of the specs that are there, those of versions that are not `remembered` are taken away (None: none of them).
    `helpers` are the labels that fall back and shadow, by what they do; those that are not named are taken away.
    `seen` and `before_write` are as for `put_replicas`.

    Errors: SpecError for a feature spec or settings that the gateway would refuse; WriteConflict.
    """
    text = seen.gateway_config
    document = load(text)
    section = document["models"][model]
    section["labels"] = dict(labels)
    routing = {key: value for key, value in (section.get("routing") or {}).items() if key not in HELPERS}
    section["routing"] = {**routing, "weights": dict(weights), **helpers}
    known = {
        str(version): spec
        for version, spec in (section.get("specs") or {}).items()
        if remembered is None or int(version) in remembered
    }
    section["specs"] = {**known, **{str(version): _spec(model, version, spec) for version, spec in specs.items()}}
    changed = to_yaml(document) + "\n"
    if _parsed(changed) == _parsed(text):
        return False
    before_write()
    target.put_gateway_config(changed)
    return True


def one_model(target: Target, model: str) -> ModelServerConfig:
    """The model_config in force with nothing but this model in it."""
    config = ModelServerConfig.parse(target.model_config())
    return ModelServerConfig(models=tuple(m for m in config.models if m.name == model))


def signature(target: Target, model: str) -> str:
    """The signature that the gateway calls."""
    return _parsed(target.gateway_config()).models[model].signature


def versions_with_spec(target: Target, model: str) -> frozenset[int]:
    """Versions whose feature spec the gateways have been given."""
    return frozenset(map(int, _parsed(target.gateway_config()).models[model].specs))


def _parsed(text: str) -> Settings:
    try:
        return parse_settings(text)
    except SettingsError as error:
        raise SpecError("the gateway would refuse its settings", hint=DRAFT) from error


def _spec(model: str, version: int, text: str) -> object:
    try:
        return msgspec.to_builtins(dump_spec(parse_spec(text)))
    except SpecProblem as error:
        raise SpecError(
            f"the feature spec of {model} version {version} cannot be used",
            hint="docs/reference/features-yaml.md describes every key; the spec was exported with the version",
        ) from error
