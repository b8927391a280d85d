"""model_config_file: which versions of which models are served, and what their labels stand for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from tfserving.config.text import ConfigError, parse_text, to_text
from tfserving.wire import messages_pb2 as m

_LABEL = re.compile(r"[A-Za-z0-9_]+")
_NAME = re.compile(r"[^/:\s]+")
_URI = re.compile(r"[A-Za-z][A-Za-z0-9.]*://")


@dataclass(frozen=True, kw_only=True)
class Latest:
    """Serve the `num_versions` highest versions; the server reads 0 as 1."""

    num_versions: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.num_versions < 2**32:
            raise ConfigError(f"num_versions is {self.num_versions}; it counts versions")


@dataclass(frozen=True)
class All:
    """Serve every version of the base path."""


@dataclass(frozen=True, kw_only=True)
class Specific:
    """Serve exactly these versions."""

    versions: tuple[int, ...]


Policy = Latest | All | Specific


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One model: `base_path` holds a directory a version, `labels` maps a version label to a version.

    Errors at construction: ConfigError for a path that is not absolute and for a missing or unsupported platform.
    """

    name: str
    base_path: str
    platform: str = "tensorflow"
    policy: Policy = field(default_factory=Latest)
    labels: Mapping[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.base_path.startswith("/") and not _URI.match(self.base_path):
            raise ConfigError(
                f"Expected model {self.name} to have an absolute path or URI; got base_path()={self.base_path}"
            )
        if self.platform != "tensorflow":
            raise ConfigError(f"model {self.name}: platform is {self.platform!r}; the server loads only 'tensorflow'")

    def check(self) -> None:
        """Refuse what the server accepts and its users regret.

        Errors: ConfigError for a name or label that REST cannot address, an s3 path (gone since release 2.7), versions
        below 1, no version at all, labels beside Latest (a new directory unloads the labelled version), and a label on
        a version that is not served.
        """
        if not _NAME.fullmatch(self.name):
            raise ConfigError(
                f"model name {self.name!r}: REST addresses no empty name and none with '/', ':' or blanks"
            )
        if self.base_path.startswith("s3://"):
            raise ConfigError(
                f"model {self.name}: TensorFlow Serving reads no s3:// since release 2.7;"
                f" copy {self.base_path} to a volume"
            )
        if isinstance(self.policy, Specific):
            self._check_versions(self.policy.versions)
        for label, version in self.labels.items():
            self._check_label(label, version)

    def _check_versions(self, versions: tuple[int, ...]) -> None:
        if not versions:
            raise ConfigError(f"model {self.name}: no version to serve; name at least one, or leave the model out")
        if min(versions) < 1:
            raise ConfigError(f"model {self.name}: version {min(versions)}; versions count from 1")
        if len(set(versions)) < len(versions):
            raise ConfigError(f"model {self.name}: a version is listed twice in {list(versions)}")

    def _check_label(self, label: str, version: int) -> None:
        if not _LABEL.fullmatch(label):
            raise ConfigError(f"model {self.name}: label {label!r} may hold only letters, digits and '_'")
        if isinstance(self.policy, Latest):
            raise ConfigError(
                f"model {self.name}: label {label!r} beside a 'latest' policy; a new version would unload the"
                " labelled one. List the versions"
            )
        if isinstance(self.policy, Specific) and version not in self.policy.versions:
            raise ConfigError(
                f"model {self.name}: label {label!r} stands for version {version}, which is not served;"
                f" served are {sorted(self.policy.versions)}"
            )


@dataclass(frozen=True, kw_only=True)
class ModelServerConfig:
    """All models of a server. A reload replaces the whole list: a model that is absent is unloaded.

    Errors at construction: ConfigError for a name that is listed twice.
    """

    models: tuple[ModelConfig, ...] = ()

    def __post_init__(self) -> None:
        names = [model.name for model in self.models]
        for name in names:
            if names.count(name) > 1:
                raise ConfigError(f"Illegal to list model {name} multiple times in config list")

    def check(self) -> None:
        """`ModelConfig.check` of every model."""
        for model in self.models:
            model.check()

    def to_message(self) -> m.ModelServerConfig:
        """The message, as HandleReloadConfigRequest takes it. Errors: ConfigError as of `check`."""
        self.check()
        listed = m.ModelConfigList(config=[_message(model) for model in self.models])
        return m.ModelServerConfig(model_config_list=listed)

    def to_text(self) -> str:
        """The file. Errors: ConfigError as of `check`."""
        return to_text(self.to_message())

    @classmethod
    def parse(cls, text: str, path: str = "") -> ModelServerConfig:
        """Read a file. A model without policy is Latest; the deprecated model_type 1 means platform tensorflow.

        Errors: ConfigError for what is no text proto, for a custom_model_config or logging_config (the stock server
        aborts on one and fails on the other), and as of the constructors.
        """
        message = parse_text(m.ModelServerConfig, text, path)
        if message.HasField("custom_model_config"):
            raise ConfigError("custom_model_config aborts the server; use model_config_list")
        return cls(models=tuple(_model(config) for config in message.model_config_list.config))


def _message(model: ModelConfig) -> m.ModelConfig:
    message = m.ModelConfig(name=model.name, base_path=model.base_path, model_platform=model.platform)
    policy = message.model_version_policy
    match model.policy:
        case Latest(num_versions=count):
            policy.latest.num_versions = count
        case All():
            policy.all.SetInParent()
        case Specific(versions=versions):
            policy.specific.versions.extend(versions)
    message.version_labels.update(model.labels)
    return message


def _model(message: m.ModelConfig) -> ModelConfig:
    name = message.name
    if message.HasField("logging_config"):
        raise ConfigError(f"model {name}: logging_config; the stock server has no request logger and fails on it")
    if bool(message.model_platform) == bool(message.model_type):
        which = "both" if message.model_platform else "neither"
        joint = "and" if message.model_platform else "nor"
        raise ConfigError(
            f"Illegal setting {which} ModelServerConfig::model_type (deprecated) {joint}"
            f" ModelServerConfig::model_platform, model name is {name}"
        )
    if message.model_type not in (m.MODEL_TYPE_UNSPECIFIED, m.TENSORFLOW):
        raise ConfigError(f"ModelServerConfig::model_type choice {message.model_type} not supported.")
    return ModelConfig(
        name=name,
        base_path=message.base_path,
        platform=message.model_platform or "tensorflow",
        policy=_policy(message.model_version_policy),
        labels=dict(sorted(message.version_labels.items())),
    )


def _policy(message: m.ServableVersionPolicy) -> Policy:
    match message.WhichOneof("policy_choice"):
        case "all":
            return All()
        case "specific":
            return Specific(versions=tuple(message.specific.versions))
        case _:
            return Latest(num_versions=message.latest.num_versions or 1)
