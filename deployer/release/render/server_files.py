"""The configuration files of a model server. Each is parsed back and compared with the intended values."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from deployer.domain.release import Release, ServingTls
from deployer.domain.serving import ServingConfig
from deployer.errors import DeployerError, SpecError
from deployer.release import spec
from deployer.release.render.text import fill
from deployer.release.threads import thread_counts
from tfserving.config import (
    BatchingParameters,
    ConfigError,
    ModelConfig,
    ModelServerConfig,
    MonitoringConfig,
    Specific,
    SSLConfig,
)

T = TypeVar("T")


def model_server_config(release: Release, state: ServingConfig) -> ModelServerConfig:
    """Every model with exactly its versions and labels, in the order of deployer.yaml.

    Errors: SpecError when `state` and the release do not have the same models, or a model cannot be served.
    """
    wanted, known = set(state.models), {model.name for model in release.models}
    for name in sorted(wanted ^ known):
        missing = "it is not in deployer.yaml" if name in wanted else "no version is chosen"
        raise SpecError(
            f"model {name}: {missing}", hint="the chosen versions and deployer.yaml must have the same models"
        )
    try:
        config = ModelServerConfig(
            models=tuple(
                ModelConfig(
                    name=model.name,
                    base_path=release.store.base_path(model.name),
                    policy=Specific(versions=state.models[model.name].versions),
                    labels=state.models[model.name].labels,
                )
                for model in release.models
            )
        )
        config.check()
    except ConfigError as error:
        raise SpecError(f"the models of {release.name} cannot be served: {error}", hint=spec.REFERENCE) from error
    return config


def batching_parameters(release: Release) -> BatchingParameters | None:
    """The section `batching` of deployer.yaml, with the number of threads filled in; None without batching."""
    if release.batching is None:
        return None
    return spec.batching_parameters(release.batching, num_batch_threads=thread_counts(release).batch)


def model_config_text(release: str, config: ModelServerConfig) -> str:
    """The text of model_config_file."""
    text = fill("models.config.j2", release=release, models=config.models)
    return _verified("model_config", text, config, ModelServerConfig.parse(text))


def batching_text(release: str, batching: BatchingParameters) -> str:
    """The text of batching_parameters_file."""
    wrapped: list[tuple[str, object]] = []
    for name in ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads"):
        wrapped.append((name, getattr(batching, name)))
    if batching.enable_large_batch_splitting:
        wrapped += [
            ("enable_large_batch_splitting", "true"),
            ("max_execution_batch_size", batching.max_execution_batch_size),
        ]
    text = fill(
        "batching_parameters.txt.j2",
        release=release,
        wrapped=[(name, value) for name, value in wrapped if value is not None],
        sizes=batching.allowed_batch_sizes,
        pad=batching.pad_variable_length_inputs,
    )
    return _verified("batching_parameters", text, batching, BatchingParameters.parse(text))


def monitoring_text(release: str, monitoring: MonitoringConfig) -> str:
    """The text of monitoring_config_file. Errors: SpecError for an invalid path."""
    try:
        monitoring.check()
    except ConfigError as error:
        raise SpecError(f"serving.metrics_path: {error}", hint=spec.REFERENCE) from error
    text = fill("monitoring.config.j2", release=release, monitoring=monitoring)
    return _verified("monitoring_config", text, monitoring, MonitoringConfig.parse(text))


def ssl_text(tls: ServingTls) -> str:
    """The text of ssl_config_file, with the private key. Errors: SpecError for files that cannot be read or used."""
    texts = {
        key: _pem(key, getattr(tls, name))
        for key, name in (("server_key", "key_file"), ("server_cert", "cert_file"), ("custom_ca", "client_ca_file"))
    }
    try:
        return SSLConfig(**texts, client_verify=tls.mutual).to_text()
    except ConfigError as error:
        raise SpecError(f"serving.tls: {error}", hint=spec.REFERENCE) from error


def _pem(key: str, path: str | None) -> str:
    try:
        return Path(path).read_text("utf-8") if path is not None else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(f"serving.tls: {path} cannot be read", cause=str(error), hint=f"it is the {key}") from error


def _verified(what: str, text: str, intended: T, parsed: T) -> str:
    if parsed != intended:
        raise DeployerError(
            f"the rendered {what} differs from the intended one",
            cause=f"intended {intended}; the text has {parsed}",
            hint="this is a bug in a template of deployer; please report it",
        )
    return text
