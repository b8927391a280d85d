"""TensorFlow Serving's configuration files as typed values.

A value refuses at construction what the real server would refuse, abort on, or never finish loading. `to_text` refuses
in addition what no file of ours may say (`check`). The embedded server must accept whatever the real one accepts, so
it reads files with `parse_text` alone.
"""

from tfserving.config.batching import BatchingParameters
from tfserving.config.endpoints import MonitoringConfig, SSLConfig
from tfserving.config.models import All, Latest, ModelConfig, ModelServerConfig, Policy, Specific
from tfserving.config.text import ConfigError, InvalidTextProto, parse_text

__all__ = [
    "All",
    "BatchingParameters",
    "ConfigError",
    "InvalidTextProto",
    "Latest",
    "ModelConfig",
    "ModelServerConfig",
    "MonitoringConfig",
    "Policy",
    "SSLConfig",
    "Specific",
    "parse_text",
]
