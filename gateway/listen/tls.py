"""TLS of the public ports, with certificates that are read again when their files change.

New connections get the new certificate; those that are open go on. What is bad leaves the old one in force.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

import grpc

from gateway.settings import SettingsError, Tls

log = logging.getLogger("gateway.tls")

Files = tuple[bytes, bytes, bytes | None]
"""Certificate chain, private key, and the authorities of clients."""


class ServerTls:
    """The certificate in force. `context` is for HTTP, `grpc_credentials` for gRPC.

    Errors of making one: SettingsError naming the file.
    """

    def __init__(self, settings: Tls, folder: Path) -> None:
        self._settings = settings
        self._folder = folder
        self._files = self._read()
        self.context = self._loaded(_context())
        self.problem: str | None = None
        """Why the files on disk are not in force."""

    def refresh(self) -> None:
        """Take files that have changed."""
        try:
            files = self._read()
            if files != self._files:
                self._loaded(_context())  # first where it harms nobody
                self._loaded(self.context)
                self._files = files
                log.info("a new certificate is in force")
            self.problem = None
        except SettingsError as error:
            if self.problem != str(error):
                log.error("%s; the previous certificate stays in force", error)
            self.problem = str(error)

    def grpc_credentials(self) -> object:
        """What grpcio's server needs; it asks for the certificate again at each connection."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._files), lambda: _configuration(self._files), self._files[2] is not None
        )

    def _loaded(self, context: ssl.SSLContext) -> ssl.SSLContext:
        settings = self._settings
        try:
            context.load_cert_chain(self._folder / settings.cert_file, self._folder / settings.key_file, _no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            raise SettingsError(
                f"tls: {settings.cert_file} and {settings.key_file} are not a certificate and its key: {error}"
            ) from error
        if settings.client_ca_file is not None:
            try:
                context.load_verify_locations(self._folder / settings.client_ca_file)
            except OSError as error:
                raise SettingsError(f"tls.client_ca_file: {settings.client_ca_file}: {error}") from error
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _read(self) -> Files:
        settings, found = self._settings, []
        for key in ("cert_file", "key_file", "client_ca_file"):
            name = getattr(settings, key)
            try:
                found.append((self._folder / name).read_bytes() if name is not None else None)
            except OSError as error:
                raise SettingsError(f"tls.{key}: {name}: {error.strerror}") from error
        cert, private, authorities = found
        assert cert is not None  # both are required
        assert private is not None
        return cert, private, authorities


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _no_password() -> str:
    """An encrypted key must not make OpenSSL ask on a terminal."""
    raise ValueError("the key is encrypted, and its password is not known")


def _configuration(files: Files) -> object:
    cert, private, authorities = files
    return grpc.ssl_server_certificate_configuration([(private, cert)], root_certificates=authorities)
