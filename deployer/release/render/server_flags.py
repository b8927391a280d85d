"""The flags of every model server of a release. docs/reference/flags.md explains them."""

from __future__ import annotations

from collections.abc import Mapping

from deployer.domain.release import Release
from deployer.errors import SpecError
from deployer.release.threads import thread_counts
from tfserving import flags

MODELS_FILE = "models.config"
BATCHING_FILE = "batching_parameters.txt"
MONITORING_FILE = "monitoring.config"
SSL_FILE = "ssl.config"
"""It holds a private key, so `render` does not write it."""

PORTS: Mapping[str, flags.Value] = {"port": 8500, "rest_api_port": 8501}
"""The ports in a container; local replicas get their own ports."""


def server_flags(release: Release) -> dict[str, flags.Value]:
    """Values by flag, without ports; files by bare name, because they are in one directory."""
    serving, threads = release.serving, thread_counts(release)
    values: dict[str, flags.Value] = {
        "model_config_file": MODELS_FILE,
        "model_config_file_poll_wait_seconds": serving.model_config_poll_seconds,
        "file_system_poll_wait_seconds": 1,
        "allow_version_labels_for_unavailable_models": True,
        "num_load_threads": threads.load,
        "num_unload_threads": threads.unload,
        "max_num_load_retries": serving.max_load_retries,
        "load_retry_interval_micros": serving.load_retry_seconds * 1_000_000,
        "enable_grpc_healthcheck_service": True,
        "enable_profiler": False,
        "tensorflow_intra_op_parallelism": threads.intra_op,
        "tensorflow_inter_op_parallelism": threads.inter_op,
        "grpc_max_threads": threads.grpc,
        "rest_api_num_threads": threads.rest,
        "rest_api_timeout_in_ms": serving.rest_timeout_seconds * 1000,
        "monitoring_config_file": MONITORING_FILE,
        **tflite_flags(release),
    }
    if serving.tls is not None:
        values["ssl_config_file"] = SSL_FILE
    if release.batching is not None:
        values |= {"enable_batching": True, "batching_parameters_file": BATCHING_FILE}
    if serving.pool == "gpu" and serving.gpu_memory_share is not None:
        values["per_process_gpu_memory_fraction"] = serving.gpu_memory_share
    return values | dict(serving.flags)


def tflite_flags(release: Release) -> dict[str, flags.Value]:
    """A release may get a TFLite version at any time, and flags of a running server do not change; one interpreter a
    CPU, because the server would count the CPUs of the node."""
    return {"prefer_tflite_model": True, "num_tflite_pools": thread_counts(release).intra_op}


def server_arguments(release: Release) -> tuple[str, ...]:
    """The command line, with the ports of a container.

    Errors: SpecError when the release of the image does not have one of the flags.
    """
    try:
        return tuple(flags.render({**PORTS, **server_flags(release)}, release=release.serving.image.tag))
    except flags.FlagError as error:
        raise SpecError(str(error), hint="choose a newer release with serving.image.tag") from error
