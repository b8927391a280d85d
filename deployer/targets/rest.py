"""REST paths of models, and the routes that gateways report."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

import msgspec

from deployer.decode import json_as
from deployer.errors import TargetError
from deployer.targets.base import HttpReply, Target

GET_TIMEOUT = 5.0

T = TypeVar("T")


def is_admin_page(path: str) -> bool:
    """Whether a gateway has this page on its admin port: all but status and metadata of a model."""
    return not path.startswith("/v1/models/") or path.endswith("/schema")


@dataclass(frozen=True, kw_only=True)
class ModelPath:
    """The REST path of a model: by label, by version, or without either."""

    model: str
    label: str = ""
    version: int | None = None

    def __str__(self) -> str:
        by_label = f" label {self.label}" if self.label else ""
        return self.model + (by_label if self.version is None else f" version {self.version}")

    @property
    def path(self) -> str:
        """The path of its status."""
        by_label = f"/labels/{quote(self.label)}" if self.label else ""
        return f"/v1/models/{quote(self.model)}" + (by_label if self.version is None else f"/versions/{self.version}")

    @property
    def metadata_path(self) -> str:
        """The path of its metadata."""
        return f"{self.path}/metadata"

    @property
    def predict_path(self) -> str:
        """The path for Predict."""
        return f"{self.path}:predict"


def decoded(reply: HttpReply, shape: type[T], name: str) -> T:
    """Decode a response of `name`. Errors: TargetError for another format."""
    try:
        return json_as(reply.body, shape, strict=False)
    except msgspec.MsgspecError as error:
        raise TargetError(f"{name} sent a response that is not TensorFlow Serving's") from error


class GatewayConfig(msgspec.Struct, frozen=True):
    """The configuration that a gateway uses, by its hash; `error` is the error of a newer configuration."""

    hash: str
    error: str | None = None


class Backend(msgspec.Struct, frozen=True):
    """A backend of a gateway."""

    address: str
    state: str


class Routes(msgspec.Struct, frozen=True):
    """The response of /routes; only the fields that the deployer needs."""

    config: GatewayConfig
    backends: tuple[Backend, ...] = ()


def routes(target: Target, gateway: str) -> Routes:
    """Read /routes of a gateway. Errors: TargetError when it does not respond, or with another format."""
    reply = target.get(gateway, "/routes", timeout=GET_TIMEOUT)
    if reply.status != 200:
        text = reply.body.decode(errors="replace").strip()
        raise TargetError(f"{gateway} does not serve /routes", cause=f"/routes returned {reply.status}: {text}")
    try:
        return json_as(reply.body, Routes)
    except msgspec.MsgspecError as error:
        raise TargetError(
            f"{gateway} does not serve /routes yet", cause=f"its /routes cannot be decoded: {error}"
        ) from error
