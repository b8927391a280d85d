"""How servers and gateways are asked over REST, and what they say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import quote

import msgspec

from deployer.errors import TargetError
from deployer.targets.base import HttpReply, Target

GET_TIMEOUT = 5.0

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A version as a server or gateway is asked for it: by label, by number, or whichever answers."""

    model: str
    label: str = ""
    version: int | None = None

    def __str__(self) -> str:
        by_label = f" label {self.label}" if self.label else ""
        return self.model + (by_label if self.version is None else f" version {self.version}")

    @property
    def path(self) -> str:
        """Where its state is."""
        by_label = f"/labels/{quote(self.label)}" if self.label else ""
        return f"/v1/models/{quote(self.model)}" + (by_label if self.version is None else f"/versions/{self.version}")

    @property
    def metadata_path(self) -> str:
        """Where its signatures are."""
        return f"{self.path}/metadata"

    @property
    def predict_path(self) -> str:
        """Where it is asked to predict."""
        return f"{self.path}:predict"


def decoded(reply: HttpReply, shape: type[T], name: str) -> T:
    """What `name` has answered. Errors: TargetError for something of another shape."""
    try:
        return msgspec.json.decode(reply.body, type=shape, strict=False)
    except msgspec.MsgspecError as error:
        raise TargetError(f"{name} answers with something that is not TensorFlow Serving's") from error


class GatewayConfig(msgspec.Struct, frozen=True):
    """The configuration that a gateway uses, by its hash; `error` is what is wrong with a newer one."""

    hash: str
    error: str | None = None


class Backend(msgspec.Struct, frozen=True):
    """A replica as a gateway knows it."""

    address: str
    state: str


class Routes(msgspec.Struct, frozen=True):
    """What a gateway says at /routes, as far as the deployer reads it."""

    config: GatewayConfig
    backends: tuple[Backend, ...] = ()


def routes(target: Target, gateway: str) -> Routes:
    """Ask a gateway. Errors: TargetError when it does not answer, or with something else."""
    reply = target.get(gateway, "/routes", timeout=GET_TIMEOUT)
    try:
        return msgspec.json.decode(reply.body, type=Routes)
    except msgspec.MsgspecError as error:
        raise TargetError(
            f"{gateway} does not show its routes yet", cause=f"its /routes cannot be read: {error}"
        ) from error
