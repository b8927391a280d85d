"""The HTTP side of the local target: GET by port, and a gateway that is ready and follows its file."""

from __future__ import annotations

import requests
import yaml

from deployer.errors import DeployerError, SpecError, TargetError
from deployer.targets.base import HttpReply, Target
from deployer.targets.proof import GET_TIMEOUT
from gateway.settings import SettingsError, parse_settings, settings_hash


def get(name: str, port: int, path: str, *, timeout: float) -> HttpReply:
    """GET from a port of this machine, past any proxy. Errors: TargetError when nobody answers in time."""
    with requests.Session() as session:
        session.trust_env = False
        try:
            answer = session.get(f"http://127.0.0.1:{port}{path}", timeout=timeout)
        except requests.RequestException as error:
            raise TargetError(
                f"{name} does not answer on port {port}",
                cause=type(error).__name__,
                hint="`deployer status` shows more",
            ) from error
        return HttpReply(status=answer.status_code, body=answer.content)


def with_backends(text: str, addresses: list[str]) -> str:
    """A gateway configuration that knows exactly these replicas. Errors: SpecError when the gateway would refuse it."""
    try:
        document = yaml.safe_load(text)
        document["backends"] = {**document.get("backends", {}), "static": addresses}
        document["backends"].pop("dns", None)
        text = yaml.safe_dump(document, sort_keys=False)
        parse_settings(text)
    except (yaml.YAMLError, TypeError, AttributeError, SettingsError) as error:
        raise SpecError(
            "the gateway configuration cannot be used", hint="`deployer render` writes one that can"
        ) from error
    return text


def not_ready(target: Target, name: str) -> tuple[str, ...]:
    """Why a gateway cannot take traffic yet; nothing when every routed label has a backend."""
    try:
        reply = target.get(name, "/readyz", timeout=GET_TIMEOUT)
    except DeployerError as error:
        return (error.message,)
    return () if reply.status == 200 else (reply.body.decode(errors="replace").strip() or f"/readyz is {reply.status}",)


def not_following(target: Target, name: str, text: str) -> tuple[str, ...]:
    """Why a gateway does not use this configuration yet; nothing when /routes shows its hash."""
    try:
        reply = target.get(name, "/routes", timeout=GET_TIMEOUT)
    except DeployerError as error:
        return (error.message,)
    wanted = settings_hash(text)
    return () if wanted.encode() in reply.body else (f"{name} does not use configuration {wanted} yet",)
