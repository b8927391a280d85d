"""The installed state of a release in a cluster, which a deployment starts from and keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from deployer.decode import document_as
from deployer.domain.release import Release
from deployer.domain.serving import STABLE, ModelState
from deployer.errors import SpecError, TargetError
from deployer.release.deploy.live_texts import Restored, usable
from deployer.release.render.gateway_file import Specs
from deployer.release.render.readback import state_of
from deployer.release.render.text import to_yaml
from deployer.targets.cluster import proof
from deployer.targets.cluster.names import GATEWAY, MODEL_SERVER
from deployer.targets.cluster.target import ClusterTarget
from deployer.tools.helm import HelmRelease
from gateway.settings import ModelSettings, parse_settings
from gateway.spec import dump_spec
from tfserving.config import Specific


@dataclass(frozen=True, kw_only=True)
class Bounds:
    """Limits for a version: the memory limit, and the rows of one batch (None without batching)."""

    memory: str
    rows: int | None

    @classmethod
    def of(cls, release: Release) -> Bounds:
        """The limits in deployer.yaml."""
        rows = release.batching.max_batch_size if release.batching else None
        return cls(memory=release.serving.resources.memory, rows=rows)


@dataclass(frozen=True, kw_only=True)
class Live:
    """What is installed: states and feature specs by model, and the current limits; empty before the first deployment.

    `known` are the versions that the gateway knows, so a known version without a spec has none. `restored` are invalid
    configuration texts; states and specs are then those of their replacement. `texts` are the current texts, by
    component, that only the deployer writes.
    """

    states: Mapping[str, ModelState] = field(default_factory=dict)
    specs: Specs = field(default_factory=dict)
    known: Mapping[str, frozenset[int]] = field(default_factory=dict)
    bounds: Bounds | None = None
    restored: tuple[Restored, ...] = ()
    texts: Mapping[str, str] = field(default_factory=dict)

    def complete(self, name: str) -> bool:
        """Whether everything about a model is known without reading the PVC."""
        return name in self.states and self.known.get(name, frozenset()).issuperset(self.states[name].versions)


def live_release(target: ClusterTarget) -> Live:
    """Read the installed state. Errors: TargetError, ToolError."""
    if (live := target.texts.live()) is not None:
        return _live_only(live, target.helm.tf_serving())
    tf_serving, gateway = target.helm.tf_serving(), target.helm.gateway()
    if tf_serving is None:
        return Live()
    if gateway is None:  # an interrupted first installation
        config = proof.parsed(target.model_config())
        return Live(
            states={
                model.name: _unrouted(model.policy.versions, model.labels)
                for model in config.models
                if isinstance(model.policy, Specific)
            }
        )
    texts = usable(target, tf_serving, gateway)
    specs, known = _specs(parse_settings(texts.gateway).models)
    return Live(
        states=texts.state.models,
        specs=specs,
        known=known,
        bounds=document_as(tf_serving.values, _Values).bounds,
        restored=texts.restored,
    )


def _live_only(texts: Mapping[str, str], tf_serving: HelmRelease | None) -> Live:
    """The state in ConfigMaps that only the deployer writes; empty until it has written both."""
    if len(texts) < 2:
        return Live(texts=texts)
    try:
        state = state_of(texts[MODEL_SERVER], texts[GATEWAY])
    except SpecError as error:
        raise TargetError(
            error.message,
            cause=error.cause,
            hint="it was edited manually; `deployer rollout status` and the history show what it was",
        ) from error
    models = parse_settings(texts[GATEWAY]).models
    specs, known = _specs(models)
    bounds = document_as(tf_serving.values, _Values).bounds if tf_serving is not None else None
    return Live(states=state.models, specs=specs, known=known, bounds=bounds, texts=texts)


def _specs(models: Mapping[str, ModelSettings]) -> tuple[Specs, Mapping[str, frozenset[int]]]:
    """The feature specs in the gateway's settings, and the versions that the gateway knows."""
    specs = {
        name: {int(number): to_yaml(dump_spec(spec)) for number, spec in model.specs.items()}
        for name, model in models.items()
    }
    known = {name: frozenset({*model.labels.values(), *specs[name]}) for name, model in models.items()}
    return specs, known


class _Batching(msgspec.Struct, frozen=True, rename="camel"):
    enabled: bool | None = None
    max_batch_size: int | None = None


class _Limits(msgspec.Struct, frozen=True):
    memory: str | int | float | None = None


class _Resources(msgspec.Struct, frozen=True):
    limits: _Limits | None = None


class _Values(msgspec.Struct, frozen=True):
    """The values of the installed release that matter here, as anybody may have written them for plain Helm: a null
    removes a default of the chart, and a quantity may be a number."""

    resources: _Resources | None = None
    batching: _Batching | None = None

    @property
    def bounds(self) -> Bounds:
        batching = self.batching or _Batching()
        limits = self.resources.limits if self.resources else None
        memory = limits.memory if limits else None
        return Bounds(
            memory="" if memory is None else str(memory), rows=batching.max_batch_size if batching.enabled else None
        )


def _unrouted(versions: tuple[int, ...], labels: Mapping[str, int]) -> ModelState:
    return ModelState(versions=versions, labels=labels, weights={STABLE: 100} if STABLE in labels else {})
