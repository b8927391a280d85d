"""Who may ask: API keys and tokens at a real gateway, with the files and servers that they come from."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
import requests
import yaml
from cryptography.hazmat.primitives.asymmetric import ec
from eventually import eventually
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config
from jwt.algorithms import ECAlgorithm
from paths import ROOT

from gateway.api.grpc.inference import INFERENCE, UNGUARDED
from gateway.api.grpc.serving import SERVING
from gateway.app import ROUTES
from gateway.errors import TooManyRequests
from gateway.guard.access.caller import Bucket, Caller
from gateway.guard.access.keys import read_keys
from gateway.settings import SettingsError, parse_settings
from tfserving.wire import inference_pb2 as pb
from tfserving.wire import messages_pb2 as m
from tfserving.wire import methods

BODY = '{"records": [{"a": 1, "b": 2}]}'
KEY, OTHER = "shop-0f1e2d3c4b5a", "partner-a1b2c3d4e5"
ISSUER, AUDIENCE = "https://login.example.com/", "models"


def entry(name: str, key: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), **more}


def write(path: Path, *entries: dict[str, Any]) -> None:
    fresh = path.with_suffix(".new")
    fresh.write_text(yaml.safe_dump({"keys": list(entries)}))
    fresh.replace(path)


@pytest.fixture(scope="module")
def server() -> Iterator[FakeModelServer]:
    fake = FakeModelServer()
    yield fake
    fake.stop()


@pytest.fixture
def guarded(tmp_path: Path, server: FakeModelServer) -> Iterator[GatewayProcess]:
    write(tmp_path / "keys.yaml", entry("shop", KEY), entry("partner", OTHER, models=["loan", "car-*"]))
    content = config(server.address, auth={"keys_file": "keys.yaml"}, public_docs=True)
    gateway = GatewayProcess(tmp_path, content, "--drain-seconds", "0")
    yield gateway
    assert gateway.stop() == 0
    assert KEY not in "".join(gateway.log)
    assert "Traceback" not in "".join(gateway.log)


def test_only_known_keys_are_let_in_and_are_counted_by_name(guarded: GatewayProcess) -> None:
    refused = guarded.post(BODY)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    wrong = guarded.post(BODY, x_api_key="shop-guess")
    assert (wrong.status_code, "shop-guess" in wrong.text) == (401, False)
    assert guarded.post(BODY, x_api_key=KEY).status_code == 200
    assert guarded.post(BODY, authorization=f"Bearer {KEY}").status_code == 200
    assert guarded.post(BODY, authorization=f"Basic {KEY}").status_code == 401
    assert guarded.metric('gateway_caller_requests_total{caller="shop",code="200"}') == 2
    assert guarded.metric('gateway_denied_total{reason="key"}') == 1
    assert guarded.metric('gateway_denied_total{reason="none"}') == 2


def test_every_path_is_guarded_but_health_and_the_admin_port(guarded: GatewayProcess) -> None:
    for path in ("/v1/models/m", "/v1/models/m/metadata", "/v1/models/m/schema", "/v1/models", "/openapi.json", "/v2",
                 "/v2/models/m", "/v2/models/m/ready"):  # fmt: skip
        assert guarded.get(path).status_code == 401, path
        assert requests.get(guarded.url + path, headers={"x-api-key": KEY}, timeout=30).status_code == 200, path
    infer = requests.post(guarded.url + "/v2/models/m/infer", data="{}", timeout=30)
    assert infer.status_code == 401
    assert guarded.get("/v2/health/live").status_code == 200
    assert guarded.told("/readyz").status_code == 200


def test_a_key_opens_its_models_only(guarded: GatewayProcess) -> None:
    for path in ("/v1/models/m:predict", "/v1/models/%6d:predict", "/v2/models/m/infer"):
        refused = guarded.post(BODY, path=path, x_api_key=OTHER)
        assert refused.status_code == 403, path
    assert "partner may not use model 'm'" in guarded.post(BODY, x_api_key=OTHER).json()["error"]
    for model in ("loan", "car-1"):  # let in, and then there is no such model
        assert guarded.post(BODY, path=f"/v1/models/{model}:predict", x_api_key=OTHER).status_code == 404


def test_keys_are_exchanged_while_it_runs_and_a_bad_file_changes_nothing(guarded: GatewayProcess) -> None:
    file = guarded.file.parent / "keys.yaml"
    write(file, entry("shop", "shop-new"))
    eventually(lambda: guarded.post(BODY, x_api_key="shop-new").status_code == 200, "the new key")
    assert guarded.post(BODY, x_api_key=KEY).status_code == 401
    file.write_text("keys: [{name: shop, sha256: " + KEY + "}]")
    eventually(lambda: guarded.metric("gateway_config_stale") == 1, "the bad file is noticed")
    assert guarded.post(BODY, x_api_key="shop-new").status_code == 200
    file.unlink()
    eventually(lambda: any("keys.yaml: No such file" in line for line in guarded.log), "the missing file is noticed")
    assert guarded.post(BODY, x_api_key="shop-new").status_code == 200
    write(file)
    eventually(lambda: guarded.post(BODY, x_api_key="shop-new").status_code == 401, "the last key is withdrawn")


def test_a_new_config_whose_keys_are_missing_never_opens_the_gateway(guarded: GatewayProcess) -> None:
    content = yaml.safe_load(guarded.file.read_text())
    guarded.write(content | {"auth": {"keys_file": "elsewhere.yaml"}})
    eventually(lambda: guarded.metric("gateway_config_stale") == 1, "the config is not taken")
    assert guarded.post(BODY).status_code == 401
    assert guarded.post(BODY, x_api_key=KEY).status_code == 200
    write(guarded.file.parent / "elsewhere.yaml", entry("late", "late-key"))
    eventually(
        lambda: guarded.post(BODY, x_api_key="late-key").status_code == 200, "it is taken when the file is there"
    )


def test_it_does_not_start_open_when_the_keys_are_missing(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(yaml.safe_dump(config("127.0.0.1:1", auth={"keys_file": "keys.yaml"})))
    command = [sys.executable, "-m", "gateway", "--config", str(file), "--port", "0", "--admin-port", "0"]
    ended = subprocess.run(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 3
    assert re.search(r"auth\.keys_file: .*keys\.yaml: No such file", ended.stderr)


def test_a_caller_over_its_rate_gets_retry_after() -> None:
    now = 0.0
    caller = Caller("shop", group="shop", bucket=Bucket(0.5, 2, lambda: now))
    caller.require("m")
    caller.require("m")
    with pytest.raises(TooManyRequests) as refused:
        caller.require("m")
    assert (refused.value.status, refused.value.retry_after) == (429, 2)
    now = 2.0
    caller.require("m")


def test_a_reload_does_not_give_back_what_was_used() -> None:
    text = yaml.safe_dump({"keys": [entry("shop", KEY, requests_per_second=1, burst=1)]})
    before = read_keys(text, {}, lambda: 0.0)
    next(iter(before.values())).require(None)
    after = read_keys(text + "# changed\n", before, lambda: 0.0)
    with pytest.raises(TooManyRequests):
        next(iter(after.values())).require(None)


@pytest.mark.parametrize("text", ["keys: [{name: a}]", "keys: [{name: 'a b', sha256: x}]", "[", "kyes: []"])
def test_a_bad_file_of_keys_is_named_without_its_values(text: str) -> None:
    with pytest.raises(SettingsError) as refused:
        read_keys(text.replace("x}", f"{KEY}}}"), {}, lambda: 0.0)
    assert KEY not in str(refused.value)


class Issuer:
    """An issuer of tokens, with a server for its public keys."""

    def __init__(self) -> None:
        self.private: dict[str, ec.EllipticCurvePrivateKey] = {}
        self.asked = 0
        issuer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                issuer.asked += 1
                body = json.dumps({"keys": [issuer.public(name) for name in issuer.private]}).encode()
                self.send_response(200)
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/keys"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def public(self, name: str) -> dict[str, Any]:
        return {**ECAlgorithm.to_jwk(self.private[name].public_key(), as_dict=True), "kid": name, "use": "sig"}

    def token(self, name: str = "one", **claims: Any) -> str:
        content = {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "exp": time.time() + 600, **claims}
        content = {key: value for key, value in content.items() if value is not None}
        return jwt.encode(content, self.private[name], algorithm="ES256", headers={"kid": name})

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    made = Issuer()
    made.private["one"] = ec.generate_private_key(ec.SECP256R1())
    yield made
    made.close()


def bearer(gateway: GatewayProcess, token: str) -> requests.Response:
    return gateway.post(BODY, authorization=f"Bearer {token}")


def test_tokens_are_checked_by_signature_issuer_audience_time_and_models(
    tmp_path: Path, server: FakeModelServer, issuer: Issuer
) -> None:
    (tmp_path / "jwks.json").write_text(json.dumps({"keys": [issuer.public("one")]}))
    about = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_file": "jwks.json", "models_claim": "models"}
    gateway = GatewayProcess(tmp_path, config(server.address, auth={"jwt": about}), "--drain-seconds", "0")
    good = issuer.token(models=["m"])
    assert bearer(gateway, good).status_code == 200
    assert bearer(gateway, issuer.token(models="x m")).status_code == 200
    assert bearer(gateway, issuer.token(models=["n"])).status_code == 403
    assert bearer(gateway, issuer.token()).status_code == 403
    for wrong in (
        {"iss": "https://other/"},
        {"aud": "other"},
        {"exp": time.time() - 600},
        {"exp": None},
        {"aud": None},
    ):
        assert bearer(gateway, issuer.token(models=["m"], **wrong)).status_code == 401, wrong
    head, payload, signature = good.split(".")
    assert bearer(gateway, f"{head}.{payload}.{signature[::-1]}").status_code == 401
    unsigned = jwt.encode({"iss": ISSUER, "aud": AUDIENCE, "exp": time.time() + 60, "models": ["m"]}, "", "none")
    assert bearer(gateway, unsigned).status_code == 401
    told = base64.urlsafe_b64encode(json.dumps({"alg": "HS256", "kid": "one"}).encode()).rstrip(b"=").decode()
    mac = hmac.digest(json.dumps(issuer.public("one")).encode(), f"{told}.{payload}".encode(), "sha256")
    confused = f"{told}.{payload}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    assert bearer(gateway, confused).status_code == 401, "the public key is no shared secret"
    assert bearer(gateway, "a.b.c").status_code == 401
    assert gateway.metric('gateway_caller_requests_total{caller="jwt",code="200"}') == 2
    assert gateway.stop() == 0
    assert good not in "".join(gateway.log)


def test_the_keys_of_an_issuer_are_read_by_url_and_stay_when_it_is_away(
    tmp_path: Path, server: FakeModelServer, issuer: Issuer
) -> None:
    about = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": issuer.url}
    gateway = GatewayProcess(tmp_path, config(server.address, auth={"jwt": about}), "--drain-seconds", "0")
    assert bearer(gateway, issuer.token()).status_code == 200
    asked = issuer.asked
    issuer.private["two"] = ec.generate_private_key(ec.SECP256R1())
    eventually(lambda: bearer(gateway, issuer.token("two")).status_code == 200, "the exchanged key is asked for")
    assert issuer.asked == asked + 1, "unknown keys do not make the gateway ask again and again"
    issuer.close()
    assert bearer(gateway, issuer.token("two")).status_code == 200
    assert gateway.stop() == 0


def test_while_the_keys_of_the_issuer_are_not_known_tokens_get_503(
    tmp_path: Path, server: FakeModelServer, issuer: Issuer
) -> None:
    about = {"issuer": ISSUER, "audience": AUDIENCE, "jwks_url": "http://127.0.0.1:1/"}
    gateway = GatewayProcess(tmp_path, config(server.address, auth={"jwt": about}), "--drain-seconds", "0")
    answer = bearer(gateway, issuer.token())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert gateway.stop() == 0


@pytest.mark.parametrize(
    ("auth", "message"),
    [
        ("auth: {}", "auth: keys_file or jwt is needed"),
        ("auth: {jwt: {issuer: a, audience: b}}", "exactly one of jwks_file and jwks_url"),
        ("auth: {jwt: {issuer: a, audience: b, jwks_url: file:///etc/passwd}}", "expected a URL"),
        ("auth: {jwt: {issuer: a, audience: b, jwks_file: f, algorithms: [HS256]}}", r"auth\.jwt\.algorithms"),
        ("cors: {origins: ['*'], credentials: true}", "name the origins"),
        ("cors: {origins: [example.com]}", "expected SCHEME://HOST"),
    ],
)
def test_settings_that_would_open_more_than_meant_are_refused(auth: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        parse_settings(f"version: v1\nmodels: {{}}\nbackends: {{static: ['a:1']}}\n{auth}\n")


def test_a_page_of_a_named_origin_may_ask_and_no_other(tmp_path: Path, server: FakeModelServer) -> None:
    write(tmp_path / "keys.yaml", entry("shop", KEY))
    origin = "https://app.example.com"
    content = config(server.address, cors={"origins": [origin]}, auth={"keys_file": "keys.yaml"})
    gateway = GatewayProcess(tmp_path, content, "--drain-seconds", "0")
    url = gateway.url + "/v1/models/m:predict"
    asking = {"access-control-request-method": "POST", "access-control-request-headers": "content-type, x-api-key"}
    asked = requests.options(url, headers={"origin": origin, **asking}, timeout=30)
    assert asked.status_code == 204
    assert asked.headers["access-control-allow-origin"] == origin
    assert {"content-type", "x-api-key"} <= set(asked.headers["access-control-allow-headers"].split(", "))
    other = requests.options(url, headers={"origin": "https://evil.example.com", **asking}, timeout=30)
    assert "access-control-allow-origin" not in other.headers
    answer = gateway.post(BODY, origin=origin, x_api_key=KEY)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, origin)
    assert answer.headers["vary"] == "origin"
    refused = gateway.post(BODY, origin=origin)
    assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, origin)
    assert "access-control-allow-origin" not in gateway.post(BODY, origin="https://evil.example.com").headers
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert gateway.stop() == 0


def test_grpc_is_guarded_as_http_is(tmp_path: Path, server: FakeModelServer) -> None:
    write(tmp_path / "keys.yaml", entry("shop", KEY), entry("partner", OTHER, models=["loan"]))
    content = config(server.address, auth={"keys_file": "keys.yaml"})
    gateway = GatewayProcess(tmp_path, content, "--grpc-port", "0", "--drain-seconds", "0")
    with grpc.insecure_channel(gateway.grpc) as channel:

        def call(path: str, message: bytes = b"", **metadata: str) -> grpc.StatusCode:
            method = channel.unary_unary(path)
            try:
                method(message, timeout=20, metadata=tuple((k.replace("_", "-"), v) for k, v in metadata.items()))
            except grpc.RpcError as error:
                code: grpc.StatusCode = error.code()
                return code
            return grpc.StatusCode.OK

        for path in SERVING | INFERENCE:
            expected = grpc.StatusCode.OK if path in UNGUARDED else grpc.StatusCode.UNAUTHENTICATED
            assert call(path) is expected, path
            assert path in UNGUARDED or call(path, x_api_key="guess") is expected, path
        about = m.GetModelStatusRequest(model_spec=m.ModelSpec(name="m")).SerializeToString()
        named = pb.ModelMetadataRequest(name="m").SerializeToString()
        asked = m.PredictRequest(model_spec=m.ModelSpec(name="m")).SerializeToString()
        for path, message in (
            (methods.GET_MODEL_STATUS.path, about),
            (methods.PREDICT.path, asked),
            (methods.CLASSIFY.path, asked),
            ("/inference.GRPCInferenceService/ModelMetadata", named),
            ("/inference.GRPCInferenceService/ModelInfer", named),
        ):
            assert call(path, message, x_api_key=OTHER) is grpc.StatusCode.PERMISSION_DENIED, path
        assert call(methods.GET_MODEL_STATUS.path, about, authorization=f"Bearer {KEY}") is grpc.StatusCode.OK
    assert gateway.metric('gateway_caller_requests_total{caller="shop",code="200"}') == 1
    assert gateway.metric('gateway_denied_total{reason="model"}') == 5
    assert gateway.stop() == 0


def test_every_route_is_guarded_but_health_and_the_page_that_asks_for_a_key() -> None:
    assert [route.pattern.pattern.partition("(")[0] for route in ROUTES if not route.guarded] == [
        "/docs",
        "/v2/health/live",
        "/v2/health/ready",
    ]
