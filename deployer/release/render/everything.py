"""All configuration files of a release, from its description and its state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from deployer.domain.release import Release
from deployer.domain.serving import ServingConfig
from deployer.release.render import server_files
from deployer.release.render.gateway_file import Specs, gateway_text
from deployer.release.render.server_flags import (
    BATCHING_FILE,
    MODELS_FILE,
    MONITORING_FILE,
    server_arguments,
    server_flags,
)
from deployer.release.render.values import values_gateway, values_tf_serving
from tfserving.config import MonitoringConfig
from tfserving.flags import Value

GATEWAY_FILE = "gateway.yaml"
FLAGS_FILE = "server.flags"
TF_SERVING_VALUES = "tf-serving-values.yaml"
GATEWAY_VALUES = "gateway-values.yaml"


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """The texts of all files by name, and the flags of the model server.

    `server_flags` are values by name without ports; `flags` is the command line with the ports of a container. The
    files reference each other by bare names, so they must be in one directory.
    """

    files: Mapping[str, str]
    server_flags: Mapping[str, Value]
    flags: tuple[str, ...]


def render_release(release: Release, state: ServingConfig, specs: Specs) -> Rendered:
    """All files of a release; deterministic.

    `specs` is the text of features.yaml by model and version.
    Errors: SpecError for a configuration that a model server or the gateway would reject.
    """
    config = server_files.model_server_config(release, state)
    batching = server_files.batching_parameters(release)
    arguments = server_arguments(release)
    files = {
        MODELS_FILE: server_files.model_config_text(release.name, config),
        MONITORING_FILE: server_files.monitoring_text(
            release.name, MonitoringConfig(path=release.serving.metrics_path)
        ),
        GATEWAY_FILE: gateway_text(release, state, specs),
        FLAGS_FILE: "".join(f"{argument}\n" for argument in arguments),
        TF_SERVING_VALUES: values_tf_serving(release, state),
        GATEWAY_VALUES: values_gateway(release, state, specs),
    }
    if batching is not None:
        files[BATCHING_FILE] = server_files.batching_text(release.name, batching)
    return Rendered(files=dict(sorted(files.items())), server_flags=server_flags(release), flags=arguments)
