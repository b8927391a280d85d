"""The configured models: what is served, under which labels, and how the configuration changes at run time.

The steps of a reload, their order, and the fact that a late failure leaves the earlier ones done, are the real
server's.
"""

from __future__ import annotations

import logging
import os
import re
import threading
from collections.abc import Mapping

from tfserving.server.versions.manager import Handle, Manager
from tfserving.server.versions.source import FileSystemSource, Watched
from tfserving.server.versions.states import StateMonitor, not_available, status_message
from tfserving.wire import messages_pb2 as m
from tfserving.wire.status import Code, StatusError, invalid

_log = logging.getLogger("tfserving.server")

_ABSOLUTE = re.compile(r"/|[A-Za-z][0-9A-Za-z.]*://")

Labels = Mapping[str, Mapping[str, int]]
"""Model name to label to version."""


class ModelCore:
    """Models by name, version and label. Thread-safe; reloads queue behind one another."""

    def __init__(
        self,
        manager: Manager,
        source: FileSystemSource,
        monitor: StateMonitor,
        *,
        allow_labels_for_unavailable: bool,
    ) -> None:
        self._manager, self._source, self._monitor = manager, source, monitor
        self._allow_labels_for_unavailable = allow_labels_for_unavailable
        self._reload = threading.Lock()
        self._config = m.ModelServerConfig()
        self._labels: Labels | None = None
        self._stopping = threading.Event()

    # ---- requests

    def handle(self, spec: m.ModelSpec) -> Handle:
        """Hold the version that a ModelSpec asks for.

        Errors: StatusError INVALID_ARGUMENT without a name or for an unknown label, NOT_FOUND when it is not loaded.
        """
        if not spec.name:
            raise invalid("ModelSpec has no name specified.")
        return self._manager.handle(spec.name, self._version(spec))

    def _version(self, spec: m.ModelSpec) -> int | None:
        choice = spec.WhichOneof("version_choice")
        if choice == "version":
            return spec.version.value
        if choice == "version_label":
            if self._labels is None:
                raise StatusError(Code.UNAVAILABLE, f"Model labels does not init yet.{spec.version_label}")
            version = self._labels.get(spec.name, {}).get(spec.version_label)
            if version is None:
                raise invalid(f"Unrecognized servable version label: {spec.version_label}")
            return version
        return None

    def status(self, name: str, version: int | None) -> list[m.ModelVersionStatus]:
        """States of one version, or of all, highest first. Errors: StatusError NOT_FOUND for one never seen."""
        versions = self._monitor.versions(name)
        if version is None:
            if not versions:
                raise StatusError(Code.NOT_FOUND, f"Could not find any versions of model {name}")
            return [status_message(number, state) for number, state in versions.items()]
        if version not in versions:
            raise StatusError(Code.NOT_FOUND, f"Could not find version {version} of model {name}")
        return [status_message(version, versions[version])]

    # ---- configuration

    def reload(self, config: m.ModelServerConfig) -> None:
        """Replace the whole configuration and wait until every new model has a version that serves or failed.

        Errors: StatusError; see the contract for which of them leave the new configuration in force.
        """
        with self._reload:
            kind, current = config.WhichOneof("config"), self._config.WhichOneof("config")
            if current is not None and kind != current:
                raise StatusError(
                    Code.FAILED_PRECONDITION,
                    "Cannot transition to requested config. It is only legal to transition from one ModelConfigList "
                    "to another.",
                )
            if kind is None:
                _log.info("Taking no action for empty config.")
                return
            if kind == "custom_model_config":
                raise invalid("ModelServer does not yet support custom model config.")
            _check_names_and_paths(config.model_config_list)
            if current is not None:
                _check_platforms_unchanged(self._config.model_config_list, config.model_config_list)
            self._config = m.ModelServerConfig()
            self._config.CopyFrom(config)
            self._labels = self._new_labels(config.model_config_list)
            self._serve(config.model_config_list, first=current is None)
            if any(model.HasField("logging_config") for model in config.model_config_list.config):
                raise invalid("No request-logger-creator provided.")

    def stop(self) -> None:
        """Scan and decide no more; waiting reloads return."""
        self._stopping.set()
        self._source.stop()
        self._manager.stop()

    def _new_labels(self, models: m.ModelConfigList) -> Labels:
        labels: dict[str, dict[str, int]] = {}
        for model in models.config:
            known = (self._labels or {}).get(model.name, {})
            for label, version in model.version_labels.items():
                allowed = self._allow_labels_for_unavailable and known.get(label, version) == version
                if not allowed and not self._monitor.available(model.name, version):
                    raise StatusError(
                        Code.FAILED_PRECONDITION,
                        f"Request to assign label to version {version} of model {model.name}, which is not currently "
                        "available for inference",
                    )
                labels.setdefault(model.name, {})[label] = version
        return labels

    def _serve(self, models: m.ModelConfigList, *, first: bool) -> None:
        for model in models.config:
            platform = _platform(model)
            if platform != "tensorflow":
                raise invalid(f"Model {model.name} requests unsupported platform {platform}")
        watched = [Watched(model.name, model.base_path, model.model_version_policy) for model in models.config]
        new = {model.name for model in models.config} - self._source.names()
        for name in new:
            _log.info("(Re-)adding model: %s", name)
        before = {name: self._monitor.versions(name) for name in new}
        if not first:
            self._source.watch(watched)
            failed = self._monitor.wait_for_models(new, before, self._stopping)
        else:
            with self._manager.many_load_threads(4 * (os.cpu_count() or 1)):
                self._source.watch(watched)
                failed = self._monitor.wait_for_models(new, before, self._stopping)
        if failed:
            raise not_available(failed, "servable" if first else "model")


def _check_names_and_paths(models: m.ModelConfigList) -> None:
    seen = set()
    for model in models.config:
        if model.name in seen:
            raise invalid(f"Illegal to list model {model.name} multiple times in config list")
        seen.add(model.name)
    for model in models.config:
        if not _ABSOLUTE.match(model.base_path):
            raise invalid(
                f"Expected model {model.name} to have an absolute path or URI; got base_path()={model.base_path}"
            )


def _platform(model: m.ModelConfig) -> str:
    if model.model_type != m.MODEL_TYPE_UNSPECIFIED:
        if model.model_platform:
            raise invalid(
                "Illegal setting both ModelServerConfig::model_type (deprecated) and "
                f"ModelServerConfig::model_platform, model name is {model.name}"
            )
        if model.model_type != m.TENSORFLOW:
            raise invalid(f"ModelServerConfig::model_type choice {int(model.model_type)} not supported.")
        return "tensorflow"
    if not model.model_platform:
        raise invalid(
            "Illegal setting neither ModelServerConfig::model_type (deprecated) nor ModelServerConfig::model_platform, "
            f"model name is {model.name}"
        )
    return model.model_platform


def _check_platforms_unchanged(old: m.ModelConfigList, new: m.ModelConfigList) -> None:
    """An old entry without a valid platform fails here for ever: the real server needs a restart then, too."""
    before = {model.name: _platform(model) for model in old.config}
    for model in new.config:
        if model.name in before and (platform := _platform(model)) != before[model.name]:
            raise invalid(
                f"Illegal to change a model's platform. For model {model.name} platform was {before[model.name]} and "
                f"new platform requested is {platform}"
            )
