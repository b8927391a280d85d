"""What HTTP clients may do on a connection: methods, expectations, upgrades, targets, trailers, pipelining."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess

BODY = json.dumps({"records": [{"a": 1, "b": 2}]})
PREDICT = "/v1/models/m:predict"
GETS = [
    "/v2/health/live", "/metrics", "/openapi.json", "/v1/models", "/v1/models/m", "/v1/models/m/metadata",
    "/v1/models/m/schema", "/nowhere", "/v1/nowhere", "/v1/models/none", PREDICT,
]  # fmt: skip


class Client:
    """A connection on which bytes are sent as they are, and responses read one by one."""

    def __init__(self, gateway: GatewayProcess) -> None:
        host, port = gateway.url.removeprefix("http://").split(":")
        self._socket = socket.create_connection((host, int(port)), timeout=20)
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def raw(self, text: str) -> None:
        self._socket.sendall(text.encode())

    def send(self, *lines: str, body: str = "") -> None:
        self.raw("\r\n".join([*lines, "", ""]) + body)

    def head(self) -> tuple[int, dict[str, str]]:
        """Status and headers of the next response."""
        status = int(self._file.readline().split()[1])
        headers = {}
        while (line := self._file.readline().strip()) != b"":
            name, _, value = line.decode().partition(":")
            headers[name.lower()] = value.strip()
        return status, headers

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        status, headers = self.head()
        return status, headers, self._file.read(int(headers.get("content-length", 0)))

    def ended(self) -> bool:
        """Whether the gateway has closed the connection after what was read."""
        return self._file.read(1) == b""


def post(*headers: str, target: str = PREDICT, body: str = BODY) -> str:
    return "\r\n".join([f"POST {target} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", body])


def value_of(body: bytes) -> float:
    return float(json.loads(body)["predictions"][0]["value"])


@pytest.mark.parametrize("path", GETS)
def test_head_is_get_without_a_body_and_the_connection_continues(gateway: GatewayProcess, path: str) -> None:
    with Client(gateway) as client:
        client.send(f"GET {path} HTTP/1.1", "Host: x", "X-Request-Id: same")
        status, headers, _ = client.answer()
        for _ in range(2):
            client.send(f"HEAD {path} HTTP/1.1", "Host: x", "X-Request-Id: same")
            assert client.head()[0] == status
        client.send(f"HEAD {path} HTTP/1.1", "Host: x", "X-Request-Id: same")
        found = client.head()[1]
        for changing in ("date", "content-length"):
            assert (changing in found) == (changing in headers)
            del found[changing], headers[changing]
        assert found == headers
        client.send("GET /v2/health/live HTTP/1.1", "Host: x")
        assert client.answer()[2] == b'{"live":true}'


def test_head_on_a_connection_that_closes(gateway: GatewayProcess) -> None:
    with Client(gateway) as client:
        client.send("HEAD /v2/health/live HTTP/1.1", "Host: x", "Connection: close")
        assert client.head()[0] == 200
        assert client.ended()
    with Client(gateway) as client:
        client.send("HEAD /v2/health/live HTTP/1.0")
        assert client.head()[0] == 200
        assert client.ended()


@pytest.mark.parametrize(
    ("path", "status", "allowed"),
    [
        (PREDICT, 204, "OPTIONS, POST"),
        ("/v1/models/m", 204, "OPTIONS, HEAD, GET"),
        ("*", 204, "OPTIONS, HEAD, GET, POST"),
        ("/nowhere", 404, None),
        ("/v1/nowhere", 400, None),
    ],
)
def test_options_names_the_methods_of_a_path(
    gateway: GatewayProcess, path: str, status: int, allowed: str | None
) -> None:
    with Client(gateway) as client:
        client.send(f"OPTIONS {path} HTTP/1.1", "Host: x")
        found, headers, body = client.answer()
        assert (found, headers.get("allow")) == (status, allowed)
        assert ("content-length" in headers) == bool(body)
        client.send("GET /v2/health/live HTTP/1.1", "Host: x")
        assert client.answer()[0] == 200


def test_a_body_is_asked_for_when_the_client_waits_for_that(gateway: GatewayProcess) -> None:
    with Client(gateway) as client:
        for _ in range(2):
            client.send(f"POST {PREDICT} HTTP/1.1", "Host: x", f"Content-Length: {len(BODY)}", "Expect: 100-continue")
            assert client.head()[0] == 100
            client.raw(BODY)
            status, headers, body = client.answer()
            assert (status, value_of(body), headers.get("connection")) == (200, 30.0, None)


@pytest.mark.parametrize(("path", "length", "status"), [("/nowhere", 10, 404), (PREDICT, 99_999_999, 413)])
def test_a_body_that_nobody_asks_for_ends_the_connection(
    gateway: GatewayProcess, path: str, length: int, status: int
) -> None:
    with Client(gateway) as client:
        client.send(f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {length}", "Expect: 100-continue")
        found, headers, _ = client.answer()
        assert (found, headers["connection"]) == (status, "close")
        assert client.ended()


@pytest.mark.parametrize(
    "offer",
    [
        ("Connection: Upgrade, HTTP2-Settings", "Upgrade: h2c", "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAA"),
        ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x3JJHMbDL1EzLkh9GBhXDw=="),
        ("connection: keep-alive, upgrade", "upgrade: TLS/1.0"),
    ],
    ids=["h2c", "websocket", "tls"],
)
def test_an_offered_upgrade_is_ignored(gateway: GatewayProcess, offer: tuple[str, ...]) -> None:
    with Client(gateway) as client:
        for _ in range(2):
            client.raw(post(*offer))
            status, headers, body = client.answer()
            assert (status, value_of(body), headers.get("connection")) == (200, 30.0, None)
        client.raw(post(*offer) * 3 + "GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n")
        assert [client.answer()[0] for _ in range(4)] == [200] * 4
        text = post(*offer)
        for piece in (text[:30], text[30:70], text[70:-33], text[-33:-5], text[-5:]):
            client.raw(piece)
        assert value_of(client.answer()[2]) == 30.0


def test_an_upgrade_beside_close_still_closes(gateway: GatewayProcess) -> None:
    with Client(gateway) as client:
        client.raw(post("Connection: close, Upgrade", "Upgrade: h2c"))
        status, headers, _ = client.answer()
        assert (status, headers["connection"]) == (200, "close")
        assert client.ended()


def test_connect_is_refused(gateway: GatewayProcess) -> None:
    with Client(gateway) as client:
        client.send("CONNECT example.com:443 HTTP/1.1", "Host: example.com:443")
        assert client.answer()[0] == 400
        assert client.ended()


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (f"http://gateway{PREDICT}", 200),
        (f"HTTP://user@gateway:80{PREDICT}", 200),
        ("http://gateway", 404),
        ("http://gateway?x=1", 404),
        ("gateway:80", 400),
    ],
)
def test_a_target_in_absolute_form_is_its_path(gateway: GatewayProcess, target: str, status: int) -> None:
    with Client(gateway) as client:
        client.raw(post(target=target))
        assert client.answer()[0] == status


def test_chunks_may_have_extensions_and_trailers_which_are_no_headers(gateway: GatewayProcess) -> None:
    half = len(BODY) // 2
    chunks = (
        f"{half:x};name=value\r\n{BODY[:half]}\r\n{len(BODY) - half:x}\r\n{BODY[half:]}\r\n0\r\n"
        "X-Request-Id: from-the-trailer\r\nX-Request-Timeout-Ms: 0\r\n\r\n"
    )
    with Client(gateway) as client:
        for _ in range(2):
            client.send(
                f"POST {PREDICT} HTTP/1.1",
                "Host: x",
                "Transfer-Encoding: chunked",
                "Trailer: X-Request-Id",
                body=chunks,
            )
            status, headers, body = client.answer()
            assert (status, value_of(body)) == (200, 30.0)
            assert headers["x-request-id"] != "from-the-trailer"


def test_pipelined_requests_get_responses_in_order(gateway: GatewayProcess, server: FakeModelServer) -> None:
    bodies = [json.dumps({"records": [{"a": number, "b": 0}]}) for number in range(20)]
    with Client(gateway) as client:
        head = "HEAD /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n"
        requests = [text for body in bodies for text in (post(body=body), head)]
        client.raw("".join(requests))
        for number in range(20):
            status, _, body = client.answer()
            assert (status, value_of(body)) == (200, 10.0 * number)
            assert client.head()[0] == 200


CURL = shutil.which("curl")


@pytest.mark.skipif(CURL is None, reason="curl is not installed")
def test_curl_that_would_like_http2(gateway: GatewayProcess) -> None:
    told = subprocess.run(
        [str(CURL), "-sS", "--max-time", "20", "--http2", "-d", BODY, "-w", " %{http_version}", gateway.url + PREDICT],
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    body, _, version = told.stdout.rpartition(" ")
    assert (value_of(body.encode()), version) == (30.0, "1.1")


JAVA = shutil.which("java")
PROGRAM = """
import java.net.URI;
import java.net.http.*;
public class Ask {
  public static void main(String[] given) throws Exception {
    var client = HttpClient.newHttpClient();
    for (int i = 0; i < 3; i++) {
      var body = HttpRequest.BodyPublishers.ofString(given[1]);
      var request = HttpRequest.newBuilder(URI.create(given[0])).POST(body).build();
      var response = client.send(request, HttpResponse.BodyHandlers.ofString());
      System.out.println(response.statusCode() + " " + response.body());
    }
    var head = HttpRequest.newBuilder(URI.create(given[0])).method("HEAD", HttpRequest.BodyPublishers.noBody()).build();
    System.out.println(client.send(head, HttpResponse.BodyHandlers.ofString()).statusCode());
  }
}
"""


@pytest.mark.skipif(JAVA is None, reason="java is not installed")
def test_java_s_client_with_its_defaults(gateway: GatewayProcess, tmp_path: Path) -> None:
    (tmp_path / "Ask.java").write_text(PROGRAM)
    told = subprocess.run(
        [str(JAVA), str(tmp_path / "Ask.java"), gateway.url + PREDICT, BODY],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    lines = told.stdout.splitlines()
    assert [(line[:3], value_of(line[4:].encode())) for line in lines[:3]] == [("200", 30.0)] * 3
    assert lines[3] == "400"
