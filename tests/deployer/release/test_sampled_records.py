"""Records that a gateway has kept are records that the deployer sends again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from eventually import eventually
from fake_model_server import FakeModelServer
from gateway_process import GatewayProcess, config
from gateway_target import gateway_target

from deployer.records import files
from deployer.release.batch import job, run
from deployer.release.predict import PredictRequest, predict
from gateway.settings import SettingsError, parse_settings

SAMPLING = {"consent": True, "folder": "samples", "share": 1.0, "mask": ["b"]}


def test_from_the_gateway_to_a_file_to_a_batch(tmp_path: Path) -> None:
    server = FakeModelServer()
    content = config(server.address, sampling=SAMPLING)
    gateway = GatewayProcess(tmp_path, content, "--drain-seconds", "0")
    for number in range(20):
        assert gateway.post(json.dumps({"records": [{"a": number, "b": 7}]})).status_code == 200
    assert gateway.post('{"records": [{"a": "no number", "b": 1}]}').status_code == 400
    assert gateway.post('{"instances": [[1, 2]]}').status_code != 500
    kept = tmp_path / "samples" / "m.jsonl"
    eventually(lambda: kept.exists() and kept.read_text().count("\n") == 20, "all records are in the file")
    assert [line.record for line in map(files.load(kept).__getitem__, range(20))] == [
        {"a": number, "b": 0} for number in range(20)
    ]
    assert kept.stat().st_mode & 0o077 == 0
    assert gateway.metric('gateway_sampled_records_total{model="m"}') == 20
    assert gateway.metric("gateway_sampling_dropped") == 0
    target = gateway_target(gateway.url, content)
    batch = job.BatchRequest(model="m", inputs=(str(kept),), output=tmp_path / "out")
    run.batch(target, batch, lambda _: None)
    predictions = [json.loads(line) for line in next((tmp_path / "out").glob("part-*")).read_text().splitlines()]
    assert len(predictions) == 20
    again = predict(target, PredictRequest(model="m", records=kept, timeout=5), lambda _: None)
    assert len(again.answers) == 20
    assert gateway.metric('gateway_sampled_records_total{model="m"}') == 20, "what is sent again is not kept again"
    assert gateway.stop() == 0
    server.stop()


def test_nothing_is_kept_without_consent() -> None:
    base = 'version: v1\nmodels: {}\nbackends: {static: ["h:1"]}\n'
    assert parse_settings(base).sampling is None
    with pytest.raises(SettingsError, match=r"sampling\.consent"):
        parse_settings(f"{base}sampling: {{consent: false, folder: x}}\n")
    with pytest.raises(SettingsError, match="consent"):
        parse_settings(f"{base}sampling: {{folder: x}}\n")
