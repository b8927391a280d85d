"""deployer.yaml -> `Release`. Every key is described in docs/reference/deployer-yaml.md."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
import yaml

from deployer.domain.gate import parse_gate
from deployer.domain.gateway import Auth, Gateway, Tls
from deployer.domain.location import PvcStore, parse_store
from deployer.domain.notify import Notify
from deployer.domain.pods import Pods
from deployer.domain.release import Batching, Experiment, Model, Release, Serving, ServingTls, Storage
from deployer.domain.workload import ServingAutoscaling
from deployer.errors import SpecError
from deployer.records.text import text_of
from gateway.spec.reading.places import place_of, yaml_problem
from gateway.spec.reading.strict import StrictError, convert
from gateway.spec.reading.text import Loader
from tfserving.config import BatchingParameters, ConfigError
from tfserving.flags import FlagError, render

T = TypeVar("T")
AnyTls = TypeVar("AnyTls", Tls, ServingTls)

REFERENCE = "docs/reference/deployer-yaml.md describes every key"

OWN_FLAGS = frozenset(
    [
        "port",
        "rest_api_port",
        "model_config_file",
        "model_config_file_poll_wait_seconds",
        "model_name",
        "model_base_path",
        "version",
        "file_system_poll_wait_seconds",
        "allow_version_labels_for_unavailable_models",
        "num_load_threads",
        "num_unload_threads",
        "max_num_load_retries",
        "load_retry_interval_micros",
        "enable_grpc_healthcheck_service",
        "enable_profiler",
        "enable_batching",
        "batching_parameters_file",
        "monitoring_config_file",
        "prefer_tflite_model",
        "num_tflite_pools",
        "platform_config_file",
        "tensorflow_session_parallelism",
        "tensorflow_intra_op_parallelism",
        "tensorflow_inter_op_parallelism",
        "grpc_max_threads",
        "rest_api_num_threads",
        "rest_api_timeout_in_ms",
    ]
)
"""Flags that other keys of deployer.yaml set, or that are always set."""


class _Document(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The file as written, before defaults and paths are resolved."""

    release: str
    store: str
    models: Annotated[tuple[Model, ...], msgspec.Meta(min_length=1)]
    version: Literal["v1"] = "v1"
    namespace: str = ""
    context: str = ""
    serving: Serving = msgspec.field(default_factory=Serving)
    batching: Batching | None = None
    storage: Storage = msgspec.field(default_factory=Storage)
    autoscaling: ServingAutoscaling | None = None
    gateway: Gateway = msgspec.field(default_factory=Gateway)
    gates: tuple[str, ...] = ()
    experiment: Experiment = msgspec.field(default_factory=Experiment)
    notify: Notify | None = None
    pods: Pods = msgspec.field(default_factory=Pods)
    models_source: Literal["release", "live"] = "release"


def load(path: Path) -> Release:
    """The release that a file describes; relative paths are relative to its directory.

    Errors: SpecError when it cannot be read, and as for `parse`.
    """
    try:
        text = text_of(path)
    except FileNotFoundError:
        raise SpecError(f"{path} does not exist", hint="`deployer init` creates one; -f selects another file") from None
    except OSError as error:
        raise SpecError(f"{path} cannot be read", hint="it must be a YAML file in UTF-8") from error
    return parse(text, path.parent, name=str(path))


def parse(text: str, directory: Path, *, name: str = "deployer.yaml") -> Release:
    """The release that `text` describes; relative paths are relative to `directory`.

    Errors: SpecError that names the path of the first wrong key or value.
    """
    try:
        document = convert(_normalised(_load(text)), _Document)
        return _release(document, directory.absolute())
    except yaml.YAMLError as error:
        raise SpecError(f"{name} is not valid YAML", cause=yaml_problem(error), hint=REFERENCE) from error
    except StrictError as error:
        # Without a chain, whose text would repeat the message.
        raise SpecError(f"{name}: {error}", cause=place_of(text, error.path, error.what), hint=REFERENCE) from None


class _Loader(Loader):
    """YAML as the gateway reads it; a duplicate key is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"duplicate key {key.value!r}", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def _load(text: str) -> object:
    return yaml.load(text, Loader=_Loader)


def _normalised(data: object) -> object:
    """Expand short forms: a model given by its name only, a quantity given as a number."""
    if not isinstance(data, dict):
        raise StrictError("", "expected a mapping with at least release, store and models")
    models = data.get("models")
    if isinstance(models, list):
        data = {**data, "models": [{"name": model} if isinstance(model, str) else model for model in models]}
    for place in ("serving", "gateway"):
        section = data.get(place)
        resources = section.get("resources") if isinstance(section, dict) else None
        if isinstance(section, dict) and isinstance(resources, dict):
            expanded = {
                key: str(value) if isinstance(value, int | float) else value for key, value in resources.items()
            }
            expanded |= {"cpu_limit": resources["cpu_limit"]} if "cpu_limit" in resources else {}
            data = {**data, place: {**section, "resources": expanded}}
    return data


def _release(document: _Document, directory: Path) -> Release:
    _check_batching(document.batching)
    _check_flags(document.serving)
    gateway, experiment = document.gateway, document.experiment
    store = _at("store", parse_store, document.store, str(directory))
    if gateway.rates is not None and gateway.rates.file:
        gateway = replace(gateway, rates=replace(gateway.rates, file=str(directory / gateway.rates.file)))
    if gateway.stores:
        placed = {
            name: replace(store, sqlite=str(directory / store.sqlite)) if store.sqlite else store
            for name, store in gateway.stores.items()
        }
        gateway = replace(gateway, stores=placed)
    if gateway.auth is not None:
        gateway = replace(gateway, auth=_with_paths(gateway.auth, directory))
    if gateway.sampling is not None:
        sampled = replace(gateway.sampling, folder=str(directory / gateway.sampling.folder))
        gateway = replace(gateway, sampling=sampled)
    if gateway.tls is not None:
        gateway = replace(gateway, tls=_tls_with_paths(gateway.tls, directory))
    if experiment.records:
        experiment = replace(experiment, records=str(directory / experiment.records))
    return _at(
        "",
        Release,
        name=document.release,
        store=store,
        models=tuple(
            replace(model, features={v: str(directory / path) for v, path in model.features.items()})
            for model in document.models
        ),
        namespace=document.namespace or (store.namespace if isinstance(store, PvcStore) else "default"),
        context=document.context,
        serving=_serving_with_paths(document.serving, directory),
        batching=document.batching,
        storage=document.storage,
        autoscaling=document.autoscaling,
        gateway=gateway,
        gates=tuple(_at(f"gates[{index}]", parse_gate, text) for index, text in enumerate(document.gates)),
        experiment=experiment,
        notify=document.notify,
        pods=document.pods,
        models_source=document.models_source,
    )


def _with_paths(auth: Auth, directory: Path) -> Auth:
    """The files of the section relative to the file that names them."""
    if auth.keys_file is not None:
        auth = replace(auth, keys_file=str(directory / auth.keys_file))
    if auth.jwt is not None and auth.jwt.jwks_file is not None:
        auth = replace(auth, jwt=replace(auth.jwt, jwks_file=str(directory / auth.jwt.jwks_file)))
    return auth


def _serving_with_paths(serving: Serving, directory: Path) -> Serving:
    return replace(serving, tls=_tls_with_paths(serving.tls, directory)) if serving.tls is not None else serving


def _tls_with_paths(tls: AnyTls, directory: Path) -> AnyTls:
    """The same for the certificates, keys and authorities."""
    named: dict[str, Any] = {
        key: str(directory / value) for key, value in asdict(tls).items() if key.endswith("_file") and value is not None
    }
    return replace(tls, **named)


def _at(path: str, make: Callable[..., T], *arguments: object, **fields: object) -> T:
    """Call `make`; its ValueError is reported at `path`."""
    try:
        return make(*arguments, **fields)
    except ValueError as error:
        raise StrictError(path, str(error)) from error


def batching_parameters(batching: Batching, *, num_batch_threads: int | None = None) -> BatchingParameters:
    """The section as TensorFlow Serving's BatchingParameters; `num_batch_threads` is the default for that field.

    Errors: ConfigError for fields that contradict each other.
    """
    fields = asdict(batching)
    fields["num_batch_threads"] = batching.num_batch_threads or num_batch_threads
    parameters = BatchingParameters(**fields)
    parameters.check()
    return parameters


def _check_batching(batching: Batching | None) -> None:
    if batching is not None:
        try:
            batching_parameters(batching)
        except ConfigError as error:
            raise StrictError("batching", str(error)) from error


def _check_flags(serving: Serving) -> None:
    """Validate additional flags; flags that other keys set, and a flag that breaks REST, are rejected."""
    flags: Mapping[str, bool | int | float | str] = serving.flags
    for name in flags:
        if name in OWN_FLAGS:
            raise StrictError("serving.flags", f"--{name} is always set, or set by other keys of this file")
    if flags.get("ssl_config_file"):
        raise StrictError(
            "serving.flags",
            "--ssl_config_file: gateways would not speak TLS to the model servers and never connect; serving.tls sets"
            " both",
        )
    if flags.get("enable_serialization_as_tensor_content"):
        raise StrictError(
            "serving.flags",
            "--enable_serialization_as_tensor_content makes REST responses contain uninitialized memory",
        )
    try:
        render(flags, release=serving.image.tag)
    except FlagError as error:
        raise StrictError("serving.flags", str(error)) from error
