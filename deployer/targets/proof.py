"""What replicas and gateways report over HTTP: versions by status, labels by metadata, configuration hashes."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import msgspec

from deployer.errors import DeployerError
from deployer.targets.base import Target
from deployer.targets.rest import GET_TIMEOUT, ModelPath, decoded, routes
from gateway.settings import settings_hash
from tfserving.config.models import ModelConfig, ModelServerConfig, Specific


@dataclass(frozen=True, kw_only=True)
class Served:
    """One model on one replica: state by version, and the version that each label resolves to (None: nothing).

    `problems` are the server's error messages by version.
    """

    model: str
    versions: Mapping[int, str]
    labels: Mapping[str, int | None]
    problems: Mapping[int, str] = field(default_factory=dict)


class _Outcome(msgspec.Struct, frozen=True):
    error_code: str = "OK"
    error_message: str = ""


class _Status(msgspec.Struct):
    version: int
    state: str
    status: _Outcome = _Outcome()


class _ModelStatus(msgspec.Struct):
    model_version_status: list[_Status]


class _Spec(msgspec.Struct):
    version: int


class _Metadata(msgspec.Struct):
    model_spec: _Spec


def served(target: Target, name: str, config: ModelServerConfig, *, timeout: float = GET_TIMEOUT) -> tuple[Served, ...]:
    """What replica `name` serves of each model of `config`. A status request ignores labels; metadata resolves them.

    Errors: TargetError when the replica does not respond.
    """
    return tuple(_served(target, name, model, timeout) for model in config.models)


def missing(served: tuple[Served, ...], config: ModelServerConfig) -> tuple[str, ...]:
    """Differences of a replica from `config`: "digits version 2 is LOADING", "label canary of digits is 1, not 2"."""
    found: list[str] = []
    for model, now in zip(config.models, served, strict=True):
        for version in model.policy.versions if isinstance(model.policy, Specific) else ():
            state = now.versions.get(version, "absent")
            if state != "AVAILABLE":
                found.append(f"{model.name} version {version} is {state}")
        for label, version in model.labels.items():
            if now.labels.get(label) != version:
                found.append(f"label {label} of {model.name} is {now.labels.get(label) or 'not set'}, not {version}")
    return tuple(found)


def missing_from(target: Target, name: str, config: ModelServerConfig) -> tuple[str, ...]:
    """`missing` for a replica by name. If it does not respond yet, that is what is missing."""
    try:
        return missing(served(target, name, config), config)
    except DeployerError as error:
        return (error.message,)


def not_ready(target: Target, name: str) -> tuple[str, ...]:
    """Why a gateway is not ready for traffic; empty when a replica responds for every routed label."""
    try:
        reply = target.get(name, "/labels", timeout=GET_TIMEOUT)
    except DeployerError as error:
        return (error.message,)
    return () if reply.status == 200 else (reply.body.decode(errors="replace").strip() or f"/labels is {reply.status}",)


def not_following(target: Target, name: str, text: str) -> tuple[str, ...]:
    """Why a gateway does not use this configuration yet; empty when /routes shows its hash."""
    try:
        reply = target.get(name, "/routes", timeout=GET_TIMEOUT)
    except DeployerError as error:
        return (error.message,)
    wanted = settings_hash(text)
    return () if wanted.encode() in reply.body else (f"{name} does not use configuration {wanted} yet",)


def not_connected(target: Target, name: str, addresses: Collection[str]) -> tuple[str, ...]:
    """Which of these replicas a gateway has no connection to yet."""
    try:
        backends = routes(target, name).backends
    except DeployerError as error:
        return (error.message,)
    connected = {backend.address for backend in backends if backend.state != "disconnected"}
    return tuple(f"{name} is not connected to {address} yet" for address in addresses if address not in connected)


def _served(target: Target, name: str, model: ModelConfig, timeout: float) -> Served:
    reply = target.get(name, ModelPath(model=model.name).path, timeout=timeout)
    statuses = decoded(reply, _ModelStatus, name).model_version_status if reply.status == 200 else []
    labels: dict[str, int | None] = {}
    for label in model.labels:
        metadata = target.get(name, ModelPath(model=model.name, label=label).metadata_path, timeout=timeout)
        ok = metadata.status == 200
        labels[label] = decoded(metadata, _Metadata, name).model_spec.version if ok else None
    return Served(
        model=model.name,
        versions={s.version: s.state for s in statuses},
        labels=labels,
        problems={s.version: s.status.error_message for s in statuses if s.status.error_code != "OK"},
    )
