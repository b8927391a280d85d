"""Batching of a local release: read from, and written to, its flags and its gateway configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import yaml

from deployer.errors import SpecError
from deployer.targets.base import ReplicaBatching
from deployer.targets.local.state import Layout
from gateway.settings import ModelSettings, SettingsError, parse_settings
from gateway.spec.reading.text import Dumper, load
from tfserving import flags

ENABLE_BATCHING = "enable_batching"
BATCHING_PARAMETERS_FILE = "batching_parameters_file"
GRPC_THREADS = "grpc_max_threads"


def current_batching(layout: Layout, given: Sequence[str], gateway_text: str) -> ReplicaBatching:
    """The batching that flags and gateway configuration set. Errors: SpecError for an unreadable configuration."""
    values = dict(argument.removeprefix("--").split("=", 1) for argument in given)
    enabled = values.get(ENABLE_BATCHING) == "true"
    return ReplicaBatching(
        parameters=layout.batching_parameters.read_text() if enabled and BATCHING_PARAMETERS_FILE in values else None,
        grpc_threads=int(values[GRPC_THREADS]) if GRPC_THREADS in values else None,
        rows_per_call=min(model.max_rows_per_call for model in _models(gateway_text).values()),
    )


def flags_with(layout: Layout, given: Sequence[str], wanted: ReplicaBatching) -> tuple[str, ...]:
    """`given` with its batching flags replaced by those of `wanted`; sorted, like all flags of a release."""
    values: dict[str, flags.Value] = {}
    if wanted.parameters is not None:
        values |= {ENABLE_BATCHING: True, BATCHING_PARAMETERS_FILE: str(layout.batching_parameters)}
    if wanted.grpc_threads is not None:
        values[GRPC_THREADS] = wanted.grpc_threads
    own = tuple(f"--{name}=" for name in (ENABLE_BATCHING, BATCHING_PARAMETERS_FILE, GRPC_THREADS))
    return tuple(sorted([*(argument for argument in given if not argument.startswith(own)), *flags.render(values)]))


def gateway_with(text: str, rows_per_call: int) -> str:
    """A gateway configuration whose calls fit into a batch: a model server rejects calls with more rows."""
    _models(text)
    document = load(text)
    for model in document["models"].values():
        model["max_rows_per_call"] = rows_per_call
    return str(yaml.dump(document, Dumper=Dumper, sort_keys=False))


def _models(text: str) -> Mapping[str, ModelSettings]:
    try:
        return parse_settings(text).models
    except SettingsError as error:
        raise SpecError(
            "the current gateway configuration cannot be read", hint="`deployer render` writes a valid one"
        ) from error
