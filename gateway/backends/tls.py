"""TLS of the connections to model servers, with files that are read again when they change."""

from __future__ import annotations

import logging
import ssl
from pathlib import Path

from gateway.settings import BackendTls, SettingsError

log = logging.getLogger("gateway.tls")


class ClientTls:
    """Whom to trust and what to show; relative paths are relative to `folder`.

    Errors of making one: SettingsError naming the files.
    """

    def __init__(self, settings: BackendTls, folder: Path) -> None:
        self.server_name = settings.server_name
        """The name that certificates must have; None for the address."""
        self._settings = settings
        self._folder = folder
        self._content = self._read()
        self._context = self._made()

    def context(self) -> ssl.SSLContext:
        """For a new connection: with the files as they are now, or as they were if they are not usable now."""
        try:
            content = self._read()
            if content != self._content:
                self._context = self._made()
                self._content = content
                log.info("new files for connections to model servers are in force")
        except SettingsError as error:
            log.error("%s; the previous files stay in force", error)
        return self._context

    def _read(self) -> tuple[bytes | None, ...]:
        settings, found = self._settings, []
        for key in ("ca_file", "cert_file", "key_file"):
            name = getattr(settings, key)
            try:
                found.append((self._folder / name).read_bytes() if name is not None else None)
            except OSError as error:
                raise SettingsError(f"backends.tls.{key}: {name}: {error.strerror}") from error
        return tuple(found)

    def _made(self) -> ssl.SSLContext:
        settings = self._settings
        authorities = self._folder / settings.ca_file if settings.ca_file is not None else None
        try:
            context = ssl.create_default_context(cafile=authorities)
        except OSError as error:  # ssl.SSLError is one
            raise SettingsError(f"backends.tls.ca_file: {settings.ca_file}: {error}") from error
        context.set_alpn_protocols(["h2"])
        if settings.cert_file is not None and settings.key_file is not None:
            try:
                context.load_cert_chain(
                    self._folder / settings.cert_file, self._folder / settings.key_file, _no_password
                )
            except (OSError, ValueError) as error:
                raise SettingsError(
                    f"backends.tls: {settings.cert_file} and {settings.key_file} are not a certificate and its key:"
                    f" {error}"
                ) from error
        return context


def client_tls(settings: BackendTls | None, folder: Path) -> ClientTls | None:
    """None where the config asks for none. Errors: SettingsError."""
    return ClientTls(settings, folder) if settings is not None else None


def _no_password() -> str:
    """An encrypted key must not make OpenSSL ask on a terminal."""
    raise ValueError("the key is encrypted, and its password is not known")
