"""Findings from what replicas and gateways report. Pure; the same for every target."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from deployer.domain.rollout import Phase, Rollout
from deployer.release.doctor.finding import Finding, Severity, confirmed
from deployer.targets.proof import Served
from deployer.targets.serving_view import GatewayView, ReplicaView, ServingView
from gateway.settings import SettingsError, parse_settings
from tfserving.config import ConfigError, ModelConfig, ModelServerConfig, Specific

RESTORE_CONFIG = {
    "local": "it was edited manually: undo that, or `deployer local down` and `up` write it again",
    "cluster": "it was edited manually: undo that, or `deployer deploy` restores what Helm wrote last"
    " (`--dry-run` shows it)",
}
PUT_BACK = {"local": "", "cluster": " with `deployer publish {} --version {}`"}
COPY = {
    "local": "put it there, or go to another version with `deployer rollback {}`",
    "cluster": "`deployer publish {} --version {}` copies it there",
}
WRITE_CONFIG = {"local": "`deployer local up`", "cluster": "`deployer deploy`"}


def lasting_findings(now: ServingView, before: ServingView | None) -> Iterator[Finding]:
    """Findings that persist in both views, if there are two, and open rollouts.

    Replicas and gateways read a new configuration after a second or two; that delay is not a problem.
    """
    found = diagnose_serving(now)
    yield from found if before is None else confirmed(found, diagnose_serving(before))
    for rollout in now.rollouts:
        yield _open(rollout, now.steps.get(rollout.model, ""), now.at_work)


def diagnose_serving(view: ServingView) -> Iterator[Finding]:
    """Inconsistent configuration, versions and labels that are not served, gateways that lag behind."""
    config: ModelServerConfig | None
    try:
        config = ModelServerConfig.parse(view.model_config)
    except ConfigError as error:
        yield Finding(
            cause="the current model_config cannot be parsed",
            subjects=("model_config",),
            evidence=str(error),
            remedy=RESTORE_CONFIG[view.target],
        )
        config = None
    yield from _routes(view, config)
    config = config or ModelServerConfig(models=())
    yield from _dangling(config)
    for name, replica in view.replicas.items():
        for model in (config if replica.own is None else ModelServerConfig.parse(replica.own)).models:
            served = next((s for s in replica.served if s.model == model.name), None)
            if served is not None:
                in_rollout = model.name in view.rolling_out
                yield from _model(name, model, served, in_rollout=in_rollout, target=view.target)
    yield from _gateways(view)
    yield from _requests(view)


def unreachable_findings(view: ServingView, expected: Mapping[str, str]) -> Iterator[Finding]:
    """Members of `expected` that do not respond; it gives the remedy for each."""
    views: Mapping[str, ReplicaView | GatewayView] = {**view.replicas, **view.gateways}
    for name, member in views.items():
        remedy = expected.get(name, "")
        if member.unreachable and remedy:
            yield Finding(
                cause="it is running but does not respond",
                subjects=(name,),
                evidence=member.unreachable,
                remedy=remedy,
            )


def _dangling(config: ModelServerConfig) -> Iterator[Finding]:
    for model in config.models:
        versions = model.policy.versions if isinstance(model.policy, Specific) else None
        for label, version in model.labels.items():
            if versions is not None and version not in versions:
                yield Finding(
                    cause=f"label {label} of model {model.name} points to a version that is not served",
                    subjects=("model_config",),
                    evidence=f"it points to version {version}; served versions are {_listed(versions)}",
                    remedy=f"serve version {version} too, or move the label with `deployer rollback`",
                )


def _routes(view: ServingView, config: ModelServerConfig | None) -> Iterator[Finding]:
    """Routes to models and labels that do not exist; nothing can be said without a model_config."""
    try:
        settings = parse_settings(view.gateway_config)
    except SettingsError as error:
        yield Finding(
            cause="the current gateway configuration is invalid",
            subjects=("gateway configuration",),
            evidence=str(error),
            remedy=RESTORE_CONFIG[view.target],
        )
        return
    if config is None:
        return
    labels = {model.name: set(model.labels) for model in config.models}
    for name, model in settings.models.items():
        if name not in labels:
            yield Finding(
                cause=f"gateways route to model {name}, which the model servers are not configured to serve",
                subjects=("model_config",),
                evidence=f"it has {_listed(sorted(labels)) or 'no model'}",
                remedy=RESTORE_CONFIG[view.target],
            )
            continue
        for label, weight in (model.routing.weights if model.routing else {}).items():
            if weight > 0 and label not in labels[name]:
                yield Finding(
                    cause=f"gateways route to label {label} of model {name}, which does not exist",
                    subjects=("gateway configuration",),
                    evidence=f"its weight is {weight:g}; model_config has "
                    f"{_listed(sorted(labels[name])) or 'no label of this model'}",
                    remedy="`deployer rollback` sets weights and labels together",
                )


def _open(rollout: Rollout, step: str, at_work: str) -> Finding:
    """An open rollout. A paused one is a note; a degraded one is an error."""
    at = f"version {rollout.previous} → {rollout.request.to}" + (f", at step {step}" if step else "")
    name = f"a rollout of model {rollout.model}"
    remedies = (
        f"`deployer rollout resume {rollout.model}` continues it, `deployer rollout abort {rollout.model}` aborts it"
    )
    if rollout.phase in (Phase.PENDING, Phase.PROGRESSING):
        if at_work:
            cause, evidence, remedy = f"{name} is in progress", f"{at}; {at_work} is working on it", "no action needed"
            severity = Severity.NOTE
        else:
            cause, evidence, remedy = f"{name} was interrupted", f"{at}; no deployer is working on it", remedies
            severity = Severity.WARNING
    elif rollout.phase is Phase.DEGRADED:
        cause, evidence, remedy = f"{name} could not be finished", f"{at}: {rollout.reason}", remedies
        severity = Severity.ERROR
    else:
        cause, evidence, remedy = f"{name} is paused", f"{at}: {rollout.reason}", remedies
        severity = Severity.NOTE
    return Finding(
        cause=cause, subjects=(f"rollout {rollout.id}",), evidence=evidence, remedy=remedy, severity=severity
    )


def _model(replica: str, model: ModelConfig, served: Served, *, in_rollout: bool, target: str) -> Iterator[Finding]:
    """`in_rollout`: a deployer is working on the model, and itself waits for what is not ready yet."""
    wanted = model.policy.versions if isinstance(model.policy, Specific) else tuple(served.versions)
    for version in wanted:
        if served.versions.get(version) == "AVAILABLE":
            continue
        if version in served.problems:
            yield Finding(
                cause=f"version {version} of model {model.name} cannot be loaded",
                subjects=(replica,),
                evidence=served.problems[version],
                remedy=f"`deployer models verify {model.name} --version {version}` checks its files; "
                "export it again as the next version",
            )
        elif in_rollout:
            continue
        elif served.versions.get(version) in ("UNLOADING", "END"):
            yield Finding(
                cause=f"version {version} of model {model.name} has left the model server although it is configured",
                subjects=(replica,),
                evidence=f"its state is {served.versions[version]}: {model.base_path}/{version} is gone, or unreadable",
                remedy=f"put it back{PUT_BACK[target].format(model.name, version)}, or go to another version with"
                f" `deployer rollback {model.name}`",
            )
        elif version not in served.versions:
            yield Finding(
                cause=f"version {version} of model {model.name} is missing from the store",
                subjects=(replica,),
                evidence=f"the server cannot find {model.base_path}/{version};"
                f" it has {_listed(served.versions) or 'no version'}",
                remedy=COPY[target].format(model.name, version),
            )
        else:
            yield Finding(
                cause=f"version {version} of model {model.name} is not AVAILABLE yet",
                subjects=(replica,),
                evidence=f"its state is {served.versions[version]}",
                remedy="wait for it; if it stays in this state, check the log of the replica",
                severity=Severity.WARNING,
            )
    for label, version in model.labels.items():
        resolved = served.labels.get(label)
        if not in_rollout and resolved != version and served.versions.get(version) == "AVAILABLE":
            yield Finding(
                cause=f"label {label} of model {model.name} points to the wrong version",
                subjects=(replica,),
                evidence=f"it resolves to {resolved or 'nothing'} instead of {version}, which is AVAILABLE",
                remedy="the replica has not read the model_config; if that does not change, check its log",
            )


def _gateways(view: ServingView) -> Iterator[Finding]:
    for name, gateway in view.gateways.items():
        if gateway.error:
            yield Finding(
                cause="a gateway rejected its new configuration and keeps the old one",
                subjects=(name,),
                evidence=gateway.error,
                remedy=f"{WRITE_CONFIG[view.target]} writes a valid one",
            )
        elif gateway.hash and gateway.hash != view.wanted_hash and not view.rolling_out:
            yield Finding(
                cause="a gateway uses an old configuration",
                subjects=(name,),
                evidence=f"it uses {gateway.hash}; the current one is {view.wanted_hash}",
                remedy="the kubelet updates the mounted file within two minutes; if it does not, delete the pod"
                if view.target == "cluster"
                else "it reads its file every second; if that does not change, its log shows why",
            )
        if gateway.unready:
            yield Finding(
                cause="a gateway is not ready",
                subjects=(name,),
                evidence=gateway.unready,
                remedy="it is ready once every routed label has a model server; see the other findings",
                severity=Severity.WARNING,
            )


def _requests(view: ServingView) -> Iterator[Finding]:
    for failed in view.failed:
        if failed.model in view.rolling_out:
            continue
        label = f"label {failed.label} of model" if failed.label else "model"
        yield Finding(
            cause=f"requests to {label} {failed.model} fail",
            subjects=(failed.gateway,),
            evidence=failed.why,
            remedy=failed.remedy or "the other findings say why; without any, the logs of model servers and gateway do",
        )


def _listed(items: Collection[object]) -> str:
    return ", ".join(map(str, items))
