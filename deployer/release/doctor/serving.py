"""What is wrong by the word of replicas and gateways themselves. Pure; the same for every target."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from deployer.domain.rollout import Phase, Rollout
from deployer.release.doctor.finding import Finding, Severity, confirmed
from deployer.targets.proof import Served
from deployer.targets.serving_view import GatewayView, ReplicaView, ServingView
from gateway.settings import SettingsError, parse_settings
from tfserving.config import ConfigError, ModelConfig, ModelServerConfig, Specific

PUT_BACK = (
    "somebody edited it: put that back; on this machine `deployer local down` and `up` write it anew,"
    " in a cluster `deployer deploy` puts back what Helm wrote last (`--dry-run` shows it)"
)


def lasting(now: ServingView, before: ServingView | None) -> Iterator[Finding]:
    """What is wrong at two moments, if there are two, and which rollouts are open.

    Replicas and gateways read a new configuration after a second or two; that is not wrong.
    """
    found = diagnose_serving(now)
    yield from found if before is None else confirmed(found, diagnose_serving(before))
    for rollout in now.rollouts:
        yield _open(rollout, now.steps.get(rollout.model, ""), now.at_work)


def diagnose_serving(view: ServingView) -> Iterator[Finding]:
    """Configuration that contradicts itself, versions and labels that are not served, gateways that lag behind."""
    try:
        config = ModelServerConfig.parse(view.model_config)
    except ConfigError as error:
        yield Finding(
            cause="the model_config in force cannot be read",
            subjects=("model_config",),
            evidence=str(error),
            remedy=PUT_BACK,
        )
        config = ModelServerConfig(models=())
    yield from _dangling(config)
    yield from _routes(view, config)
    for name, replica in view.replicas.items():
        for model in (config if replica.own is None else ModelServerConfig.parse(replica.own)).models:
            served = next((s for s in replica.served if s.model == model.name), None)
            if served is not None:
                late = model.name in view.rolling_out
                yield from _model(name, model, served, late=late)
    yield from _gateways(view)


def silences(view: ServingView, expected: Collection[str]) -> Iterator[Finding]:
    """Those of `expected` that should answer and do not."""
    views: Mapping[str, ReplicaView | GatewayView] = {**view.replicas, **view.gateways}
    for name, one in views.items():
        if one.unreachable and name in expected:
            yield Finding(
                cause="it runs but does not answer",
                subjects=(name,),
                evidence=one.unreachable,
                remedy="a NetworkPolicy may keep the API server out; otherwise look at its log",
            )


def _dangling(config: ModelServerConfig) -> Iterator[Finding]:
    for model in config.models:
        versions = model.policy.versions if isinstance(model.policy, Specific) else None
        for label, version in model.labels.items():
            if versions is not None and version not in versions:
                yield Finding(
                    cause=f"label {label} of model {model.name} dangles",
                    subjects=("model_config",),
                    evidence=f"it points at version {version}; the versions served are {_listed(versions)}",
                    remedy=f"serve version {version} too, or move the label: `deployer rollback` does",
                )


def _routes(view: ServingView, config: ModelServerConfig) -> Iterator[Finding]:
    try:
        settings = parse_settings(view.gateway_config)
    except SettingsError as error:
        yield Finding(
            cause="the gateway configuration in force cannot be used",
            subjects=("gateway configuration",),
            evidence=str(error),
            remedy=PUT_BACK,
        )
        return
    labels = {model.name: set(model.labels) for model in config.models}
    for name, model in settings.models.items():
        for label, weight in (model.routing.weights if model.routing else {}).items():
            if weight > 0 and label not in labels.get(name, set()):
                yield Finding(
                    cause=f"label {label} of model {name} dangles",
                    subjects=("gateway configuration",),
                    evidence=f"gateways route to it with weight {weight:g}; model_config has "
                    f"{_listed(sorted(labels.get(name, ()))) or 'no label of this model'}",
                    remedy="`deployer rollback` sets weights and labels together",
                )


def _open(rollout: Rollout, step: str, at_work: str) -> Finding:
    """A rollout that is not over. One that rests was meant to, unless nothing could be proven any more."""
    at = f"version {rollout.previous} → {rollout.request.to}" + (f", at step {step}" if step else "")
    name = f"a rollout of model {rollout.model}"
    ends = f"`deployer rollout resume {rollout.model}` goes on, `deployer rollout abort {rollout.model}` takes it back"
    if rollout.phase in (Phase.PENDING, Phase.PROGRESSING):
        if at_work:
            cause, evidence, remedy = f"{name} is under way", f"{at}; {at_work} is at work", "nothing need be done"
            severity = Severity.NOTE
        else:
            cause, evidence, remedy = f"{name} was left halfway", f"{at}; no deployer is at work any more", ends
            severity = Severity.WARNING
    elif rollout.phase is Phase.DEGRADED:
        cause, evidence, remedy = f"{name} could not be brought to an end", f"{at}: {rollout.reason}", ends
        severity = Severity.ERROR
    else:
        cause, evidence, remedy = f"{name} is paused", f"{at}: {rollout.reason}", ends
        severity = Severity.NOTE
    return Finding(
        cause=cause, subjects=(f"rollout {rollout.id}",), evidence=evidence, remedy=remedy, severity=severity
    )


def _model(replica: str, model: ModelConfig, served: Served, *, late: bool) -> Iterator[Finding]:
    """`late` says that a deployer is at work on the model, and waits itself for what is not so yet."""
    wanted = model.policy.versions if isinstance(model.policy, Specific) else tuple(served.versions)
    for version in wanted:
        if served.versions.get(version) == "AVAILABLE":
            continue
        if version in served.problems:
            yield Finding(
                cause=f"version {version} of model {model.name} cannot be loaded",
                subjects=(replica,),
                evidence=served.problems[version],
                remedy=f"`deployer models verify {model.name} --version {version}` tells whether the files are whole; "
                "export it again under the next number",
            )
        elif late:
            continue
        elif version not in served.versions:
            yield Finding(
                cause=f"version {version} of model {model.name} is missing in the store",
                subjects=(replica,),
                evidence=f"the server finds no {model.base_path}/{version};"
                f" it has {_listed(served.versions) or 'no version'}",
                remedy=f"`deployer publish {model.name} --version {version}` copies it there",
            )
        else:
            yield Finding(
                cause=f"version {version} of model {model.name} is not served yet",
                subjects=(replica,),
                evidence=f"its state is {served.versions[version]}",
                remedy="wait for it; when it stays so, look at the log of the replica",
                severity=Severity.WARNING,
            )
    for label, version in model.labels.items():
        resolved = served.labels.get(label)
        if not late and resolved != version and served.versions.get(version) == "AVAILABLE":
            yield Finding(
                cause=f"label {label} of model {model.name} is not where it should be",
                subjects=(replica,),
                evidence=f"it resolves to {resolved or 'nothing'} instead of {version}, which is available",
                remedy="the replica has not read the model_config; when it stays so, look at its log",
            )


def _gateways(view: ServingView) -> Iterator[Finding]:
    for name, gateway in view.gateways.items():
        if gateway.error:
            yield Finding(
                cause="a gateway refuses its new configuration and keeps the old one",
                subjects=(name,),
                evidence=gateway.error,
                remedy="`deployer deploy` writes one that it accepts",
            )
        elif gateway.hash and gateway.hash != view.wanted_hash and not view.rolling_out:
            yield Finding(
                cause="a gateway uses an old configuration",
                subjects=(name,),
                evidence=f"it uses {gateway.hash}; in force is {view.wanted_hash}",
                remedy="the kubelet refreshes the mounted file within two minutes; when it stays so, delete the pod",
            )
        if gateway.unready:
            yield Finding(
                cause="a gateway takes no traffic",
                subjects=(name,),
                evidence=gateway.unready,
                remedy="it is ready once every routed label has a model server; see the other findings",
                severity=Severity.WARNING,
            )


def _listed(items: Collection[object]) -> str:
    return ", ".join(map(str, items))
