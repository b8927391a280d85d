"""Requests of the deployer to a certificate for a name that is not the address."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from certificates import Authority

from deployer.domain.gateway import Tls
from deployer.errors import SpecError, TargetError
from deployer.records import http1
from deployer.targets.local import routes
from deployer.tools.client_tls import ClientTls, client_tls

HOST = "models.example.com"


class Ok(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    cert, key, _ = Authority(tmp_path, "authority").issue("server", host=HOST)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Ok)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


async def asked(port: int, tls: ClientTls) -> int:
    pool = http1.Pool(f"https://127.0.0.1:{port}", timeout=20, tls=tls)
    try:
        return (await pool.request(http1.post(pool.authority, "/", b"{}"))).status
    finally:
        pool.close()


def test_the_name_of_deployer_yaml_is_what_the_certificate_must_have(tmp_path: Path, port: int) -> None:
    ca = str(tmp_path / "authority.pem")
    good, bad = (client_tls(Tls(secret="s", ca_file=ca, server_name=name)) for name in (HOST, "other.example.com"))
    assert asyncio.run(asked(port, good)) == 200
    assert routes.request("gateway-0", port, "/", b"{}", timeout=20, tls=good).status == 200
    for tls in (bad, client_tls(Tls(secret="s", ca_file=ca)), client_tls(Tls(secret="s", server_name=HOST))):
        with pytest.raises(http1.HttpError) as refused:
            asyncio.run(asked(port, tls))
        assert refused.value.code == "certificate"
        with pytest.raises(TargetError, match="no TLS connection"):
            routes.request("gateway-0", port, "/", b"{}", timeout=20, tls=tls)


def test_what_is_no_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.pem").write_text("nothing")
    with pytest.raises(SpecError, match=r"gateway\.tls\.ca_file holds no certificates"):
        client_tls(Tls(secret="s", ca_file=str(tmp_path / "x.pem"))).context()
    with pytest.raises(SpecError, match=r"client_cert_file and client_key_file are not"):
        ClientTls(cert_file=str(tmp_path / "x.pem"), key_file=str(tmp_path / "x.pem")).context()
