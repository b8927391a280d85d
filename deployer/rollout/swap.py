"""Replicas that never hold two versions: one is emptied before it gets the other version, while the rest serve.

While such a rollout is open, every replica follows a model_config of its own, which names one version and the labels
that stand for it. What the release's model_config says is the sum: what gateways route to, and what a status shows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from deployer.domain.rollout import CANARY, Rollout
from deployer.domain.serving import STABLE, ModelState
from deployer.rollout import files
from deployer.rollout import proof as rollout_proof
from deployer.rollout.files import InForce
from deployer.rollout.proof import POLL_SECONDS, Clock, Unproven, Wanted, alive
from deployer.rollout.steps import Kind, Step, canary_replicas
from deployer.targets import proof
from deployer.targets.base import Progress, Target
from tfserving.config import ModelServerConfig, Specific

GONE = frozenset(["END", "absent"])


@dataclass(frozen=True, kw_only=True)
class Swap:
    """The replicas' side of a rollout that spares memory. `interrupted` may raise while it waits, `sure` before it
    writes."""

    target: Target
    rollout: Rollout
    progress: Progress
    clock: Clock
    interrupted: Callable[[], None]
    before_write: Callable[[], None]

    def make(self, step: Step, after: ModelState, seen: InForce) -> float | None:
        """Do what a step does to the replicas; doing it again changes nothing more.

        Returns the seconds that the version took to load on the first replica that got it. Errors: Unproven.
        """
        model, to = self.rollout.model, self.rollout.request.to
        seconds = None
        if step.kind in (Kind.LOAD, Kind.RESTORE):
            self._hold(after)
        files.put_replicas(self.target, model, after, seen=seen, before_write=self.before_write)
        if step.kind in (Kind.UNLOAD, Kind.DROP):
            self._all_to(self.rollout.previous if step.kind is Kind.DROP else to, after)
            self._release()
        elif step.kind is Kind.RESTORE:
            self._all_to(self.rollout.previous, after)
        elif step.kind is Kind.PROMOTE:
            self._relabel(after)
            self.prove(step, after, fresh=False)  # one that has no version with the label must never be the last one
            self._all_to(to, after)
        else:
            seconds = self._some(canary_replicas(self.rollout, step), after)
            self._relabel(after)
        self.prove(step, after, fresh=True)
        return seconds

    def prove(self, step: Step, after: ModelState, *, fresh: bool) -> None:
        """Return once every replica shows the one version that it is to have. Errors: Unproven."""
        if step.kind is Kind.SHIFT and not self._holding(self.rollout.request.to):
            raise Unproven(f"no replica holds version {self.rollout.request.to} any more")
        held = self._held()

        def wanted(name: str) -> Wanted:
            if name not in held:  # it has come meanwhile
                held.update(self._held())
            return self._wanted(held.get(name, 0), after)

        self._shown(wanted, fresh=fresh)

    # -- helpers

    def _wanted(self, version: int, after: ModelState) -> Wanted:
        labels = self._labels(version, after) if version else {}
        gone = frozenset([CANARY]) - labels.keys()
        versions = frozenset([version]) if version else frozenset()
        return Wanted(model=self.rollout.model, versions=versions, labels=labels, gone=gone)

    def _shown(self, wanted: Callable[[str], Wanted], *, fresh: bool) -> None:
        rollout_proof.replicas(
            self.target,
            wanted,
            clock=self.clock,
            timeout=self.rollout.request.timeout,
            interrupted=self.interrupted,
            fresh=fresh,
        )

    def _hold(self, after: ModelState) -> None:
        """Every replica goes on with what it has, whatever the release says from now on."""
        if self.target.newcomer_config() is None:
            text = self._with(self.target.model_config(), self.rollout.previous, self.rollout.base.labels)
            self.target.put_newcomer_config(text)
        own, text = self.target.own_configs(), self.target.model_config()
        for replica in self.target.replicas():
            if replica.name not in own:
                self.target.put_own_config(replica.name, text)

    def _release(self) -> None:
        """Every replica follows the release again, where that is what it has."""
        config = ModelServerConfig.parse(self.target.model_config())
        (final,) = (model for model in config.models if model.name == self.rollout.model)
        rest = tuple(m for m in config.models if m.name != self.rollout.model)
        for name, own in self.target.own_configs().items():
            models = ModelServerConfig.parse(own).models
            if tuple(m for m in models if m.name != self.rollout.model) == rest:
                self.target.put_own_config(name, None)
            else:  # another model is in the middle of such a rollout
                mine = tuple(final if m.name == final.name else m for m in models)
                self.target.put_own_config(name, ModelServerConfig(models=mine).to_text())
        self.target.put_newcomer_config(None)

    def _relabel(self, after: ModelState) -> None:
        """Every replica learns the labels of the version that it holds; nothing is loaded."""
        for name, version in self._held().items():
            if version:
                self._assign(name, version, self._labels(version, after))

    def _some(self, count: int, after: ModelState) -> float | None:
        """`count` replicas hold the new version, and it only; fewer when that would leave stable without any."""
        to, seconds = self.rollout.request.to, None
        while len(self._holding(to)) < count:
            name = next((name for name, version in self._held().items() if version != to), None)
            if name is None:
                raise Unproven(f"{count} replicas were to hold version {to}, and fewer run")
            if self._holding(to) and self._holding(self.rollout.previous) == (name,):
                break  # Others have died: the last one that answers for stable keeps its version while it has traffic.
            seconds = self._move(name, to, after)
        return seconds

    def _all_to(self, version: int, after: ModelState) -> None:
        """Every replica holds this version; one after the other, and those that come meanwhile from the start."""
        newcomer = self._with(self.target.model_config(), version, self._labels(version, after))
        self.target.put_newcomer_config(newcomer)
        while name := next((name for name, held in self._held().items() if held != version), None):
            self._move(name, version, after)
        self._relabel(after)

    def _move(self, name: str, version: int, after: ModelState) -> float:
        """Empty one replica, then have it load a version; the seconds that the latter took. Errors: Unproven."""
        self._require_company(name)
        self.progress(f"{name} is emptied, then loads version {version} of {self.rollout.model}")
        config = ModelServerConfig.parse(self._config(name))
        others = tuple(model for model in config.models if model.name != self.rollout.model)
        self.target.put_own_config(name, ModelServerConfig(models=others).to_text())
        self._until_empty(name)
        began = self.clock.now()
        self._assign(name, version, {})
        self._until_loaded(name, version)
        seconds = self.clock.now() - began
        self._assign(name, version, self._labels(version, after))
        self._shown(lambda one: self._wanted(version, after) if one == name else self._nothing(), fresh=True)
        return seconds

    def _until_loaded(self, name: str, version: int) -> None:
        mine = Wanted(model=self.rollout.model, versions=frozenset([version]), labels={})
        self._shown(lambda one: mine if one == name else self._nothing(), fresh=True)

    def _nothing(self) -> Wanted:
        return Wanted(model=self.rollout.model, versions=frozenset(), labels={})

    def _until_empty(self, name: str) -> None:
        began = self.clock.now()
        config = files.one_model(self.target, self.rollout.model)
        config = replace(config, models=tuple(replace(model, labels={}) for model in config.models))
        while any(replica.name == name for replica in alive(self.target)):
            (served,) = proof.served(self.target, name, config)
            if set(served.versions.values()) <= GONE:
                return
            waited = self.clock.now() - began
            if waited >= self.rollout.request.timeout:
                raise Unproven(f"{name} still holds versions {sorted(served.versions)} after {waited:.0f} s")
            self.interrupted()
            self.clock.sleep(POLL_SECONDS)

    def _require_company(self, name: str) -> None:
        """Somebody else serves while a replica is empty, unless that was given up beforehand."""
        others = [other for other, version in self._held().items() if other != name and version]
        if not others and not self.rollout.request.accept_downtime:
            raise Unproven(f"{name} is the only replica that serves; --accept-downtime would empty it nevertheless")

    def _holding(self, version: int) -> tuple[str, ...]:
        return tuple(name for name, held in self._held().items() if held == version)

    def _config(self, name: str) -> str:
        own = self.target.own_configs().get(name)
        return own if own is not None else self.target.model_config()

    def _held(self) -> dict[str, int]:
        """The version that each replica which runs is to hold, by its name; 0 for one that was emptied."""
        shared, own = self.target.model_config(), self.target.own_configs()
        return {replica.name: self._version(own.get(replica.name, shared)) for replica in alive(self.target)}

    def _version(self, config: str) -> int:
        for model in ModelServerConfig.parse(config).models:
            if model.name == self.rollout.model and isinstance(model.policy, Specific):
                return model.labels.get(STABLE) or max(model.policy.versions)
        return 0

    def _assign(self, name: str, version: int, labels: Mapping[str, int]) -> None:
        """One version, and labels only once it is there: one that stands for nothing would be asked for in vain."""
        text = self._with(self._config(name), version, labels)
        if ModelServerConfig.parse(text) == ModelServerConfig.parse(self._config(name)):
            return
        if labels:
            self._until_loaded(name, version)
        self.target.put_own_config(name, text)

    def _with(self, text: str, version: int, labels: Mapping[str, int]) -> str:
        """A model_config in which the model has one version, and the labels that stand for it."""
        (described,) = files.one_model(self.target, self.rollout.model).models
        mine = replace(described, policy=Specific(versions=(version,)), labels=labels)
        names = [model.name for model in ModelServerConfig.parse(self.target.model_config()).models]
        models = {model.name: model for model in ModelServerConfig.parse(text).models} | {mine.name: mine}
        ordered = tuple(models[name] for name in names if name in models)
        return ModelServerConfig(models=ordered).to_text()

    def _labels(self, version: int, after: ModelState) -> Mapping[str, int]:
        """A replica with the version of the start keeps its labels until it is emptied."""
        if version == self.rollout.previous:
            return self.rollout.base.labels
        return {label: at for label, at in after.labels.items() if at == version}
