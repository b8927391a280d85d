"""`deployer doctor` for a release on this machine whose processes have ended."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from deployer.cli.__main__ import main
from deployer.targets.local.state import Engine, Layout, LocalState, ProcessState

MODELS = """
model_config_list {
  config {
    name: "loan" base_path: "/store/loan" model_platform: "tensorflow"
    model_version_policy { specific { versions: 1 } }
    version_labels { key: "stable" value: 1 }
  }
}
"""
GATEWAY = """
version: v1
models: {loan: {labels: {stable: 1}, routing: {weights: {stable: 100}}}}
backends: {static: ["127.0.0.1:1"]}
"""


def ended(name: str) -> ProcessState:
    """A process of an earlier invocation that is gone."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait()
    return ProcessState(name=name, pid=process.pid, started="1", argv=("python",), http_port=1)


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    layout = Layout(tmp_path / "state")
    layout.config.mkdir(parents=True)
    layout.logs.mkdir()
    layout.model_config.write_text(MODELS)
    layout.gateway_config.write_text(GATEWAY)
    layout.log("replica-0").write_text("loading\nout of file descriptors\n")
    layout.write(
        LocalState(
            release="demo",
            engine=Engine.EMBEDDED,
            server_flags=(),
            replicas=(ended("replica-0"),),
            gateways=(ended("gateway-0"),),
        )
    )
    return layout


def test_a_process_that_has_ended_is_shown_with_the_end_of_its_log(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    code = main(["doctor", "--state-dir", str(layout.directory), "-o", "json"])

    found = json.loads(capsys.readouterr().out)["result"]
    assert code == 6
    assert not found["healthy"]
    by_subject = {finding["subjects"][0]: finding for finding in found["diagnosis"]["findings"]}
    assert by_subject["replica-0"]["cause"] == "a process has ended"
    assert "out of file descriptors" in by_subject["replica-0"]["evidence"]
    assert str(layout.log("replica-0")) in by_subject["replica-0"]["remedy"]
    assert by_subject["gateway-0"]["evidence"] == "it wrote nothing"


def test_a_start_that_was_cut_off_before_the_gateway_is_named(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    state = layout.read()
    assert state is not None
    layout.write(msgspec.structs.replace(state, gateways=()))
    assert main(["doctor", "--state-dir", str(layout.directory)]) == 6
    said = capsys.readouterr().out
    assert "error: no gateway is running" in said
    assert "`deployer local up` starts what is missing" in said


def test_a_configuration_that_contradicts_itself_is_found_here_too(
    layout: Layout, capsys: pytest.CaptureFixture[str]
) -> None:
    layout.model_config.write_text(MODELS.replace("value: 1", "value: 4"))

    assert main(["doctor", "--state-dir", str(layout.directory)]) == 6

    said = capsys.readouterr().out
    assert "error: label stable of model loan points to a version that is not served" in said
    assert "it points to version 4; served versions are 1" in said


def test_without_a_release_the_doctor_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--state-dir", str(tmp_path / "nothing")]) == 6
    assert "error:" in capsys.readouterr().err


def test_a_snapshot_is_kept_of_clusters_only(layout: Layout, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--state-dir", str(layout.directory), "--keep", "x.json"]) == 2
    assert "--target cluster" in capsys.readouterr().err
