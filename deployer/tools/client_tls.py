"""TLS of the deployer's own requests to gateways."""

from __future__ import annotations

import ssl
from pathlib import Path

import msgspec

from deployer.domain.gateway import Tls
from deployer.errors import SpecError

CERTIFICATE_HINT = (
    "gateway.tls.ca_file must hold the authority that signed it, and gateway.tls.server_name a name that it is for"
    " (by default the address of the gateway)"
)


class ClientTls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which servers to trust, and the certificate to show them.

    `ca` is the PEM text of the authorities, empty for those of the system. `server_name` is the name that the server's
    certificate must have, empty for the host of the URL. `cert_file` and `key_file` are files on this machine, empty
    for none.
    """

    ca: str = ""
    server_name: str = ""
    cert_file: str = ""
    key_file: str = ""

    def context(self) -> ssl.SSLContext:
        """What a connection needs. Errors: SpecError for authorities, a certificate or a key that cannot be used."""
        try:
            context = ssl.create_default_context(cadata=self.ca or None)
        except ssl.SSLError as error:
            raise SpecError("gateway.tls.ca_file holds no certificates in PEM", cause=str(error)) from error
        if self.cert_file:
            try:
                context.load_cert_chain(self.cert_file, self.key_file, _no_password)
            except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
                raise SpecError(
                    "gateway.tls.client_cert_file and client_key_file are not a certificate and its key",
                    cause=str(error),
                ) from error
        return context


def client_tls(tls: Tls) -> ClientTls:
    """What deployer.yaml says of the deployer's own requests. Errors: SpecError when `ca_file` cannot be read."""
    try:
        ca = Path(tls.ca_file).read_text("utf-8") if tls.ca_file is not None else ""
    except (OSError, UnicodeDecodeError) as error:
        raise SpecError(
            f"gateway.tls.ca_file {tls.ca_file} cannot be read",
            hint="it holds the certificates (PEM) of the authorities that sign those of the gateways",
        ) from error
    return ClientTls(
        ca=ca,
        server_name=tls.server_name or "",
        cert_file=tls.client_cert_file or "",
        key_file=tls.client_key_file or "",
    )


def _no_password() -> str:
    """An encrypted key must not make OpenSSL ask on a terminal."""
    raise ValueError("the key is encrypted, and its password is not known")
