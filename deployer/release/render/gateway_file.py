"""The gateway's settings file: routing, and the feature spec of every version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from deployer.decode import document_as
from deployer.domain.gateway import Auth, Sticky, Tls
from deployer.domain.location import MODELS_MOUNT, DirectoryStore, PvcStore
from deployer.domain.release import Model, Release, ServingTls
from deployer.domain.serving import ModelState, ServingConfig
from deployer.errors import DeployerError, SpecError
from deployer.release.render.text import fill
from gateway.settings import Settings, SettingsError, parse_settings
from gateway.spec import FeatureSpec, SpecProblem, dump_spec
from gateway.spec.reading.problems import read_all

Specs = Mapping[str, Mapping[int, str]]
"""Text of features.yaml by model and version; a version without one accepts tensors only."""

Document = dict[str, object]
"""A document that will be written as YAML."""

ROWS_PER_CALL = 1024
"""Rows in one RPC of the gateway if the model server does not batch, and so has no limit of its own."""

KEYS_MOUNT = "/etc/gateway-keys/keys.yaml"
"""Where the gateway chart mounts the Secret with API keys."""

TLS_MOUNT = "/etc/gateway-tls"
"""Where it mounts the Secret with the certificate."""

BACKEND_TLS_MOUNT = "/etc/model-server-tls"
"""Where it mounts the Secret for connections to model servers."""

SAMPLES_MOUNT = "/var/lib/gateway-samples"
"""Where it mounts the volume for records."""

ASSETS = "assets.extra"
"""Folder of a version with its feature spec and the files that this names."""

LOCAL_BACKEND = "127.0.0.1:8500"
"""The backend of a local gateway until the local target sets its replicas."""


def gateway_text(release: Release, state: ServingConfig, specs: Specs) -> str:
    """The whole file. Errors: SpecError for a feature spec or a setting that the gateway would reject."""
    in_cluster = isinstance(release.store, PvcStore)
    document: Document = {
        "version": "v1",
        **routing_document(release, state, specs, in_cluster=in_cluster),
        "backends": _backends(release),
    }
    text = fill("gateway.yaml.j2", release=release.name, settings=document)
    try:
        parsed = parse_settings(text)
    except SettingsError as error:
        raise SpecError(f"the gateway of {release.name} would reject its settings: {error}") from error
    if parsed != document_as(document, Settings, str_keys=True):
        raise DeployerError(
            "the rendered gateway settings differ from the intended ones",
            hint="this is a bug in a template of deployer; please report it",
        )
    return text


def routing_document(release: Release, state: ServingConfig, specs: Specs, *, in_cluster: bool = False) -> Document:
    """The settings without `version` and `backends`, which the gateway chart sets itself.

    `in_cluster` says that gateways read files of the store where the chart mounts it.
    """
    gateway = release.gateway
    document: Document = {
        "models": {
            model.name: _model(
                release, model, state.models[model.name], specs.get(model.name, {}), in_cluster=in_cluster
            )
            for model in release.models
        },
        "limits": {key: value for key, value in asdict(gateway.limits).items() if value is not None},
        "batching": asdict(gateway.batching),
    }
    if gateway.rates is not None:
        rates = asdict(gateway.rates)
        document["rates"] = {key: value for key, value in rates.items() if value is not None}
    if gateway.stores:
        document["stores"] = {
            name: {key: value for key, value in asdict(store).items() if value is not None}
            for name, store in gateway.stores.items()
        }
    if gateway.auth is not None:
        document["auth"] = _auth(gateway.auth, in_cluster=isinstance(release.store, PvcStore))
    if gateway.cors is not None:
        document["cors"] = {**asdict(gateway.cors), "origins": list(gateway.cors.origins)}
    if gateway.access_log is not None:
        document["access_log"] = asdict(gateway.access_log)
    if gateway.tls is not None:
        document["tls"] = _tls(gateway.tls, in_cluster=isinstance(release.store, PvcStore))
    if gateway.sampling is not None:
        sampled = asdict(gateway.sampling)
        del sampled["pvc"]
        folder = SAMPLES_MOUNT if isinstance(release.store, PvcStore) else gateway.sampling.folder
        document["sampling"] = {**sampled, "folder": folder, "mask": list(gateway.sampling.mask)}
    if gateway.public_docs:
        document["public_docs"] = True
    return document


def _auth(auth: Auth, *, in_cluster: bool) -> Document:
    """The section. Errors: SpecError where the release runs without the keys that deployer.yaml names elsewhere."""
    document: Document = {}
    here, there = ("keys_secret", "keys_file") if in_cluster else ("keys_file", "keys_secret")
    if getattr(auth, there) is not None and getattr(auth, here) is None:
        place = "in a cluster" if in_cluster else "on this machine"
        raise SpecError(
            f"gateway.auth.{there} does not work {place}, and gateway.auth.{here} is not set",
            hint="set both in a deployer.yaml that is used in both places; leave auth out to accept every caller",
        )
    if getattr(auth, here) is not None:
        document["keys_file"] = KEYS_MOUNT if in_cluster else auth.keys_file
    if auth.jwt is not None:
        if in_cluster and auth.jwt.jwks_file is not None:
            raise SpecError(
                "gateway.auth.jwt.jwks_file does not work in a cluster",
                hint="set jwks_url: gateways read the keys there",
            )
        jwt = {**asdict(auth.jwt), "algorithms": list(auth.jwt.algorithms)}
        document["jwt"] = {key: value for key, value in jwt.items() if value is not None}
    return document


def _tls(tls: Tls, *, in_cluster: bool) -> Document:
    """The section. Errors: SpecError where the release runs without the certificate that deployer.yaml names
    elsewhere, and for certificates of clients in a cluster."""
    here, there = ("secret", "cert_file") if in_cluster else ("cert_file", "secret")
    if getattr(tls, here) is None:
        place = "in a cluster" if in_cluster else "on this machine"
        raise SpecError(
            f"gateway.tls.{there} does not work {place}, and gateway.tls.{here} is not set",
            hint="set both in a deployer.yaml that is used in both places; leave tls out for ports without TLS",
        )
    if not in_cluster:
        files = {"cert_file": tls.cert_file, "key_file": tls.key_file, "client_ca_file": tls.client_ca_file}
        return {key: value for key, value in files.items() if value is not None}
    if tls.client_ca_file is not None:
        raise SpecError(
            "gateway.tls.client_ca_file does not work in a cluster: requests of the deployer reach gateways through the"
            " API server, which shows them no certificate",
            hint="ask for keys or tokens (gateway.auth), or for certificates at the Ingress",
        )
    return {"cert_file": f"{TLS_MOUNT}/tls.crt", "key_file": f"{TLS_MOUNT}/tls.key"}


def _model(
    release: Release, model: Model, state: ModelState, specs: Mapping[int, str], *, in_cluster: bool
) -> Document:
    document: Document = {"signature": model.signature, "labels": dict(state.labels)}
    if state.weights:
        routing: Document = {"weights": dict(state.weights)}
        if model.sticky is not None:
            routing["sticky"] = _sticky(model.sticky)
        document["routing"] = routing
    document["max_rows_per_call"] = release.batching.max_batch_size if release.batching else ROWS_PER_CALL
    if in_cluster and release.gateway.mount_store:
        document["files"] = f"{MODELS_MOUNT}/{model.name}"
    elif not in_cluster and isinstance(release.store, DirectoryStore):
        document["files"] = release.store.base_path(model.name)
    if model.cache_seconds is not None:
        document["cache_seconds"] = model.cache_seconds
    document["specs"] = {str(version): _spec(release, model.name, version, specs[version]) for version in sorted(specs)}
    return document


def _sticky(sticky: Sticky) -> Document:
    return {key: value for key, value in asdict(sticky).items() if value is not None}


def _spec(release: Release, model: str, version: int, text: str) -> Document:
    """A feature spec as the gateway reads it. Errors: SpecError with all its problems, and for currencies without
    rates."""
    try:
        read = read_all(text)
    except SpecProblem as error:
        raise SpecError(f"the feature spec of {model} version {version} is invalid: {error}", hint=_CORRECT) from error
    if read.spec is None:
        first, *others = map(str, read.findings)
        raise SpecError(
            f"the feature spec of {model} version {version} is invalid: {first}",
            cause="\n       ".join(others),
            hint=_CORRECT,
        )
    _check_rates(release, model, version, read.spec.currencies)
    _check_files(release, model, version, read.spec)
    return dump_spec(read.spec)


_CORRECT = "docs/reference/features-yaml.md describes every key; correct it and export the version again"


def _check_rates(release: Release, model: str, version: int, currencies: Mapping[str, str]) -> None:
    rates = release.gateway.rates
    for feature, to in currencies.items():
        where = f"the feature spec of {model} version {version} converts '{feature}' into {to}"
        if rates is None:
            raise SpecError(
                f"{where}, and deployer.yaml has no gateway.rates",
                hint=f"add gateway.rates with base: {to} and a table or a file",
            )
        if rates.table is not None and to not in {rates.base, *rates.table}:
            raise SpecError(
                f"{where}, which gateway.rates of deployer.yaml does not have",
                hint=f"it has {', '.join(sorted({rates.base, *rates.table}))}; add {to}",
            )


def _check_files(release: Release, model: str, version: int, spec: FeatureSpec) -> None:
    for feature, words in spec.vocabularies.items():
        where = f"the feature spec of {model} version {version} reads '{feature}' from {words.vocabulary_file}"
        if isinstance(release.store, PvcStore):
            if not release.gateway.mount_store:
                raise SpecError(
                    f"{where}, and gateways do not see the store",
                    hint="set gateway.mount_store: true in deployer.yaml; gateways then mount the PVC, read-only",
                )
        elif not (Path(release.store.base_path(model)) / str(version) / ASSETS / str(words.vocabulary_file)).is_file():
            raise SpecError(
                f"{where}, which the version does not have", hint="export it with the file beside its feature spec"
            )


def _backends(release: Release) -> Document:
    seconds: Document = {"refresh_seconds": release.gateway.backend_refresh_seconds}
    in_cluster, tls = isinstance(release.store, PvcStore), release.serving.tls
    if tls is not None:
        seconds["tls"] = _backend_tls(release, tls, in_cluster=in_cluster)
    if in_cluster:
        return {"dns": f"{model_servers(release)}:8500", **seconds}
    return {"static": [LOCAL_BACKEND], **seconds}


def model_servers(release: Release) -> str:
    """The DNS name of the model servers of a release in a cluster."""
    return f"{release.name}-tf-serving-headless.{release.namespace}.svc"


def _backend_tls(release: Release, tls: ServingTls, *, in_cluster: bool) -> Document:
    """The section. Errors: SpecError where deployer.yaml names certificates for the other place only."""
    here, there = ("secret", "cert_file") if in_cluster else ("cert_file", "secret")
    if getattr(tls, here) is None:
        place = "in a cluster" if in_cluster else "on this machine"
        raise SpecError(
            f"serving.tls.{there} does not work {place}, and serving.tls.{here} is not set",
            hint="set both in a deployer.yaml that is used in both places; leave tls out for gRPC without TLS",
        )
    if in_cluster:
        shown = {"cert_file": f"{BACKEND_TLS_MOUNT}/tls.crt", "key_file": f"{BACKEND_TLS_MOUNT}/tls.key"}
        name = tls.server_name or model_servers(release)
        return {"ca_file": f"{BACKEND_TLS_MOUNT}/ca.crt", "server_name": name, **(shown if tls.mutual else {})}
    files = {"ca_file": tls.ca_file, "server_name": tls.server_name}
    files |= {"cert_file": tls.client_cert_file, "key_file": tls.client_key_file}
    return {key: value for key, value in files.items() if value is not None}
