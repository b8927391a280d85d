"""Deployment of a release to a cluster: plan, apply, verify.

Versions, labels and weights of an installed release are read back and kept. Only the first installation of a model
chooses a version; afterwards only `rollout` and `rollback` change it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import yaml

from deployer.domain import quantity
from deployer.domain.location import PvcStore, cluster_store
from deployer.domain.release import Release
from deployer.domain.serving import ModelState, ServingConfig
from deployer.errors import SpecError, TargetError, UsageError
from deployer.release import memory
from deployer.release.deploy.installed import Bounds, Live, live_release
from deployer.release.deploy.live_texts import Restored
from deployer.release.deploy.own_texts import OwnText, own_texts
from deployer.release.kind_cluster import gateway_image
from deployer.release.render.gateway_file import Specs
from deployer.release.render.render import Choice, override
from deployer.release.render.values import values_gateway, values_tf_serving
from deployer.release.smoke import Smoke, smoke
from deployer.release.where import Where, open_cluster
from deployer.targets.base import Progress
from deployer.targets.cluster import proof
from deployer.targets.cluster.helm_releases import GATEWAY_CHART, TF_SERVING_CHART, Change
from deployer.targets.cluster.names import GATEWAY, MODEL_SERVER
from deployer.targets.cluster.target import ClusterTarget
from deployer.targets.history import exclusively
from deployer.targets.storage import pvc_contents
from deployer.targets.storage.contents import Contents


@dataclass(frozen=True, kw_only=True)
class DeployRequest:
    """What to deploy, and where.

    `choices` are versions, labels and weights of models that are not installed yet, `recorded` those for models without
    a choice, ignored for what is installed. `storage_image` is the image of the
    pod that reads the PVC, empty for the gateway's image. `timeout` limits the whole deployment, in seconds.
    """

    where: Where
    choices: Mapping[str, Choice] = field(default_factory=dict)
    recorded: Mapping[str, Choice] = field(default_factory=dict)
    storage_image: str = ""
    timeout: float = 600.0


@dataclass(frozen=True, kw_only=True)
class Plan:
    """The plan of a deployment.

    `drift` are sentences about a scale that differs from the installed values. `restored` are configuration texts that
    were made invalid by manual edits. `own` are texts that only the deployer writes. A chart is None where others
    apply its manifests, as a GitOps controller does.
    """

    release: Release
    target: ClusterTarget
    state: ServingConfig
    tf_serving: Change | None
    gateway: Change | None
    drift: tuple[str, ...]
    restored: tuple[Restored, ...] = ()
    own: tuple[OwnText, ...] = ()

    @property
    def repairs(self) -> tuple[str, ...]:
        """Repairs besides upgrades, as sentences."""
        return (*map(str, self.restored), *self.drift)

    @property
    def touched(self) -> tuple[str, ...]:
        """The names of the Helm releases and ConfigMaps that will change."""
        return (*(change.name for change in self.changes), *(text.name for text in self._texts))

    @property
    def changes(self) -> tuple[Change, ...]:
        """The Helm releases that need an upgrade, in the order of the upgrades."""
        return tuple(change for change in (self.tf_serving, self.gateway) if change is not None and change.needed)

    @property
    def installed(self) -> bool:
        """Whether the release had a state before this deployment."""
        return self.tf_serving is None or self.tf_serving.before is not None

    @property
    def diff(self) -> str:
        """Unified diff of configuration texts and manifests, live against new; empty if nothing changes."""
        found = (*(text.diff for text in self._texts), *(change.diff for change in self.changes))
        return "\n".join(diff for diff in found if diff)

    @property
    def _texts(self) -> tuple[Restored | OwnText, ...]:
        return (*self.restored, *self.own)


@dataclass(frozen=True, kw_only=True)
class Deployed:
    """The result: revisions of upgraded Helm releases, and one successful Predict per label.

    `proofs` is empty without waiting.
    """

    target: str
    state: ServingConfig
    revisions: Mapping[str, int]
    repairs: tuple[str, ...]
    proofs: tuple[Smoke, ...]
    written: tuple[str, ...] = ()
    """Names of the ConfigMaps that the deployer itself has written."""

    @property
    def changed(self) -> bool:
        """Whether anything was changed."""
        return bool(self.revisions or self.repairs or self.written)


def plan(request: DeployRequest, progress: Progress) -> Plan:
    """Plan without changing anything; the values are validated against both charts and their schemas.

    Errors: SpecError (memory, versions, feature specs), UsageError for a choice for an installed model, ToolError when
    Helm or the API server reject it, TargetError, WaitTimeout.
    """
    return plan_of(*open_cluster(request.where), request, progress)


def plan_of(release: Release, target: ClusterTarget, request: DeployRequest, progress: Progress) -> Plan:
    """As `plan`, for a release and its cluster."""
    store = cluster_store(release.store, release=release.name, namespace=release.namespace)
    release = replace(release, store=store)
    progress(f"deploying to {target.describe()}")
    live = live_release(target)
    state, specs = _decide(release, store, live, target, request, progress)
    own = release.models_source == "live"
    tf_serving = gateway = None
    if own and _applied_by_others(target):
        progress("the manifests are applied by others; only versions, labels and weights are deployed")
    else:
        progress("rendering both charts against the cluster")
        values = _document(values_tf_serving(release, state)), _document(values_gateway(release, state, specs))
        if own:
            values = without_state(*values)
        tf_serving, gateway = map(target.helm.change, (TF_SERVING_CHART, GATEWAY_CHART), values)
    return Plan(
        release=release,
        target=target,
        state=state,
        tf_serving=tf_serving,
        gateway=gateway,
        drift=() if tf_serving is None or tf_serving.before is None else _drift(release, target),
        restored=live.restored,
        own=own_texts(release, state, specs, live.texts) if own else (),
    )


def _applied_by_others(target: ClusterTarget) -> bool:
    """Whether the model servers are there without a Helm release."""
    return target.scaling.exists() and target.helm.tf_serving() is None


def execute(plan: Plan, *, wait: bool, timeout: float, progress: Progress) -> Deployed:
    """Install or upgrade what needs it, model servers first; verify each before the next.

    If nothing changes, it is only verified. Errors: ToolError, WaitTimeout that names
    pods, containers, events and models; TargetError.
    """
    with exclusively(plan.target.history()):
        _require_unchanged(plan)
        return _execute(plan, wait=wait, timeout=timeout, progress=progress)


def _require_unchanged(plan: Plan) -> None:
    """Refuse a plan whose release has moved on since: it would take back what a rollout did meanwhile."""
    if not plan.installed:
        return
    for name, state in live_release(plan.target).states.items():
        if plan.state.models.get(name, state) != state:
            raise TargetError(
                f"versions, labels or weights of {name} changed while the deployment was planned",
                hint="run `deployer deploy` again",
            )


def _execute(plan: Plan, *, wait: bool, timeout: float, progress: Progress) -> Deployed:
    target, deadline = plan.target, time.monotonic() + timeout
    revisions = {}
    for sentence in plan.repairs:
        progress(f"repairing: {sentence}")
    for restored in plan.restored:
        target.restore(restored.component, restored.after)
    if plan.drift and not target.scaling.resume():
        target.scaling.to(plan.release.serving.replicas)
    if plan.release.models_source == "release" and target.texts.live() is not None:
        target.texts.give_to_helm()
    for change, component in ((plan.tf_serving, MODEL_SERVER), (plan.gateway, GATEWAY)):
        upgraded = change is not None and change.needed
        if change is not None and change.needed:
            progress(f"{'upgrading' if change.before else 'installing'} {change.name}")
            revisions[change.name] = target.helm.apply(change)
        text = next((text for text in plan.own if text.component == component), None)
        if text is not None:
            progress(f"writing ConfigMap {text.name}")
            target.texts.live()  # a write is based on a read, and helm may have changed the ConfigMap
            target.texts.write(component, text.after)
        if upgraded or text is not None:
            target.touch(component)
        if wait:
            _verify(target, component, deadline, progress)
    return Deployed(
        target=target.describe(),
        state=plan.state,
        revisions=revisions,
        repairs=plan.repairs,
        proofs=_predict(plan, progress) if wait else (),
        written=tuple(text.name for text in plan.own),
    )


def _decide(
    release: Release,
    store: PvcStore,
    live: Live,
    target: ClusterTarget,
    request: DeployRequest,
    progress: Progress,
) -> tuple[ServingConfig, Specs]:
    """The state and the feature specs. The PVC is only read if the live release does not have all information."""
    for name in request.choices:
        if name in live.states:
            raise UsageError(
                f"model {name} is already installed; deploy does not change its versions or labels",
                hint=f"use `deployer rollout start {name} --to N`",
            )
    new = [model.name for model in release.models if model.name not in live.states]
    choices = {name: request.choices.get(name, request.recorded.get(name, Choice())) for name in new}
    known = {name: state for name, state in live.states.items() if release.has(name)}
    if all(live.complete(model.name) for model in release.models) and live.bounds == Bounds.of(release):
        return ServingConfig(models=known), _specs(release, known, live.specs, live.specs)
    wanted = {name: state.versions for name, state in known.items()}
    wanted |= {name: choice.named() for name, choice in choices.items()}
    contents = pvc_contents.read_pvc(
        target.api,
        store,
        wanted,
        image=request.storage_image or gateway_image(release),
        pods=release.pods,
        creation=pvc_contents.creation(release.storage),
        timeout=request.timeout,
        progress=progress,
    )
    states = {**known, **{name: _first(name, choice, contents) for name, choice in choices.items()}}
    _check_memory(release, contents)
    _check_warmup(release, contents)
    exported = {
        name: {number: version.features for number, version in stored.items() if version.features is not None}
        for name, stored in contents.stored.items()
    }
    return ServingConfig(models=states), _specs(release, states, exported, live.specs)


def _first(name: str, choice: Choice, contents: Contents) -> ModelState:
    try:
        return choice.state(contents.versions[name])
    except ValueError as error:
        raise SpecError(
            f"model {name} cannot be served: {error}", hint=f"`deployer publish {name}` copies a version to the PVC"
        ) from error


def _specs(release: Release, states: Mapping[str, ModelState], exported: Specs, live: Specs) -> Specs:
    """The feature specs of the served versions; those of deployer.yaml take precedence.

    Specs of other versions that gateways have are kept: a rollout left them for a rollback without the store.
    """
    found: dict[str, dict[int, str]] = {}
    for name, state in states.items():
        known, installed = exported.get(name, {}), live.get(name, {})
        texts = {version: known.get(version) for version in state.versions}
        texts |= {version: text for version, text in installed.items() if version not in texts}
        for version in sorted(texts):
            text = override(release.model(name), version) or texts[version]
            if text is not None:
                found.setdefault(name, {})[version] = text
    return found


def _check_memory(release: Release, contents: Contents) -> None:
    sizes = {
        name: max((version.size for version in stored.values()), default=0) for name, stored in contents.stored.items()
    }
    limit = release.serving.resources.memory
    if problem := memory.problem(quantity.memory(limit), sizes):
        minimum = -(-memory.needed(sizes) // 2**20)
        raise SpecError(
            f"serving.resources.memory {limit} is too little: {problem}",
            hint=f"set it to at least {minimum}Mi; otherwise replicas are killed while they load the model",
        )


def _check_warmup(release: Release, contents: Contents) -> None:
    """A warm-up request with more rows than a batch fails, and the version with it."""
    rows = Bounds.of(release).rows
    for name, stored in contents.stored.items():
        for number, version in stored.items():
            if rows is not None and max(version.warmup, default=0) > rows:
                raise SpecError(
                    f"version {number} of model {name} would not load: it warms up with {max(version.warmup)} rows,"
                    f" but batching.max_batch_size is {rows}",
                    hint=f"raise it, or export the version again with --warmup-batch-sizes up to {rows}",
                )


def _drift(release: Release, target: ClusterTarget) -> tuple[str, ...]:
    """Differences of the scale from the installed values, left by an experiment or a manual change."""
    if target.scaling.paused():
        return (f"the autoscaler of {target.names.tf_serving} is paused",)
    replicas = target.scaling.deployment().spec.replicas
    if release.autoscaling is None and replicas != release.serving.replicas:
        return (f"{target.names.tf_serving} has {replicas} replicas instead of {release.serving.replicas}",)
    return ()


def _verify(target: ClusterTarget, component: str, deadline: float, progress: Progress) -> None:
    if component == MODEL_SERVER:
        config = proof.parsed(target.model_config())
        target.wait(
            lambda: proof.replicas(target, config),
            what="every replica to serve every version and label",
            deadline=deadline,
            progress=progress,
        )
        progress(f"every replica of {target.names.tf_serving} serves every version and label")
    else:
        text = target.gateway_config()
        target.wait(
            lambda: proof.gateways(target, text),
            what="every gateway to be ready with the new configuration",
            deadline=deadline,
            progress=progress,
        )
        progress(f"every gateway of {target.names.gateway} is ready and uses the current configuration")


def _predict(plan: Plan, progress: Progress) -> tuple[Smoke, ...]:
    """One Predict per label, through a gateway."""
    place = next(gateway.name for gateway in plan.target.gateways() if gateway.alive)
    proofs = []
    for model in plan.release.models:
        for label in plan.state.models[model.name].labels:
            proofs.append(smoke(plan.target, place, model.name, label, signature=model.signature))
            progress(f"{model.name} label {label}: version {proofs[-1].version} responds through {place}")
    return tuple(proofs)


def without_state(
    tf_serving: Mapping[str, object], gateway: Mapping[str, object]
) -> tuple[Mapping[str, object], Mapping[str, object]]:
    """The values without versions, labels and weights, which no Helm release of a live release holds."""
    config = gateway["config"]
    assert isinstance(config, Mapping)
    settings = {key: value for key, value in config.items() if key != "models"}
    return {**tf_serving, "models": {"source": "live"}}, {**gateway, "config": settings}


def _document(text: str) -> Mapping[str, object]:
    document: Mapping[str, object] = yaml.safe_load(text)
    return document
