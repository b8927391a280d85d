"""The deployer's own requests carry its API key, and nothing shows it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config
from gateway_target import gateway_target

from deployer.errors import DeployerError, SpecError
from deployer.records.endpoint import RecordApi
from deployer.release.batch import job, run
from deployer.release.predict import PredictRequest, predict
from deployer.targets import credentials
from deployer.targets.base import Target

KEY = "deployer-5d41402abc4b"


@pytest.fixture
def target(tmp_path: Path) -> Iterator[Target]:
    server = FakeModelServer()
    keys = {"keys": [{"name": "deployer", "sha256": hashlib.sha256(KEY.encode()).hexdigest()}]}
    (tmp_path / "keys.yaml").write_text(yaml.safe_dump(keys))
    content = config(server.address, auth={"keys_file": "keys.yaml"})
    gateway = GatewayProcess(tmp_path, content, "--drain-seconds", "0")
    yield gateway_target(gateway.url, content)
    assert gateway.stop() == 0
    server.stop()


def test_predict_and_batch_carry_the_key(target: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = tmp_path / "records.jsonl"
    records.write_text('{"record": {"a": 1, "b": 2}}\n')
    request = PredictRequest(model="m", records=records, timeout=5)
    monkeypatch.delenv("DEPLOYER_API_KEY", raising=False)
    with pytest.raises(DeployerError) as refused:
        predict(target, request, lambda _: None)
    assert "credentials are needed" in f"{refused.value.message} {refused.value.cause}"
    monkeypatch.setenv("DEPLOYER_API_KEY", KEY)
    assert [answer.prediction for answer in predict(target, request, lambda _: None).answers] == [30.0]
    batch = job.BatchRequest(model="m", inputs=(str(records),), output=tmp_path / "out")
    run.batch(target, batch, lambda _: None)
    written = [path.read_text() for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert any("30.0" in text for text in written)
    assert not any(KEY in text for text in written)


def test_an_endpoint_does_not_show_its_key() -> None:
    endpoint = RecordApi(urls=("http://h:1",), path="/p", api_key=KEY)
    assert KEY not in repr(endpoint)
    assert ("x-api-key", KEY) in endpoint.headers


def test_the_key_may_be_in_a_file_and_what_no_header_carries_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "key"
    file.write_text(f"{KEY}\n")
    monkeypatch.delenv("DEPLOYER_API_KEY", raising=False)
    assert credentials.headers() == {}
    monkeypatch.setenv("DEPLOYER_API_KEY_FILE", str(file))
    assert credentials.headers() == {"x-api-key": KEY}
    for key in ("a\r\nx-other: b", "schlüssel"):
        file.write_text(key)
        with pytest.raises(SpecError) as refused:
            credentials.headers()
        assert key[:4] not in refused.value.message
    file.unlink()
    with pytest.raises(SpecError, match="cannot be read"):
        credentials.headers()
    monkeypatch.setenv("DEPLOYER_API_KEY", KEY)
    assert credentials.headers() == {"x-api-key": KEY}, "the environment comes first"
