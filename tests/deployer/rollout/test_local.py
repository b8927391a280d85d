"""Rollouts on real model servers and a real gateway, while requests keep coming: none of them may be lost."""

from __future__ import annotations

import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import requests
from eventually import eventually
from meanwhile import again_and_again
from paths import ROOT

from deployer.domain.rollout import Phase, Policy, RolloutRequest
from deployer.release import local, spec
from deployer.release.render.render import Choice
from deployer.rollout import files
from deployer.rollout.facts import version_facts
from deployer.rollout.rollouts import Rollouts
from deployer.rollout.status import rollout_status
from deployer.targets import proof
from deployer.targets.local.target import LocalTarget

GOOD, WRONG, BROKEN, CORRUPT = 3, 2, 4, 5
"""Versions beside 1: the same, one that returns twice as much, an unreadable one, one without graph."""

DESCRIPTION = """\
release: rolling
store: store
models: [scale]
serving: {replicas: 2, max_load_retries: 0}
"""
GATES = ("error_rate<5%", "p50<5s")


@pytest.fixture(scope="module")
def directory(small_store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """deployer.yaml, a store of five versions, and labelled records that version 1 answers right."""
    where = tmp_path_factory.mktemp("rolling")
    versions = where / "store" / "scale"
    shutil.copytree(small_store / "scale", versions)
    for version in (GOOD, BROKEN, CORRUPT):
        shutil.copytree(versions / "1", versions / str(version))
    features = versions / str(BROKEN) / "assets.extra" / "features.yaml"
    features.write_text(features.read_text().replace("output: {name: y", "output: {name: absent"))
    (versions / str(CORRUPT) / "saved_model.pb").write_bytes(b"half a model")
    (where / "deployer.yaml").write_text(DESCRIPTION)
    lines = [json.dumps({"record": {"a": a, "b": 1}, "expected": a + 1}) for a in range(1, 9)]
    (where / "holdout.jsonl").write_text("\n".join(lines))
    return where


@pytest.fixture(scope="module")
def target(directory: Path) -> Iterator[LocalTarget]:
    request = local.UpRequest(file=directory / "deployer.yaml", choices={"scale": Choice(versions=(1,))})
    target = local.up(request, lambda _: None).target
    yield target
    target.down(progress=lambda _: None)


@pytest.fixture(autouse=True)
def version_1_again(target: LocalTarget, directory: Path) -> Iterator[None]:
    yield
    verbs = rollouts(target, directory)
    if verbs.histories.read("scale").open is not None:
        verbs.abort()
    if files.state(files.current_config(target), "scale").labels["stable"] != 1:
        back = verbs.rollback(1, timeout=40)
        assert back.outcome == "rolled back", back.reason


def rollouts(target: LocalTarget, directory: Path, *, at_point: Callable[[str], None] = lambda _: None) -> Rollouts:
    release = spec.load(directory / "deployer.yaml")
    return Rollouts(
        target=target,
        histories=target.history(),
        model="scale",
        facts=lambda version: version_facts(target, release, "scale", version, lambda _: None),
        progress=lambda _: None,
        at_point=at_point,
    )


def request(to: int, **changes: Any) -> RolloutRequest:
    usual = RolloutRequest(to=to, shares=(50,), soak=2, gates=GATES, min_samples=10, timeout=60)
    return replace(usual, **changes)


Seen = Counter[tuple[int, int | str]]
"""Responses by status and version, or by the text of what is no prediction."""


@contextmanager
def traffic(target: LocalTarget, *, rate: float = 40, last: dict[int, float] | None = None) -> Iterator[Seen]:
    """Requests at a rate; the responses, by status and version, are complete when the context is left.

    `last` is told when each version answered the latest request.
    """
    url, over, turn = target.gateways()[0].url, threading.Event(), itertools.count()
    seen: Seen = Counter()
    lock, begun = threading.Lock(), time.monotonic()

    def work() -> None:
        with requests.Session() as session:
            while not over.is_set():
                with lock:
                    number = next(turn)
                time.sleep(max(0.0, begun + number / rate - time.monotonic()))
                body = {"version": "v1", "records": [{"a": number % 7, "b": 1}]}
                answer = session.post(f"{url}/v1/models/scale:predict", json=body, timeout=20)
                version: int | str = answer.json()["metadata"]["model_version"] if answer.ok else answer.text
                with lock:
                    seen[(answer.status_code, version)] += 1
                    if last is not None and isinstance(version, int):
                        last[version] = time.monotonic()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        over.set()
        for thread in threads:
            thread.join()


def none_failed(seen: Seen) -> bool:
    return {status for status, _ in seen} == {200}


def test_a_good_version_is_promoted_and_rolled_back_without_a_lost_request(
    target: LocalTarget, directory: Path
) -> None:
    verbs = rollouts(target, directory)
    with traffic(target) as seen:
        done = verbs.start(request(GOOD, shares=(20, 60), keep_previous=True))
        assert done.outcome == "promoted", done.reason
        assert files.state(files.current_config(target), "scale").labels == {"stable": GOOD}
        back = verbs.rollback()
        assert back.outcome == "rolled back", back.reason
        assert files.state(files.current_config(target), "scale").labels == {"stable": 1}
    assert none_failed(seen), seen
    assert {version for _, version in seen} == {1, GOOD}
    shown = rollout_status(target, verbs.histories, "scale", now=time.time())
    assert shown.release.missing == ()


def test_a_version_that_errors_is_rolled_back_and_stable_serves_its_requests(
    target: LocalTarget, directory: Path
) -> None:
    verbs = rollouts(target, directory)
    with traffic(target) as seen:
        done = verbs.start(request(BROKEN))
    assert (done.outcome, done.gate_failed) == ("aborted", True), done.reason
    assert "error_rate<5%: fail" in done.reason
    assert files.state(files.current_config(target), "scale") == done.base
    assert none_failed(seen), seen
    assert {version for _, version in seen} == {1}


def test_wrong_responses_are_found_before_any_traffic(target: LocalTarget, directory: Path) -> None:
    labelled = str(directory / "holdout.jsonl")
    with traffic(target) as seen:
        done = rollouts(target, directory).start(
            request(WRONG, gates=("accuracy>=0.9", "error_rate<5%"), labelled=labelled)
        )
    assert done.outcome == "aborted"
    assert "accuracy>=0.9: fail (0.00 % correct)" in done.reason
    assert none_failed(seen), seen
    assert {version for _, version in seen} == {1}


def test_wrong_responses_are_found_by_mirroring(target: LocalTarget, directory: Path) -> None:
    with traffic(target) as seen:
        done = rollouts(target, directory).start(request(WRONG, shares=(0, 50), gates=("disagreement<30%",)))
    assert done.outcome == "aborted"
    assert "judge 0 %: disagreement<30%: fail" in done.reason
    assert {version for _, version in seen} == {1}
    assert none_failed(seen), seen


def test_a_corrupt_version_is_named_and_taken_back(target: LocalTarget, directory: Path) -> None:
    with traffic(target) as seen:
        done = rollouts(target, directory).start(request(CORRUPT))
    assert done.outcome == "aborted"
    assert f"replica-0: version {CORRUPT} failed to load" in done.reason
    assert none_failed(seen), seen


def test_a_replica_dies_and_another_comes_during_a_rollout(target: LocalTarget, directory: Path) -> None:
    def disturb(point: str) -> None:
        if point == "label: proven recorded":
            victim = target.replicas()[1].pid
            assert victim is not None
            os.kill(victim, signal.SIGKILL)
        if point == "judge 50 %: begun recorded":
            target.scale(3, timeout=60, progress=lambda _: None)

    with traffic(target) as seen:
        done = rollouts(target, directory, at_point=disturb).start(request(GOOD))
        assert done.outcome == "promoted", done.reason
        assert len([replica for replica in target.replicas() if replica.alive]) == 3
    target.scale(2, timeout=60, progress=lambda _: None)
    assert none_failed(seen), seen


def held(target: LocalTarget) -> list[set[int]]:
    """The versions that each replica has in memory, or is loading or unloading."""
    config = files.one_model(target, "scale")
    found = []
    for replica in target.replicas():
        (served,) = proof.served(target, replica.name, config)
        found.append({version for version, state in served.versions.items() if state != "END"})
    return found


@contextmanager
def watched(target: LocalTarget) -> Iterator[Counter[int]]:
    """How often replicas were seen to hold so many versions at once."""
    seen: Counter[int] = Counter()
    with again_and_again(lambda: seen.update(map(len, held(target))), pause=0.05):
        yield seen


def test_a_rollback_from_the_command_line_loses_no_request_and_its_time_is_recorded(
    target: LocalTarget, directory: Path, record_property: Callable[[str, object], None]
) -> None:
    assert rollouts(target, directory).start(request(GOOD, shares=(), keep_previous=True)).outcome == "promoted"
    answered: dict[int, float] = {}
    with traffic(target, rate=80, last=answered) as seen:
        eventually(lambda: GOOD in answered, "a response of the good version")
        entered = time.monotonic()
        ran = deployer(directory, "rollback", "scale", "-o", "json")
        eventually(lambda: answered.get(1, 0.0) > answered[GOOD], "a response of version 1 after that")
    assert json.loads(ran.stdout)["result"]["outcome"] == "rolled back", ran.stderr
    assert none_failed(seen), seen
    record_property("seconds from Enter to the last answer of the bad version", round(answered[GOOD] - entered, 2))
    record_property("seconds until proven everywhere", round(time.monotonic() - entered, 2))


def test_sparing_resources_no_replica_holds_two_versions_and_no_request_is_lost(
    target: LocalTarget, directory: Path
) -> None:
    verbs = rollouts(target, directory)
    sparing = {"policy": Policy.RESOURCES, "shares": (30,)}
    # What a test before this one leaves may still be unloading.
    eventually(lambda: held(target) == [{1}, {1}], "version 1 alone on both replicas")
    with watched(target) as versions_at_once, traffic(target) as seen:
        done = verbs.start(request(GOOD, **sparing))
        assert done.outcome == "promoted", done.reason
        assert held(target) == [{GOOD}, {GOOD}]
        failed = verbs.start(request(BROKEN, **sparing))
        assert (failed.outcome, failed.gate_failed) == ("aborted", True), failed.reason
        damaged = verbs.start(request(CORRUPT, **sparing))
        assert damaged.outcome == "aborted", damaged.reason
        assert held(target) == [{GOOD}, {GOOD}]
        back = verbs.rollback(1)
        assert back.outcome == "rolled back", back.reason
    assert max(versions_at_once) == 1
    assert versions_at_once[0] > 0
    assert versions_at_once[1] > 0
    assert held(target) == [{1}, {1}]
    assert none_failed(seen), seen
    assert {version for _, version in seen} == {1, GOOD}
    assert rollout_status(target, verbs.histories, "scale", now=time.time()).release.missing == ()


def half_canary(target: LocalTarget) -> bool:
    return files.state(files.current_config(target), "scale").weights.get("canary") == 50


def deployer(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments), cwd=directory, env=environment(), capture_output=True, text=True, timeout=120
    )


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "deployer.cli", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def test_a_dry_run_from_the_command_line_says_what_would_be_done_and_touches_nothing(
    target: LocalTarget, directory: Path
) -> None:
    before = target.model_config(), target.gateway_config()
    gates = ("--gate", "size<100MB", "--gate", "p99<1s")
    ran = deployer(directory, "rollout", "start", "scale", "--to", str(GOOD), *gates, "--dry-run", "-o", "json")
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)["result"]
    assert [one["step"] for one in found["steps"]][:3] == ["check", "teach", "load"]
    assert found["steps"][-1]["after"]["labels"] == {"stable": GOOD}
    assert {one["gate"]: one["verdict"] for one in found["verdicts"]}["size<100MB"] == "pass"
    small = ("--gate", "size<1kB", "--gate", "p99<1s")
    refused = deployer(directory, "rollout", "start", "scale", "--to", str(GOOD), *small, "--dry-run")
    assert refused.returncode == 7
    assert "✗ size<1kB  fail" in refused.stdout
    back = deployer(directory, "rollback", "scale", "--to", str(GOOD), "--dry-run")
    assert (back.returncode, f"rollback from version 1 to version {GOOD}" in back.stdout) == (0, True), back.stderr
    assert (target.model_config(), target.gateway_config()) == before


def test_a_deployer_is_killed_and_another_one_takes_it_back(target: LocalTarget, directory: Path) -> None:
    arguments = ("rollout", "start", "scale", "--to", str(GOOD), "--steps", "50", "--soak", "60s", "--no-gates", "-q")
    first = subprocess.Popen(command(*arguments), cwd=directory, env=environment())
    verbs = rollouts(target, directory)
    eventually(lambda: half_canary(target), "half the traffic for canary")
    refused = deployer(directory, *arguments)
    assert refused.returncode == 6
    assert f"process {first.pid}" in refused.stderr
    first.kill()
    first.wait()
    shown = rollout_status(target, verbs.histories, "scale", now=time.time())
    assert (shown.phase, shown.killed) == (Phase.PROGRESSING, True)
    ended = deployer(directory, "rollout", "abort", "scale", "-o", "json")
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["result"]["outcome"] == "aborted"


def test_a_command_from_another_terminal_reaches_the_running_deployer(target: LocalTarget, directory: Path) -> None:
    arguments = ("rollout", "start", "scale", "--to", str(GOOD), "--steps", "50", "--soak", "60s", "--no-gates", "-q")
    first = subprocess.Popen(command(*arguments), cwd=directory, env=environment())
    eventually(lambda: half_canary(target), "half the traffic for canary")
    paused = deployer(directory, "rollout", "pause", "scale", "-o", "json")
    assert json.loads(paused.stdout)["result"]["phase"] == "Paused", paused.stderr
    assert first.wait(30) == 7
    assert deployer(directory, "rollout", "promote", "scale", "-q").returncode == 0
    assert files.state(files.current_config(target), "scale").labels == {"stable": GOOD}
    told = json.loads(deployer(directory, "rollout", "history", "scale", "-o", "json").stdout)["result"]
    assert told["rollout"]["phase"] == "Healthy"
    assert [entry["event"] for entry in told["entries"]][-1] == "proven"


@pytest.mark.parametrize(("version", "code"), [(GOOD, 0), (WRONG, 7)])
def test_the_recipe_for_pipelines_does_what_it_says(
    target: LocalTarget, directory: Path, version: int, code: int
) -> None:
    page = (ROOT / "docs" / "guides" / "canary-in-ci.md").read_text()
    found = re.search(r"deployer (rollout start .*?-o json) > rollout.json", page, re.DOTALL)
    assert found is not None
    recipe = found[1].replace("\\\n", " ")
    shorter = recipe.replace("30s", "2s").replace("--load-rate 20", "--load-rate 80").replace("iris", "scale")
    assert "2s" in shorter
    ran = deployer(
        directory, *shlex.split(shorter.replace("$VERSION", str(version)).replace("p99<1.5*stable", "p50<20*stable"))
    )
    assert ran.returncode == code, ran.stderr
    assert json.loads(ran.stdout)["result"]["phase"] == "Healthy"
