"""The resource-preserving policy: a replica is emptied before it loads the other version, while the others serve.

While such a rollout is open, every replica has its own model_config with one version and its labels. The model_config
of the release is the union of them: gateways route by it, and `status` shows it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from deployer.domain.rollout import CANARY, Rollout
from deployer.domain.serving import STABLE, ModelState
from deployer.errors import TargetError
from deployer.rollout import files
from deployer.rollout.files import ReleaseConfig
from deployer.rollout.proof import PROOF_POLL_SECONDS, Clock, Unproven, Wanted, alive, wait_for_replicas
from deployer.rollout.steps import Kind, Step, canary_replicas
from deployer.targets import proof
from deployer.targets.base import Progress, Target
from tfserving.config import ModelServerConfig, Specific

UNLOADED_STATES = frozenset(["END", "absent"])


@dataclass(frozen=True, kw_only=True)
class Swap:
    """The replicas' part of such a rollout. `interrupted` is called during waits and may raise; `before_write` is
    called before each write and may raise."""

    target: Target
    rollout: Rollout
    progress: Progress
    clock: Clock
    interrupted: Callable[[], None]
    before_write: Callable[[], None]

    def make(self, step: Step, after: ModelState, config: ReleaseConfig) -> float | None:
        """Execute the replicas' part of a step; it is idempotent.

        Returns the load time in seconds on the replica that was moved last, if any. Errors: Unproven.
        """
        model, to = self.rollout.model, self.rollout.request.to
        seconds = None
        if step.kind in (Kind.LOAD, Kind.RESTORE):
            self._pin_configs(after)
        files.put_replicas(self.target, model, after, config=config, before_write=self.before_write)
        if step.kind in (Kind.UNLOAD, Kind.DROP):
            self._move_all(self.rollout.previous if step.kind is Kind.DROP else to, after)
            self._unpin_configs()
        elif step.kind is Kind.RESTORE:
            self._move_all(self.rollout.previous, after)
        elif step.kind is Kind.PROMOTE:
            self._relabel(after)
            self.prove(step, after, fresh=False)  # at least one replica must always serve the label
            self._move_all(to, after)
        else:
            seconds = self._move_some(canary_replicas(self.rollout, step), after)
            self._relabel(after)
        self.prove(step, after, fresh=True)
        return seconds

    def prove(self, step: Step, after: ModelState, *, fresh: bool) -> None:
        """Return once every replica serves the one version that it should have. Errors: Unproven."""
        if step.kind is Kind.SHIFT and not self._replicas_with(self.rollout.request.to):
            raise Unproven(f"no replica has version {self.rollout.request.to} any more")
        assigned = self._assigned_versions()

        def wanted(name: str) -> Wanted:
            if name not in assigned:  # it started meanwhile
                assigned.update(self._assigned_versions())
            return self._wanted(assigned.get(name, 0), after)

        self._wait_for(wanted, fresh=fresh)

    # -- helpers

    def _wanted(self, version: int, after: ModelState) -> Wanted:
        labels = self._labels(version, after) if version else {}
        absent_labels = frozenset([CANARY]) - labels.keys()
        versions = frozenset([version]) if version else frozenset()
        return Wanted(model=self.rollout.model, versions=versions, labels=labels, absent_labels=absent_labels)

    def _wait_for(self, wanted: Callable[[str], Wanted], *, fresh: bool) -> None:
        wait_for_replicas(
            self.target,
            wanted,
            clock=self.clock,
            timeout=self.rollout.request.timeout,
            interrupted=self.interrupted,
            progress=self.progress,
            fresh=fresh,
        )

    def _pin_configs(self, after: ModelState) -> None:
        """Give every replica its own copy of the current model_config, before that of the release changes."""
        if self.target.newcomer_config() is None:
            text = self._config_with(self.target.model_config(), self.rollout.previous, self.rollout.base.labels)
            self.target.put_newcomer_config(text)
        own, text = self.target.own_configs(), self.target.model_config()
        for replica in self.target.replicas():
            if replica.name not in own:
                self.target.put_own_config(replica.name, text)

    def _unpin_configs(self) -> None:
        """Make every replica use the model_config of the release again."""
        config = ModelServerConfig.parse(self.target.model_config())
        (final,) = (model for model in config.models if model.name == self.rollout.model)
        rest = tuple(m for m in config.models if m.name != self.rollout.model)
        for name, own in self.target.own_configs().items():
            models = ModelServerConfig.parse(own).models
            if tuple(m for m in models if m.name != self.rollout.model) == rest:
                self.target.put_own_config(name, None)
            else:  # another model has such a rollout in progress
                models_of_replica = tuple(final if m.name == final.name else m for m in models)
                self.target.put_own_config(name, ModelServerConfig(models=models_of_replica).to_text())
        self.target.put_newcomer_config(None)

    def _relabel(self, after: ModelState) -> None:
        """Set the labels of each replica's version; loads nothing."""
        for name, version in self._assigned_versions().items():
            if version:
                self._assign(name, version, self._labels(version, after))

    def _move_some(self, count: int, after: ModelState) -> float | None:
        """Move replicas until `count` have the new version; fewer if stable would have no replica left."""
        to, seconds = self.rollout.request.to, None
        while len(self._replicas_with(to)) < count:
            name = next((name for name, version in self._assigned_versions().items() if version != to), None)
            if name is None:
                raise Unproven(f"{count} replicas should have version {to}, but fewer are running")
            if self._replicas_with(to) and self._replicas_with(self.rollout.previous) == (name,):
                break  # Others have died: the last replica of stable keeps its version while stable has traffic.
            seconds = self._move(name, to, after)
        return seconds

    def _move_all(self, version: int, after: ModelState) -> None:
        """Move every replica to this version, one after the other; new replicas start with it."""
        newcomer = self._config_with(self.target.model_config(), version, self._labels(version, after))
        self.target.put_newcomer_config(newcomer)
        while name := next((name for name, held in self._assigned_versions().items() if held != version), None):
            self._move(name, version, after)
        self._relabel(after)

    def _move(self, name: str, version: int, after: ModelState) -> float:
        """Empty one replica, then load a version on it; returns the load time in seconds. Errors: Unproven."""
        self._require_other_replicas(name)
        self.progress(f"emptying {name}, then loading version {version} of {self.rollout.model}")
        config = ModelServerConfig.parse(self._config(name))
        others = tuple(model for model in config.models if model.name != self.rollout.model)
        self.target.put_own_config(name, ModelServerConfig(models=others).to_text())
        self._until_empty(name)
        began = self.clock.now()
        self._assign(name, version, {})
        self._until_loaded(name, version)
        seconds = self.clock.now() - began
        self._assign(name, version, self._labels(version, after))
        self._wait_for(lambda one: self._wanted(version, after) if one == name else self._no_requirement(), fresh=True)
        return seconds

    def _until_loaded(self, name: str, version: int) -> None:
        own_model = Wanted(model=self.rollout.model, versions=frozenset([version]), labels={})
        self._wait_for(lambda one: own_model if one == name else self._no_requirement(), fresh=True)

    def _no_requirement(self) -> Wanted:
        return Wanted(model=self.rollout.model, versions=frozenset(), labels={})

    def _until_empty(self, name: str) -> None:
        began = self.clock.now()
        config = files.one_model(self.target, self.rollout.model)
        config = replace(config, models=tuple(replace(model, labels={}) for model in config.models))
        while any(replica.name == name for replica in alive(self.target)):
            try:
                (served,) = proof.served(self.target, name, config)
            except TargetError as error:  # it is starting
                problem = error.message
            else:
                if set(served.versions.values()) <= UNLOADED_STATES:
                    return
                problem = f"{name} still has versions {sorted(served.versions)}"
            waited = self.clock.now() - began
            if waited >= self.rollout.request.timeout:
                raise Unproven(f"timed out after {waited:.0f} s: {problem}")
            self.interrupted()
            self.clock.sleep(PROOF_POLL_SECONDS)

    def _require_other_replicas(self, name: str) -> None:
        """Check that another replica serves while this one is empty, unless downtime was accepted."""
        others = [other for other, version in self._assigned_versions().items() if other != name and version]
        if not others and not self.rollout.request.accept_downtime:
            raise Unproven(f"{name} is the only serving replica; use --accept-downtime to empty it anyway")

    def _replicas_with(self, version: int) -> tuple[str, ...]:
        return tuple(name for name, held in self._assigned_versions().items() if held == version)

    def _config(self, name: str) -> str:
        own = self.target.own_configs().get(name)
        return own if own is not None else self.target.model_config()

    def _assigned_versions(self) -> dict[str, int]:
        """The version assigned to each running replica, by name; 0 if it was emptied."""
        shared, own = self.target.model_config(), self.target.own_configs()
        return {replica.name: self._version(own.get(replica.name, shared)) for replica in alive(self.target)}

    def _version(self, config: str) -> int:
        for model in ModelServerConfig.parse(config).models:
            if model.name == self.rollout.model and isinstance(model.policy, Specific):
                return model.labels.get(STABLE) or max(model.policy.versions)
        return 0

    def _assign(self, name: str, version: int, labels: Mapping[str, int]) -> None:
        """Assign a version. Labels are set only after it is loaded, because a label needs a loaded version."""
        text = self._config_with(self._config(name), version, labels)
        if ModelServerConfig.parse(text) == ModelServerConfig.parse(self._config(name)):
            return
        if labels:
            self._until_loaded(name, version)
        self.target.put_own_config(name, text)

    def _config_with(self, text: str, version: int, labels: Mapping[str, int]) -> str:
        """A model_config in which this model has one version, with these labels."""
        (described,) = files.one_model(self.target, self.rollout.model).models
        own_model = replace(described, policy=Specific(versions=(version,)), labels=labels)
        names = [model.name for model in ModelServerConfig.parse(self.target.model_config()).models]
        models = {model.name: model for model in ModelServerConfig.parse(text).models} | {own_model.name: own_model}
        ordered = tuple(models[name] for name in names if name in models)
        return ModelServerConfig(models=ordered).to_text()

    def _labels(self, version: int, after: ModelState) -> Mapping[str, int]:
        """The labels of a version on a replica. The previous version keeps its labels until the replica is emptied."""
        if version == self.rollout.previous:
            return self.rollout.base.labels
        return {label: at for label, at in after.labels.items() if at == version}
