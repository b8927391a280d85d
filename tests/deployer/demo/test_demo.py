"""The demo in small: one model, one replica, no experiment; and what is left of one that is interrupted."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from eventually import eventually
from processes import running_from

from deployer.demo.demo import DemoRequest, demo
from deployer.demo.rollout import traffic_bars
from deployer.errors import UsageError

pytest.importorskip("sklearn")


def test_accuracy_online_is_accuracy_offline(tmp_path: Path) -> None:
    told: list[str] = []
    found = demo(
        DemoRequest(out=tmp_path / "demo", models=("digits",), replicas=1, cpus=None, measure=False), told.append
    )
    assert [(row.model, row.label, row.version, row.records) for row in found.accuracies] == [
        ("digits", "stable", 1, 360),
        ("digits", "canary", 2, 360),
    ]
    for row in found.accuracies:
        assert row.gateway == row.direct == row.offline
    stable, canary = found.accuracies
    assert canary.offline > stable.offline + 0.02
    assert (tmp_path / "demo" / "rendered" / "models.config").exists()
    assert [line[:2] for line in told if line.startswith("[")] == ["[1", "[2", "[3", "[4", "[5", "[6", "[7"]
    assert set(found.answers) == {1, 2, 3}
    assert found.answers[3] < 0.2 * found.answers.total()
    assert any(line.startswith("digits judge 20 %: gate failed (judge 20 %: disagreement<50%: fail") for line in told)
    assert any(line.endswith("; 0 failed") for line in told)
    assert running_from(tmp_path) == []


def test_the_bars_show_only_new_responses() -> None:
    assert (
        traffic_bars({1: 90}, {1: 120, 2: 10}) == "    40 responses  v1 ██████████████████████ 75 %  v2 ████████ 25 %"
    )
    assert traffic_bars({1: 90}, {1: 90}) == ""


def test_a_folder_of_another_user_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(UsageError, match="no demo wrote"):
        demo(DemoRequest(out=tmp_path), print)
    assert (tmp_path / "precious").exists()


@pytest.mark.skipif(sys.platform != "linux", reason="processes are looked up in /proc")
def test_ctrl_c_in_the_middle_leaves_no_process(tmp_path: Path) -> None:
    line = [sys.executable, "-m", "deployer.cli", "demo", "--out", str(tmp_path / "demo")]
    shown = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    eventually(lambda: len(running_from(tmp_path)) == 2, "the deployer itself, and the child that trains")
    os.kill(shown.pid, signal.SIGINT)
    _, err = shown.communicate(timeout=60)
    assert shown.returncode == 130
    assert err.endswith("error: interrupted\n")
    assert running_from(tmp_path) == []
