"""The gateway's config file: what `gateway.yaml` may say, as typed values.

Import-light on purpose (msgspec, PyYAML and the feature spec only): the deployer validates what it renders with
the code that the gateway reads it with.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

import msgspec
import yaml
from msgspec import Meta, Struct

Name = Annotated[str, Meta(pattern=r"^[^/:\x00-\x1f]+$", max_length=253)]
"""A model name or a version label: what fits between the slashes of a URL."""

Version = Annotated[int, Meta(ge=0)]
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

    `weights` are relative: 95/5 and 19/1 say the same.
    """

    weights: dict[Name, Weight]
    sticky: Sticky | None = None


class ModelSettings(_Section, frozen=True, kw_only=True):
    """One model behind the gateway.

    `labels` says what each label is meant to resolve to: it chooses the feature spec, and the answer of the model
    server is checked against it. `specs` holds the features.yaml of each version; one without it takes tensors only.
    `max_rows_per_call` is the largest number of rows sent in one RPC (requests above it are split): set it to the
    batching parameter `max_batch_size` when the model server batches, which refuses more.
    """

    signature: str = "serving_default"
    labels: dict[Name, Version] = {}
    routing: Routing | None = None
    specs: dict[Version, dict[str, object]] = {}
    max_rows_per_call: Positive = 1024


class Backends(_Section, frozen=True, kw_only=True):
    """The model server replicas: a fixed list, or one DNS name whose every address is a replica (headless Service)."""

    static: list[str] | None = None
    dns: str | None = None
    refresh_seconds: Annotated[float, Meta(ge=0.1)] = 5.0


class Limits(_Section, frozen=True, kw_only=True):
    """Bounds that protect the gateway; past them a request is refused at once.

    `max_concurrency` requests are worked on at a time and `max_queue` more wait for their turn within their deadline.
    `timeout_ms` bounds a request, and caps what `x-request-timeout-ms` may ask for.
    """

    max_body_bytes: Positive = 10 * 1024 * 1024
    max_records: Positive = 10_000
    timeout_ms: Positive = 10_000
    max_concurrency: Positive = 256
    max_queue: Annotated[int, Meta(ge=0)] = 256


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


class Settings(_Section, frozen=True, kw_only=True):
    """The whole file."""

    version: Literal["v1"]
    models: dict[Name, ModelSettings]
    backends: Backends
    limits: Limits = Limits()
    batching: Batching = Batching()
    rates: Rates | None = None


def parse_settings(text: str) -> Settings:
    """Read a config file. Errors: SettingsError naming the path of the first value that is wrong."""
    try:
        raw = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise SettingsError(f"not valid YAML: {error}") from error
    try:
        settings = msgspec.convert(raw, Settings, str_keys=True)
    except msgspec.ValidationError as error:
        raise SettingsError(_with_model_name(raw, error)) from error
    for problem in _contradictions(settings):
        raise SettingsError(problem)
    return settings


def settings_hash(text: str) -> str:
    """Short name of a config file's exact bytes, shown at /routes and in the metrics."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _contradictions(settings: Settings) -> list[str]:
    """What types cannot say, in the order of the file."""
    found = []
    for name, model in settings.models.items():
        found += _model_contradictions(f"$.models.{name}", model)
    if (settings.backends.static is None) == (settings.backends.dns is None):
        found.append("Expected exactly one of `static` and `dns` - at `$.backends`")
    if settings.backends.static == []:
        found.append("Expected at least one address - at `$.backends.static`")
    addresses = [*(settings.backends.static or ()), *([settings.backends.dns] if settings.backends.dns else ())]
    found += [
        f"Expected HOST:PORT, got `{address}` - at `$.backends`" for address in addresses if not _has_port(address)
    ]
    if settings.rates is not None and (settings.rates.table is None) == (settings.rates.file is None):
        found.append("Expected exactly one of `table` and `file` - at `$.rates`")
    return found


def _model_contradictions(path: str, model: ModelSettings) -> list[str]:
    if model.routing is None:
        return []
    found = [
        f"Label `{label}` is not one of {sorted(model.labels)} - at `{path}.routing.weights`"
        for label in model.routing.weights
        if label not in model.labels
    ]
    if not sum(model.routing.weights.values()) > 0:
        found.append(f"Expected at least one weight above 0 - at `{path}.routing.weights`")
    sticky = model.routing.sticky
    if sticky is not None and (sticky.metadata is None) == (sticky.header is None):
        found.append(f"Expected exactly one of `metadata` and `header` - at `{path}.routing.sticky`")
    return found


def _with_model_name(raw: dict[str, object], error: msgspec.ValidationError) -> str:
    """msgspec prints `[...]` for a key of a mapping; say which model it was."""
    models = raw.get("models") if isinstance(raw, dict) else None
    if "`$.models[...]" in str(error) and isinstance(models, dict):
        for name, model in models.items():
            try:
                msgspec.convert(model, ModelSettings, str_keys=True)
            except msgspec.ValidationError as found:
                return (
                    str(found).replace("`$", f"`$.models.{name}")
                    if "`$" in str(found)
                    else f"{found} - at `$.models.{name}`"
                )
    return str(error)


def _has_port(address: str) -> bool:
    host, _, port = address.rpartition(":")
    return bool(host) and port.isdecimal() and 0 < int(port) < 65536
