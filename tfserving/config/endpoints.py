"""monitoring_config_file and ssl_config_file: the metrics path, and TLS of the gRPC port."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from tfserving.config.text import ConfigError, parse_text, to_text
from tfserving.wire import messages_pb2 as m

METRICS_PATH = "/monitoring/prometheus/metrics"
"""Where metrics are served when the file names no path."""


@dataclass(frozen=True, kw_only=True)
class MonitoringConfig:
    """Prometheus metrics on the REST port, at `path`."""

    enable: bool = True
    path: str = METRICS_PATH

    def check(self) -> None:
        """Refuse a path that no scrape reaches, or that hides the REST API.

        Errors: ConfigError.
        """
        if not re.fullmatch(r"/[!-~]*", self.path) or "?" in self.path or "#" in self.path:
            raise ConfigError(f"metrics path {self.path!r}: expected one such as {METRICS_PATH}, without a query")
        if self.path.lower().startswith("/v1/"):
            raise ConfigError(f"metrics path {self.path}: /v1/ belongs to the REST API")

    def to_text(self) -> str:
        """The file. Errors: ConfigError as of `check`."""
        self.check()
        return to_text(m.MonitoringConfig(prometheus_config=m.PrometheusConfig(enable=self.enable, path=self.path)))

    @classmethod
    def parse(cls, text: str, path: str = "") -> MonitoringConfig:
        """Read a file. Errors: ConfigError for what is no text proto."""
        message = parse_text(m.MonitoringConfig, text, path).prometheus_config
        return cls(enable=message.enable, path=message.path or METRICS_PATH)


@dataclass(frozen=True, kw_only=True)
class SSLConfig:
    """TLS of the gRPC port. All three are PEM contents, not paths; REST and metrics stay plain HTTP.

    The server reads them once: a renewed certificate needs a restart. Errors at construction: ConfigError for a key or
    certificate that is no PEM text, and for `client_verify` without a CA to verify against.
    """

    server_key: str = field(repr=False)
    server_cert: str
    custom_ca: str = ""
    client_verify: bool = False

    def __post_init__(self) -> None:
        for name in ("server_key", "server_cert", "custom_ca"):
            value = getattr(self, name)
            if (value or name != "custom_ca") and "-----BEGIN " not in value:
                raise ConfigError(f"{name} is no PEM text; it holds the contents of the file, not its path")
        if self.client_verify and not self.custom_ca:
            raise ConfigError("client_verify needs custom_ca, the CA that client certificates are verified against")

    def to_text(self) -> str:
        """The file."""
        return to_text(
            m.SSLConfig(
                server_key=self.server_key,
                server_cert=self.server_cert,
                custom_ca=self.custom_ca,
                client_verify=self.client_verify,
            )
        )

    @classmethod
    def parse(cls, text: str, path: str = "") -> SSLConfig:
        """Read a file. Errors: ConfigError for what is no text proto, and as of the constructor."""
        message = parse_text(m.SSLConfig, text, path)
        return cls(
            server_key=message.server_key,
            server_cert=message.server_cert,
            custom_ca=message.custom_ca,
            client_verify=message.client_verify,
        )
