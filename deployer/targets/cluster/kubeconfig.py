"""Where a cluster is and how to log in to it. The only module that imports the `kubernetes` package, when it is called.

Of that package only its loaders are used: of kubeconfig files (contexts, certificates, tokens, exec plug-ins) and of a
pod's service account. Since version 37 it loads none of its models until somebody names one.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import urllib3

from deployer.errors import TargetError
from deployer.extras import pip_line

if TYPE_CHECKING:
    from kubernetes.client import Configuration

SERVICE_HOST = "KUBERNETES_SERVICE_HOST"
"""Set in every pod, by its kubelet."""

CONNECTIONS = 16
"""Kept open to one API server."""


def load(context: str = "", kubeconfig: str = "") -> Configuration:
    """How to reach the cluster of a context, as the `kubernetes` client takes it.

    Without a context it is the current one, or in a pod that has none the cluster around it, by its service account.

    Errors: TargetError without a usable kubeconfig or the `kubernetes` package.
    """
    config = _loaders()
    from kubernetes.client import Configuration

    configuration = Configuration()
    try:
        if not context and in_pod(kubeconfig):
            config.load_incluster_config(client_configuration=configuration)
        else:
            config.load_kube_config(
                config_file=kubeconfig or None,
                context=context or None,
                client_configuration=configuration,
                persist_config=False,
            )
    except (config.ConfigException, OSError) as error:
        raise TargetError(
            f"there is no usable kube-context {context}".rstrip(),
            cause=str(error),
            hint="`kubectl config get-contexts` lists them; `deployer cluster up` makes one",
        ) from error
    return configuration


def current_context(kubeconfig: str = "") -> str:
    """The current context of the kubeconfig; empty when there is none. Errors: TargetError without the package."""
    config = _loaders()
    try:
        _, active = config.list_kube_config_contexts(config_file=kubeconfig or None)
    except config.ConfigException:
        return ""
    return str(active["name"]) if active else ""


def in_pod(kubeconfig: str = "") -> bool:
    """Whether this process runs in a pod and has no current context, so that the cluster around it is meant."""
    return bool(os.environ.get(SERVICE_HOST)) and not current_context(kubeconfig)


def authorization(configuration: Configuration) -> str:
    """The Authorization header of a request now, empty for none. A token that runs out is got anew."""
    return configuration.get_api_key_with_prefix("BearerToken", alias="authorization") or ""


def pool(configuration: Configuration) -> urllib3.PoolManager:
    """Connections to the API server: with its certificates, and through a proxy where one is set and NO_PROXY does not
    name the server."""
    from kubernetes.client.rest import should_bypass_proxies

    options: dict[str, Any] = {
        "maxsize": CONNECTIONS,
        "cert_reqs": "CERT_REQUIRED" if configuration.verify_ssl else "CERT_NONE",
        "ca_certs": configuration.ssl_ca_cert,
        "cert_file": configuration.cert_file,
        "key_file": configuration.key_file,
    }
    if configuration.tls_server_name:
        options["server_hostname"] = configuration.tls_server_name
    if configuration.proxy and not should_bypass_proxies(configuration.host, configuration.no_proxy or ""):
        return urllib3.ProxyManager(configuration.proxy, **options)
    return urllib3.PoolManager(**options)


def _loaders() -> Any:
    try:
        from kubernetes import config
    except ImportError as error:
        raise TargetError("the Kubernetes client is not installed", hint=pip_line("kubernetes")) from error
    return config
