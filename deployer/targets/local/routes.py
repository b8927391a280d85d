"""HTTP of the local target: requests by port, and the gateway's list of replicas."""

from __future__ import annotations

from collections.abc import Mapping

import requests
import yaml

from deployer.errors import SpecError, TargetError
from deployer.targets.base import HttpReply
from gateway.settings import SettingsError, parse_settings
from gateway.spec.text import Dumper, load

ASK_NOW = {"cache-control": "no-cache"}
"""Otherwise a busy gateway may return an older page."""


def request(
    name: str, port: int, path: str, body: bytes | None, *, timeout: float, headers: Mapping[str, str] | None = None
) -> HttpReply:
    """POST a body to a port of this machine, or GET without a body; HTTP proxies are ignored.

    Errors: TargetError when there is no response in time.
    """
    method, own = ("GET", ASK_NOW) if body is None else ("POST", {"content-type": "application/json"})
    with requests.Session() as session:
        session.trust_env = False
        try:
            response = session.request(
                method, f"http://127.0.0.1:{port}{path}", data=body, headers={**own, **(headers or {})}, timeout=timeout
            )
        except requests.RequestException as error:
            raise TargetError(
                f"{name} does not respond on port {port}",
                cause=f"no response within {timeout:g} s"
                if isinstance(error, requests.Timeout)
                else type(error).__name__,
                hint="`deployer status` shows more",
            ) from error
        return HttpReply(status=response.status_code, body=response.content)


def with_backends(text: str, addresses: list[str]) -> str:
    """A gateway configuration with exactly these replicas. Errors: SpecError when the gateway would reject it."""
    try:
        document = load(text)
        document["backends"] = {**document.get("backends", {}), "static": addresses}
        document["backends"].pop("dns", None)
        text = str(yaml.dump(document, Dumper=Dumper, sort_keys=False))
        parse_settings(text)
    except (yaml.YAMLError, TypeError, AttributeError, SettingsError) as error:
        raise SpecError("the gateway configuration is invalid", hint="`deployer render` writes a valid one") from error
    return text
