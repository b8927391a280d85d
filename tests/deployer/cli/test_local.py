"""`deployer local`, `status` and `predict` as a user types them, against one real release."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from eventually import eventually

from deployer.tools.running import Running

DESCRIPTION = """
release: small
store: {store}
models: [scale]
serving: {{replicas: 2}}
"""


@pytest.fixture(scope="module")
def directory(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Holds deployer.yaml of a release that runs while the module is tested."""
    directory = tmp_path_factory.mktemp("release")
    (directory / "deployer.yaml").write_text(DESCRIPTION.format(store=small_store))
    chosen = ("--label", "scale:stable=1", "--label", "scale:canary=2", "--weight", "scale:stable=1")
    up = deployer(directory, "local", "up", *chosen)
    assert up.returncode == 0, up.stderr
    yield directory
    down = deployer(directory, "local", "down")
    assert down.stdout == "stopped gateway-0, replica-0, replica-1\n"
    assert deployer(directory, "local", "down").stdout == "nothing was running\n"


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "deployer.cli", *arguments]


def deployer(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    line = command(*arguments, "-f", str(directory / "deployer.yaml"))
    return subprocess.run(line, capture_output=True, text=True, timeout=120, check=False)


def records(path: Path, *lines: object) -> str:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def test_status_proves_labels_on_every_replica(directory: Path) -> None:
    shown = deployer(directory, "status")
    assert shown.returncode == 0, shown.stdout
    assert shown.stderr == ""
    rows = [line.split()[:5] for line in shown.stdout.splitlines() if line.startswith("replica-")]
    assert rows == [
        [f"replica-{replica}", "scale", version, "AVAILABLE", label]
        for replica in (0, 1)
        for version, label in (("1", "stable"), ("2", "canary"))
    ]
    said = json.loads(deployer(directory, "status", "-o", "json").stdout)
    assert said["kind"] == "Status"
    assert said["result"]["healthy"] is True
    assert said["result"]["phase"] == "Healthy"
    assert said["result"]["models"] == [{"model": "scale", "phase": "Healthy", "rollout": ""}]
    assert said["result"]["status"]["weights"] == {"scale": {"stable": 100.0}}


def test_records_through_the_gateway_are_served_by_the_label(directory: Path, tmp_path: Path) -> None:
    file = records(tmp_path / "r.jsonl", *({"record": {"a": n, "b": 1}} for n in range(5)))
    said = json.loads(
        deployer(directory, "predict", "scale", "--records", file, "--label", "canary", "-o", "json").stdout
    )
    assert said["result"]["versions"] == {"2": 5}
    assert [answer["prediction"] for answer in said["result"]["answers"]] == [2.0, 4.0, 6.0, 8.0, 10.0]


def test_files_of_records_are_predicted_to_a_folder_once(directory: Path, tmp_path: Path) -> None:
    file = records(tmp_path / "r.jsonl", *({"a": n, "b": 1} for n in range(700)), {"a": "x", "b": 1})
    batch = ("batch", "scale", "--input", file, "--output", str(tmp_path / "out"), "--label", "canary", "--shards", "2")
    shown = deployer(directory, *batch)
    assert shown.returncode == 0, shown.stderr
    assert "700 of 701 rows of scale predicted (version 2: 700)" in shown.stdout
    assert "bad rows    1, with reasons in" in shown.stdout
    assert "701 rows of scale through gateway-0" in shown.stderr
    parts = sorted((tmp_path / "out").glob("part-*"))
    written = [json.loads(line) for part in parts for line in part.read_text().splitlines()]
    assert [(row["row"], row["value"]) for row in written] == [(n + 1, 2.0 * (n + 1)) for n in range(700)]
    again = json.loads(deployer(directory, *batch, "-o", "json").stdout)
    assert again["kind"] == "Batch"
    assert (again["result"]["resumed"], again["result"]["requests"]) == (701, 0)
    wrong = deployer(directory, *batch, "--version", "1")
    assert (wrong.returncode, "cannot be used together" in wrong.stderr) == (2, True)


def test_predictions_are_written_and_bad_records_skipped_when_asked_to(directory: Path, tmp_path: Path) -> None:
    out = tmp_path / "answers.csv"
    line = [*command("predict", "scale", "--records", "-", "--out", str(out), "--skip-bad", "--label", "stable"), "-f"]
    said = subprocess.run(
        [*line, str(directory / "deployer.yaml")], input='{"record": {"a": 1, "b": 1}}\n{"record": {"a": "x"}}\n',
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert "skipped line 2: feature 'a'" in said.stdout
    assert out.read_text() == "row,version,prediction\n1,1,2.0\n"


def test_expected_values_give_an_accuracy(directory: Path, tmp_path: Path) -> None:
    lines = [{"record": {"a": n, "b": 0}, "expected": 0 if n == 3 else n} for n in range(4)]
    shown = deployer(directory, "predict", "scale", "--records", records(tmp_path / "r.jsonl", *lines), "--batch", "3")
    assert shown.returncode == 0, shown.stderr
    assert "4 records of scale through gateway-0" in shown.stdout
    assert "accuracy 0.7500 (3 correct)" in shown.stdout


def test_tensors_go_straight_to_a_replica(directory: Path, tmp_path: Path) -> None:
    file = records(tmp_path / "t.jsonl", {"inputs": {"x": [1, 2, 3]}}, {"inputs": {"x": [0, 0, 1]}})
    said = json.loads(deployer(directory, "predict", "scale", "--direct", "--records", file, "-o", "json").stdout)
    assert said["result"]["through"].startswith("replica-0")
    assert [answer["prediction"] for answer in said["result"]["answers"]] == [[12.0], [2.0]]


@pytest.mark.parametrize(
    ("arguments", "lines", "code", "words"),
    [
        (["scale"], [{"record": {"a": 1, "b": "much"}}], 3, "feature 'b'"),
        (["scale", "--label", "nope"], [{"record": {"a": 1, "b": 1}}], 3, "label: nope"),
        (["other"], [{"record": {"a": 1}}], 3, "no model other"),
        (["scale"], [{"rekord": {}}], 3, "r.jsonl:1"),
        (["scale"], [], 3, "has no records"),
    ],
)
def test_what_cannot_be_served_is_named(
    directory: Path, tmp_path: Path, arguments: list[str], lines: list[object], code: int, words: str
) -> None:
    shown = deployer(directory, "predict", *arguments, "--records", records(tmp_path / "r.jsonl", *lines))
    assert shown.returncode == code
    assert words in shown.stderr
    assert "hint: " in shown.stderr


def test_labels_of_a_running_release_are_not_moved_by_up(directory: Path) -> None:
    shown = deployer(directory, "local", "up", "--label", "scale:stable=2")
    assert shown.returncode == 6
    assert "scale is running with other versions" in shown.stderr
    again = deployer(directory, "local", "up", "-o", "json")
    assert again.returncode == 0
    labels = json.loads(again.stdout)["result"]["replicas"][0]["served"][0]["labels"]
    assert labels == {"stable": 1, "canary": 2}


def test_a_dry_run_tells_what_would_be_and_changes_nothing(directory: Path, tmp_path: Path, small_store: Path) -> None:
    up = deployer(directory, "local", "up", "--replicas", "3", "--dry-run")
    assert up.returncode == 0, up.stderr
    assert "small: 3 replicas (embedded)" in up.stdout
    assert "running already: gateway-0, replica-0, replica-1" in up.stdout
    assert "scale: versions 1, 2; canary is 2, stable is 1; shares of traffic: stable 1" in up.stdout
    down = deployer(directory, "local", "down", "--dry-run", "-o", "json")
    assert json.loads(down.stdout)["result"] == {"would_stop": ["gateway-0", "replica-0", "replica-1"]}
    other = DESCRIPTION.format(store=small_store).replace("release: small", "release: other")
    (tmp_path / "deployer.yaml").write_text(other)
    first = deployer(tmp_path, "local", "up", "--dry-run", "-o", "json")
    planned = json.loads(first.stdout)["result"]
    assert (planned["replicas"], planned["running"]) == (2, [])
    assert planned["state"]["models"]["scale"]["labels"] == {"stable": 2}
    assert [path.name for path in tmp_path.iterdir()] == ["deployer.yaml"]
    assert deployer(directory, "status").returncode == 0


def test_an_experiment_says_what_it_would_do_and_how_long(directory: Path, tmp_path: Path) -> None:
    file = records(tmp_path / "r.jsonl", *[{"record": {"a": n, "b": 1}} for n in range(3)])
    options = ("--records", file, "--replicas", "1,2", "--rates", "50,80", "--seconds", "10", "--warmup", "2")
    shown = deployer(directory, "experiment", "run", "scale", *options, "--out", str(tmp_path / "out"), "--dry-run")
    assert shown.returncode == 0, shown.stderr
    assert "would measure scale label stable on 1, 2 replicas" in shown.stdout
    assert "rates: 50/s, 80/s, and up to 2 more; 3 records" in shown.stdout
    assert "at least 4 open-loop trials, 1m4s" in shown.stdout
    tried = deployer(directory, "experiment", "batching", "scale", "--records", file, "--batches", "1,8", "--dry-run")
    assert "each with 1, 8 records in a request" in tried.stdout
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_written_is_named_before_anything_is_measured(directory: Path, tmp_path: Path) -> None:
    file = records(tmp_path / "r.jsonl", {"record": {"a": 1, "b": 1}})
    shown = deployer(directory, "experiment", "run", "scale", "--records", file, "--out", f"{file}/out")
    assert shown.returncode == 2
    assert shown.stderr.startswith(f"error: {file}/out cannot be written\ncause: not a directory\n")


def test_logs_are_shown_by_process(directory: Path) -> None:
    assert "embedded model server" in deployer(directory, "local", "logs", "replica-0").stdout
    shown = deployer(directory, "local", "logs", "replica-7")
    assert shown.returncode == 2
    assert "gateway-0, replica-0, replica-1" in shown.stderr


def test_verbs_without_a_release_say_how_to_start_one(small_store: Path, tmp_path: Path) -> None:
    (tmp_path / "deployer.yaml").write_text(DESCRIPTION.format(store=small_store))
    shown = deployer(tmp_path, "status")
    assert shown.returncode == 6
    assert "hint: `deployer local up` starts it" in shown.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_foreground_release_ends_with_its_deployer(small_store: Path, tmp_path: Path, number: signal.Signals) -> None:
    if number == signal.SIGKILL and sys.platform != "linux":
        pytest.skip("only Linux ties processes to their parent")
    (tmp_path / "deployer.yaml").write_text(DESCRIPTION.format(store=small_store))
    state = tmp_path / "state"
    file, where = str(tmp_path / "deployer.yaml"), str(state)
    up = subprocess.Popen(
        command("local", "up", "-f", file, "--state-dir", where, "--foreground", "--replicas", "1", "-o", "json"),
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    eventually(lambda: (state / "state.json").exists() and recorded(state)["replicas"], "a replica")
    if number == signal.SIGTERM:  # the others arrive in the middle of the start
        eventually(lambda: recorded(state)["gateways"], "a gateway")
    found = recorded(state)
    started = [Running(pid=p["pid"], started=p["started"]) for p in found["replicas"] + found["gateways"]]
    assert all(process.alive() for process in started)
    os.kill(up.pid, number)
    up.communicate(timeout=60)
    assert up.returncode == {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGKILL: -9}[number]
    eventually(lambda: not any(process.alive() for process in started), "every process has ended")
    assert (state / "state.json").exists() == (number == signal.SIGKILL)


def recorded(state: Path) -> dict[str, Any]:
    """What the deployer remembers of its processes."""
    found: dict[str, Any] = json.loads((state / "state.json").read_text())
    return found


def test_an_experiment_past_the_gateway_takes_lines_with_inputs(directory: Path, tmp_path: Path) -> None:
    lines = [{"inputs": {"x": [n, 1, 2]}, "expected": n + 3} for n in range(4)]
    file, out = records(tmp_path / "t.jsonl", *lines), tmp_path / "out"
    short = ("--rates", "150", "--refine", "0", "--seconds", "0.5", "--warmup", "0.1", "--replicas", "2")
    options = (*short, "--p99", "60s", "--max-lag", "60s", "--direct", "--batch", "2", "--out", str(out), "-o", "json")
    shown = deployer(directory, "experiment", "run", "scale", "--records", file, *options)
    assert shown.returncode == 0, shown.stderr
    found = json.loads(shown.stdout)["result"]
    assert found["settings"]["through"].startswith("one gRPC channel to ")
    assert found["accuracy"] == 1.0
    assert found["capacities"][0]["rate"] == 150
    assert all(not trial["errors"] and trial["batch"] == 2 for trial in found["trials"])
    other = records(tmp_path / "r.jsonl", {"record": {"a": 1, "b": 1}})
    shown = deployer(
        directory,
        "experiment",
        "run",
        "scale",
        "--records",
        other,
        *short,
        "--direct",
        "--out",
        str(tmp_path / "other"),
    )
    assert shown.returncode == 3
    assert 'a model server needs lines with "inputs"' in shown.stderr
