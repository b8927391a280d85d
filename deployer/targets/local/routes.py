"""HTTP of the local target: requests by port, and the gateway's list of replicas."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import requests
import yaml
from requests.adapters import HTTPAdapter

from deployer.errors import SpecError, TargetError
from deployer.targets.base import HttpReply
from deployer.tools.client_tls import CERTIFICATE_HINT, ClientTls
from gateway.settings import SettingsError, parse_settings
from gateway.spec.reading.text import Dumper, load

ASK_NOW = {"cache-control": "no-cache"}
"""Otherwise a busy gateway may return an older page."""


class _Secure(HTTPAdapter):
    """Connections that trust nobody but whom `tls` names."""

    def __init__(self, tls: ClientTls) -> None:
        self._tls = tls
        super().__init__()

    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **options: Any) -> None:
        options["ssl_context"] = self._tls.context()
        if self._tls.server_name:
            options |= {"server_hostname": self._tls.server_name, "assert_hostname": self._tls.server_name}
        super().init_poolmanager(connections, maxsize, block, **options)

    def cert_verify(self, *arguments: Any, **options: Any) -> None:
        """Add no authorities: the context has them."""


def request(
    name: str,
    port: int,
    path: str,
    body: bytes | None,
    *,
    timeout: float,
    headers: Mapping[str, str] | None = None,
    tls: ClientTls | None = None,
) -> HttpReply:
    """POST a body to a port of this machine, or GET without a body; HTTP proxies are ignored. With `tls` by https.

    Errors: TargetError when there is no response in time.
    """
    method, own = ("GET", ASK_NOW) if body is None else ("POST", {"content-type": "application/json"})
    url = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}{path}"
    with requests.Session() as session:
        session.trust_env = False
        if tls is not None:
            session.mount("https://", _Secure(tls))
        try:
            response = session.request(method, url, data=body, headers={**own, **(headers or {})}, timeout=timeout)
        except requests.exceptions.SSLError as error:
            raise TargetError(
                f"there is no TLS connection to {name} on port {port}",
                cause=str(error),
                hint=CERTIFICATE_HINT,
            ) from error
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
