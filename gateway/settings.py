"""The gateway's config file: what `gateway.yaml` may say, as typed values.

Import-light on purpose (msgspec, PyYAML and the feature spec only): the deployer validates what it renders with
the code that the gateway reads it with.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from typing import Annotated, Literal

import yaml
from msgspec import Meta, Struct

from gateway.spec import FeatureSpec
from gateway.spec.reading.places import place_of, yaml_problem
from gateway.spec.reading.strict import StrictError, convert
from gateway.spec.reading.text import load

Name = Annotated[str, Meta(pattern=r"^[^/:\x00-\x1f]+$", max_length=253)]
"""A model name or a version label: what fits between the slashes of a URL."""

Version = Annotated[int, Meta(ge=0)]
VersionKey = Annotated[str, Meta(pattern=r"^\d+$")]
Positive = Annotated[int, Meta(ge=1)]
Weight = Annotated[float, Meta(ge=0)]


class SettingsError(ValueError):
    """A config file that is not valid; the message names the path of the value."""


class _Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What every section has in common: immutable, and a key that nobody knows is an error."""


class Sticky(_Section, frozen=True, kw_only=True):
    """Where the sticky key of a request is found: a field of its `metadata` or one of its headers."""

    metadata: str | None = None
    header: str | None = None


class Routing(_Section, frozen=True, kw_only=True):
    """Shares of traffic per label for requests that name neither label nor version.

    `weights` are relative: 95/5 and 19/1 say the same. `fallback` is the label that answers a request when the one
    that it was routed to has failed. `shadow` is the label that record requests to other labels are mirrored to.
    """

    weights: dict[Name, Weight]
    sticky: Sticky | None = None
    fallback: Name | None = None
    shadow: Name | None = None


class ModelSettings(_Section, frozen=True, kw_only=True):
    """One model behind the gateway.

    `labels` says what each label is meant to resolve to: it chooses the feature spec, and the response of the model
    server is checked against it. `specs` holds the features.yaml of each version; one without it takes tensors only.
    `files` is the folder of the model's versions (with `1`, `2`, …): a file that the spec of a version names, such as a
    vocabulary, stands in `assets.extra` of that version.
    `max_rows_per_call` is the largest number of rows sent in one RPC (requests above it are split): set it to the
    batching parameter `max_batch_size` when the model server batches, which refuses more. With `cache_seconds`
    responses are kept for that long, and served again to requests with the same input tensors.
    """

    signature: str = "serving_default"
    labels: dict[Name, Version] = {}
    routing: Routing | None = None
    specs: dict[VersionKey, FeatureSpec] = {}
    files: str | None = None
    max_rows_per_call: Positive = 1024
    cache_seconds: Annotated[float, Meta(gt=0)] | None = None


class Hedge(_Section, frozen=True, kw_only=True):
    """Hedged requests: a Predict without a response after `after_ms`, or after the quantile `after_quantile` of the
    latest ones, is sent to a second replica too. At most `max_share` of the calls are."""

    after_ms: Annotated[float, Meta(gt=0)] | None = None
    after_quantile: Annotated[float, Meta(ge=0.5, lt=1)] | None = None
    max_share: Annotated[float, Meta(gt=0, le=0.5)] = 0.05


class BackendTls(_Section, frozen=True, kw_only=True):
    """TLS of the connections to model servers. Their certificates must be of these authorities (those of the system
    without `ca_file`) and for `server_name` (without it, for the address); `cert_file` and `key_file` are shown to
    model servers that ask for a certificate."""

    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    server_name: str | None = None


class Backends(_Section, frozen=True, kw_only=True):
    """The model server replicas: a fixed list, or one DNS name whose every address is a replica (headless Service).

    With `scale_to_zero`, no replica is an ordinary state: the gateway is ready, and requests wait for the first one.
    With `max_connection_age_seconds` connections are made anew after that time, so that replicas that were added behind
    one address (a load balancer, a Service with an IP) get their part of the calls.
    """

    static: list[str] | None = None
    dns: str | None = None
    refresh_seconds: Annotated[float, Meta(ge=0.1)] = 5.0
    scale_to_zero: bool = False
    max_connection_age_seconds: Annotated[float, Meta(ge=1)] | None = None
    hedge: Hedge | None = None
    tls: BackendTls | None = None


class Limits(_Section, frozen=True, kw_only=True):
    """Bounds that protect the gateway and the model servers; past them a request is refused at once.

    How many requests are worked on at a time is learned; `max_concurrency` bounds it, and `max_queue` the requests that
    wait for a place. `objective_ms` is the latency that requests should keep: what would wait longer than half of it is
    refused. Without it, ten times a model's unloaded latency, at least 100 ms. `timeout_ms` bounds a request, and caps
    what `x-request-timeout-ms` may ask for. `priority_header` names the header in which a client says `high`, `normal`
    or `low`. `memory_bytes` bounds what all requests in progress take together; without it, what the container's limit
    leaves. `image_pixels` bounds one picture, as sent or as the model takes it. `cache_bytes` bounds the responses that
    are kept for all models with `cache_seconds`.
    """

    max_body_bytes: Positive = 10 * 1024 * 1024
    max_records: Positive = 10_000
    timeout_ms: Positive = 10_000
    max_concurrency: Positive = 256
    max_queue: Annotated[int, Meta(ge=0)] = 256
    objective_ms: Positive | None = None
    priority_header: str | None = None
    memory_bytes: Annotated[int, Meta(ge=1 << 20)] | None = None
    image_pixels: Positive = 1 << 22
    cache_bytes: Positive = 1 << 25


class Batching(_Section, frozen=True, kw_only=True):
    """Joining of concurrent requests for the same model, version and spec into one RPC. Off: one RPC per request."""

    enabled: bool = False
    max_batch_size: Positive = 32
    max_wait_micros: Annotated[int, Meta(ge=0)] = 1000


class Rates(_Section, frozen=True, kw_only=True):
    """Currency table: units of each currency for one unit of `base`, inline or in a JSON file read again on change."""

    base: str = "USD"
    table: dict[str, Annotated[float, Meta(gt=0)]] | None = None
    file: str | None = None


class Jwt(_Section, frozen=True, kw_only=True):
    """JSON Web Tokens of one issuer, for one audience. Its public keys (JWKS) come from a file or a URL, which is asked
    again every `refresh_seconds`. `models_claim` is the claim with the models that a token opens; without it, all."""

    issuer: str
    audience: str
    jwks_file: str | None = None
    jwks_url: str | None = None
    refresh_seconds: Annotated[float, Meta(ge=10)] = 300.0
    algorithms: tuple[
        Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"], ...
    ] = ("RS256", "ES256")
    models_claim: str | None = None
    leeway_seconds: Annotated[float, Meta(ge=0, le=300)] = 30.0


class Auth(_Section, frozen=True, kw_only=True):
    """Who may ask: whoever has a key of the file, or a token of the issuer."""

    keys_file: str | None = None
    jwt: Jwt | None = None


class Cors(_Section, frozen=True, kw_only=True):
    """Origins of web pages that may ask, `*` for all; with `credentials` the browser may add cookies and such."""

    origins: Annotated[list[str], Meta(min_length=1)]
    credentials: bool = False
    max_age_seconds: Annotated[int, Meta(ge=0)] = 600


class Tls(_Section, frozen=True, kw_only=True):
    """Certificate chain and private key (PEM) of the public ports. With `client_ca_file` clients must have a
    certificate of these authorities."""

    cert_file: str
    key_file: str
    client_ca_file: str | None = None


class AccessLog(_Section, frozen=True, kw_only=True):
    """A JSON line for each request that failed, and for a share (`sample`, 0 to 1) of the others."""

    sample: Annotated[float, Meta(ge=0, le=1)] = 1.0


class Sampling(_Section, frozen=True, kw_only=True):
    """Records of requests that are kept in files of `folder`, one for each model: a share of them, and `max_bytes` for
    each model at most. `consent: true` says that whoever runs the gateway may keep them. Fields named in `mask` lose
    their values."""

    consent: bool
    folder: str
    share: Annotated[float, Meta(ge=0, le=1)] = 0.01
    max_bytes: Annotated[int, Meta(ge=1 << 18)] = 1 << 26
    mask: list[str] = []


class Store(_Section, frozen=True, kw_only=True):
    """Where features are looked up: Redis by URL, or a table of a SQLite file that is loaded at the start.

    `timeout_ms` bounds a look-up; `cache_entries` keys are kept in memory.
    """

    redis: str | None = None
    cluster: bool = False
    sqlite: str | None = None
    table: str = "features"
    timeout_ms: Positive = 50
    cache_entries: Positive = 100_000


class Settings(_Section, frozen=True, kw_only=True):
    """The whole file.

    With `public_docs` the public port serves the list of models, the schemas of records and the OpenAPI document too,
    which otherwise only the admin port does.
    """

    version: Literal["v1"]
    models: dict[Name, ModelSettings]
    backends: Backends
    limits: Limits = Limits()
    batching: Batching = Batching()
    rates: Rates | None = None
    stores: dict[Name, Store] = {}
    public_docs: bool = False
    auth: Auth | None = None
    cors: Cors | None = None
    access_log: AccessLog | None = None
    tls: Tls | None = None
    sampling: Sampling | None = None


def parse_settings(text: str) -> Settings:
    """Read a config file. Errors: SettingsError naming the path of the first value that is wrong."""
    try:
        raw = load(text)
    except yaml.YAMLError as error:
        raise SettingsError(f"not valid YAML: {yaml_problem(error)}") from error
    _versions_as_text(raw)
    try:
        settings = convert(raw, Settings)
    except StrictError as error:
        found = _with_model_name(raw, error)
        place = place_of(text, found.path, found.what)
        raise SettingsError(f"{found} ({place})" if place else str(found)) from error
    for problem in _contradictions(settings):
        raise SettingsError(problem)
    return settings


def rates_file(text: str) -> str | None:
    """The rates file that a config names, relative to the config. Errors: SettingsError."""
    rates = parse_settings(text).rates
    return rates.file if rates is not None else None


def settings_hash(text: str) -> str:
    """Short name of a config file's exact bytes, shown at /routes and in the metrics."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _versions_as_text(raw: object) -> None:
    """YAML reads an unquoted version key as a number; both spellings are meant alike."""
    models = raw.get("models") if isinstance(raw, dict) else None
    for model in models.values() if isinstance(models, dict) else ():
        specs = model.get("specs") if isinstance(model, dict) else None
        if isinstance(specs, dict):
            model["specs"] = {str(key) if type(key) is int else key: spec for key, spec in specs.items()}


def _with_model_name(raw: dict[str, object], error: StrictError) -> StrictError:
    """msgspec prints `[...]` for a key of a mapping; say which model it was."""
    models = raw.get("models") if error.path.startswith("models[...]") else None
    for name, model in models.items() if isinstance(models, dict) else ():
        try:
            convert(model, ModelSettings)
        except StrictError as found:
            return StrictError(f"models.{name}{'.' if found.path else ''}{found.path}", found.what)
    return error


def _contradictions(settings: Settings) -> Iterator[str]:
    """What types cannot say, in the order of the file."""
    for name, model in settings.models.items():
        yield from _model_contradictions(f"models.{name}", model)
        yield from _lookups_without_store(f"models.{name}", model, settings.stores)
        yield from _currencies_without_rates(f"models.{name}", model, settings.rates)
    for name, store in settings.stores.items():
        if (store.redis is None) == (store.sqlite is None):
            yield f"stores.{name}: exactly one of redis and sqlite is needed"
    where = settings.backends
    if (where.static is None) == (where.dns is None):
        yield "backends: exactly one of static and dns is needed"
    if where.static == []:
        yield "backends.static: at least one address is needed"
    if where.hedge is not None and (where.hedge.after_ms is None) == (where.hedge.after_quantile is None):
        yield "backends.hedge: exactly one of after_ms and after_quantile is needed"
    for address in (*(where.static or ()), *((where.dns,) if where.dns is not None else ())):
        if not _has_port(address):
            yield f"backends: expected HOST:PORT, got '{address}'"
    if where.tls is not None and (where.tls.cert_file is None) != (where.tls.key_file is None):
        yield "backends.tls: cert_file and key_file belong together: set both or none"
    if settings.sampling is not None and not settings.sampling.consent:
        yield "sampling.consent: requests may hold personal data; `true` says that you may keep them"
    yield from _access_contradictions(settings)
    if settings.rates is not None and (settings.rates.table is None) == (settings.rates.file is None):
        yield "rates: exactly one of table and file is needed"


def _access_contradictions(settings: Settings) -> Iterator[str]:
    auth, cors = settings.auth, settings.cors
    if auth is not None and auth.keys_file is None and auth.jwt is None:
        yield "auth: keys_file or jwt is needed; leave auth out to accept every caller"
    if auth is not None and auth.jwt is not None:
        if (auth.jwt.jwks_file is None) == (auth.jwt.jwks_url is None):
            yield "auth.jwt: exactly one of jwks_file and jwks_url is needed"
        if auth.jwt.jwks_url is not None and not auth.jwt.jwks_url.startswith(("https://", "http://")):
            yield "auth.jwt.jwks_url: expected a URL with https"
    if cors is not None and cors.credentials and "*" in cors.origins:
        yield "cors: credentials for every origin would open the gateway to any page; name the origins"
    for origin in cors.origins if cors is not None else ():
        if origin != "*" and not re.fullmatch(r"https?://[^/\s]+", origin):
            yield f"cors.origins: expected SCHEME://HOST[:PORT], got '{origin}'"


def _model_contradictions(path: str, model: ModelSettings) -> Iterator[str]:
    if model.routing is None:
        return
    for label in model.routing.weights:
        if label not in model.labels:
            known = ", ".join(sorted(model.labels)) or "none"
            yield f"{path}.routing.weights: '{label}' is not a label of this model; labels: {known}"
    for key, other in (("fallback", model.routing.fallback), ("shadow", model.routing.shadow)):
        if other is not None and other not in model.labels:
            yield f"{path}.routing.{key}: '{other}' is not a label of this model"
    if not 0 < sum(model.routing.weights.values()) < math.inf:
        yield f"{path}.routing.weights: at least one weight must be above 0, and all must be finite"
    sticky = model.routing.sticky
    if sticky is not None and (sticky.metadata is None) == (sticky.header is None):
        yield f"{path}.routing.sticky: exactly one of metadata and header is needed"


def _lookups_without_store(path: str, model: ModelSettings, stores: dict[str, Store]) -> Iterator[str]:
    for version, spec in model.specs.items():
        if spec.lookup is not None and spec.lookup.store not in stores:
            known = ", ".join(sorted(stores)) or "none"
            yield f"{path}.specs.{version}.lookup.store: there is no store '{spec.lookup.store}'; stores: {known}"


def _currencies_without_rates(path: str, model: ModelSettings, rates: Rates | None) -> Iterator[str]:
    """A table that stands in a file is looked at when the file is read."""
    for version, spec in model.specs.items():
        for feature, to in spec.currencies.items():
            at = f"{path}.specs.{version}.features: {feature}"
            if rates is None:
                yield f"{at}: currency needs a table of exchange rates; set rates in the gateway's config"
            elif rates.table is not None and to not in {rates.base, *rates.table}:
                known = ", ".join(sorted({rates.base, *rates.table})[:10])
                yield f"{at}: currency '{to}' is not in the rate table; it has {known}"


def _has_port(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 65536
