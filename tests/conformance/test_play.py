"""Servers as processes, and the steps of cases, against a server without models."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from eventually import eventually
from paths import ROOT, SUPPORT
from processes import running_from
from replay.cases import Answer, Case, Json, Recordings, Scenario, load
from replay.play import Player, Settings, play
from replay.server import command_line
from replay.steps import step_of

SERVER = f"{sys.executable} {SUPPORT / 'replayed_server.py'}"
START: Answer = {"op": "start", "flags": ["--mark={work}"], "limit": 30}


def settings(way: str = "serves", **changes: Any) -> Settings:
    return Settings(**{"server": f"{SERVER} {way} {{args}}", "jobs": 1, **changes})


@pytest.fixture
def player(tmp_path: Path) -> Iterator[Player]:
    made = Player(tmp_path, settings())
    yield made
    made.close()
    assert not made.workspace.work.exists()
    nothing_runs_from(made.workspace.work)


def nothing_runs_from(folder: Path) -> None:
    eventually(lambda: not running_from(folder), lambda: f"an end of {running_from(folder)}")


def get(path: str) -> Answer:
    return {"op": "rest", "rest": {"path": path}}


def body_of(answer: Json) -> Answer:
    assert isinstance(answer, dict)
    assert isinstance(answer["json"], dict)
    return answer["json"]


def without_time(answer: Json) -> Answer:
    assert isinstance(answer, dict)
    assert isinstance(answer.pop("elapsed"), int)
    return answer


def case(name: str, *steps: Json, scenario: str | None = None, ignore: str | None = None) -> Case:
    return Case(
        id=name, note="", scenario=scenario, steps=steps, sequence=scenario is None,
        ignore=(re.compile(ignore),) if ignore else (), has_limit=False,
    )  # fmt: skip


def played(cases: list[Case], chosen: Settings, *, setup: tuple[Json, ...] = ()) -> dict[str, Json]:
    scenario = Scenario(setup=setup, start=START, after_start=({"op": "wait", "model": "m", "states": {}},))
    recordings = Recordings(models=ROOT, cases=tuple(cases), scenarios={"shared": scenario}, answers={})
    answers: dict[str, Json] = {}
    play(recordings, cases, chosen, lambda one, answer: answers.update({one.id: answer}))
    return answers


def test_flags_stand_where_the_template_says_or_last() -> None:
    assert command_line("serve 'a b' {args} --last", ["--x=1", "--y"]) == ["serve", "a b", "--x=1", "--y", "--last"]
    assert command_line("serve", ["--x=1"]) == ["serve", "--x=1"]


STARTED: dict[str, Answer] = {
    "serves": {"result": "ready", "log_matches": {"way: serves": True, "no such": False}},
    "fails": {
        "result": "exit", "exit_code": 255, "message": "no models",
        "stdout_matches": {"^usage": False, "Error": True},
        "log_matches": {"way: serves": False, "no such": False},
    },
    "half": {
        "result": "not ready", "open": {"grpc": True, "rest": False},
        "log_matches": {"way: serves": False, "no such": False},
    },
}  # fmt: skip


@pytest.mark.parametrize("way", STARTED)
def test_a_start_tells_what_became_of_it(tmp_path: Path, way: str) -> None:
    with closing(Player(tmp_path, settings(way))) as player:
        # What is not ready is so after any limit: a slow machine is given a longer one until one port is open.
        for limit in (1, 4, 16, 64) if way == "half" else (60,):
            patterns: Answer = {"log": ["way: serves", "no such"], "stdout": ["^usage", "Error"]}
            answer = player.step({**START, "limit": limit, **patterns})
            if answer == STARTED[way]:
                break
        assert answer == STARTED[way]
        assert player.server.alive == (way != "fails")
    nothing_runs_from(player.workspace.work)


def test_nothing_is_left_of_a_server_that_does_not_end(tmp_path: Path) -> None:
    ending = Event()
    with closing(Player(tmp_path, settings("stays", ending=ending))) as player:
        assert player.step(START) == {"result": "ready"}
        work = player.workspace.work
        eventually(lambda: len(running_from(work)) == 2, "a server and its child")
        ending.set()  # without the five seconds that a server has
    nothing_runs_from(work)


def test_steps_change_files_at_once(player: Player) -> None:
    work = player.workspace.work
    steps: tuple[Answer, ...] = (
        {"op": "write", "file": "{work}/a/config", "text": "at {work}"},
        {"op": "copy", "from": "{work}/a", "to": "{work}/base/1"},
        {"op": "copy", "from": "{work}/a/config", "to": "{work}/base/1/deep/file"},
        {"op": "rename", "from": "{work}/base/1", "to": "{work}/base/2"},
        {"op": "mkdir", "dir": "{work}/base/3/empty"},
        {"op": "overwrite", "from": "{work}/a", "to": "{work}/base/3"},
        {"op": "write", "file": "{work}/gone", "text": {"b64": "//4="}},
        {"op": "remove", "dir": "{work}/gone"},
        {"op": "remove", "dir": "{work}/a"},
        {"op": "remove", "dir": "{work}/never/there"},
    )
    for step in steps:
        assert player.step(step) is None
    files = {str(file.relative_to(work)): file.read_text() for file in work.rglob("*") if file.is_file()}
    assert files == {"base/2/config": f"at {work}", "base/2/deep/file": f"at {work}", "base/3/config": f"at {work}"}
    assert {folder.name for folder in work.iterdir()} == {"base"}


def test_steps_of_a_running_server(player: Player) -> None:
    assert player.step(START) == {"result": "ready"}
    assert player.step({"op": "alive"}) == {"alive": True}
    assert player.step({"op": "states", "model": "m"}) == {"states": {"1": "AVAILABLE"}}
    assert player.step({"op": "states", "model": "../missing"}) == {"states": {}}
    waited = player.step({"op": "wait", "model": "m", "states": {"1": "AVAILABLE"}})
    assert without_time(waited) == {"reached": True, "states": {"1": "AVAILABLE"}}
    never = player.step({"op": "wait", "model": "m", "states": {"1": "END"}, "limit": 0.1})
    assert never == {"reached": False, "states": {"1": "AVAILABLE"}}
    before = body_of(player.step(get("/count")))
    assert body_of(player.step(get("/count"))) == {"asked": int(str(before["asked"])) + 1}
    late = player.step({"op": "wait_answer", "want": 404, "rest": {"path": "/missing"}})
    assert without_time(late)["status"] == 404
    assert player.step(get("/die")) == {"closed": True}
    assert player.step({"op": "wait_exit", "limit": 30}) == {"exit": 3}
    assert player.step({"op": "alive"}) == {"alive": False}
    assert player.step(get("/count")) == {"refused": True}
    call: Answer = {"op": "grpc", "grpc": {"method": "/tensorflow.serving.PredictionService/Predict"}}
    assert player.step(call) == {"code": "UNAVAILABLE", "message": "<client side>"}
    assert player.step({"op": "stop"}) is None
    assert player.step({"op": "wait_exit", "limit": 0.1}) == {"exit": None}


def test_a_burst_tells_its_different_responses(player: Player) -> None:
    player.step(START)
    groups: list[Json] = [
        {"count": 3, "label": "good", "rest": {"path": "/v1/models/m"}},
        {"count": 2, "label": "bad", "rest": {"path": "/missing"}},
    ]
    burst: Answer = {"op": "burst", "groups": groups}
    told = player.step(burst)
    assert isinstance(told, dict)
    assert told["good"] == [{"status": 200}]
    assert isinstance(told["bad"], list)
    assert all(isinstance(bad, dict) and bad["status"] == 404 for bad in told["bad"])
    counted = player.step({**burst, "report": "counts"})
    assert isinstance(counted, dict)
    assert counted["good"] == [{"n": 3, "answer": {"status": 200}}]


def test_a_request_in_the_background_tells_its_changes(player: Player) -> None:
    player.step(START)
    player.step({"op": "background", "name": "b", "rest": {"path": "/v1/models/m"}})
    own = count(1)
    eventually(lambda: int(str(body_of(player.step(get("/count")))["asked"])) > next(own), "requests in the background")
    player.step(get("/die"))
    player.step({"op": "wait_exit", "limit": 30})
    told = player.step({"op": "background_stop", "name": "b"})
    assert isinstance(told, dict)
    assert isinstance(told["changes"], list)
    assert told["changes"][0] == {"status": 200}
    assert told["changes"][-1] == {"refused": True}
    assert told["failures"] == told["changes"][1:]


def test_what_differs_between_two_runs_is_not_in_a_response(player: Player) -> None:
    work, models = player.workspace.work, player.workspace.models
    said: list[Json] = [f"{work}/x {models}/m 127.0.0.1:8500 {{{{node a/b}}}}"]
    assert player.workspace.plain(said) == ["<work>/x <models>/m 127.0.0.1:<port> {{node *}}"]


def test_a_step_that_nobody_knows_concerns_its_case_only() -> None:
    answers = played([case("a-1", {"op": "dance"}), case("a-2", START, get("/count"))], settings())
    assert isinstance(answers["a-1"], dict)
    assert "Invalid value 'dance'" in str(answers["a-1"]["harness_error"])
    assert isinstance(answers["a-2"], list)
    started, response = answers["a-2"]
    assert started == {"result": "ready"}
    assert body_of(response) == {"asked": 1}


def test_a_server_that_dies_is_named_and_started_again() -> None:
    cases = [case(f"a-{n}", get(path), scenario="shared") for n, path in enumerate(("/count", "/die", "/count"))]
    answers = played(cases, settings())
    assert answers["a-1"] == {"closed": True, "server_died": True}
    # The first request of each server is that of `after_start`.
    assert [body_of(answers[name]) for name in ("a-0", "a-2")] == [{"asked": 2}, {"asked": 2}]


def test_cases_of_a_server_that_does_not_start_are_not_played() -> None:
    cases = [case(f"a-{n}", get("/count"), scenario="shared") for n in range(2)]
    rename: Answer = {"op": "rename", "from": "{work}/a", "to": "{work}/b"}
    chosen: Settings
    setup: tuple[Json, ...]
    for chosen, setup, why in (
        (settings("fails"), (), "'exit_code': 255"),
        (settings(), (rename,), "FileNotFoundError"),
    ):
        answers = played(cases, chosen, setup=setup)
        assert len(answers) == 2
        assert all(why in str(answer) and "harness_error" in str(answer) for answer in answers.values())


def test_every_step_of_the_recordings_is_known() -> None:
    recordings = load(ROOT / "tests" / "conformance")
    steps = [step for one in recordings.cases for step in one.steps]
    for scenario in recordings.scenarios.values():
        steps += [*scenario.setup, scenario.start, *scenario.after_start]
    assert len({type(step_of(step)) for step in steps}) == 16


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_replay_and_its_servers(tmp_path: Path, sent: signal.Signals) -> None:
    cases = tmp_path / "cases"
    cases.mkdir()
    (cases / "scenarios.json").write_text("{}")
    (cases / "a.jsonl").write_text(
        '{"id": "a-1", "kind": "sequence", "steps": [{"op": "start", "flags": ["--mark=MARK"]}, '
        '{"op": "sleep", "seconds": 600}]}\n'.replace("MARK", str(tmp_path))
    )
    (tmp_path / "recorded.jsonl").write_text('{"id": "a-1", "answer": []}\n')
    with subprocess.Popen(
        [sys.executable, "-m", "replay", str(tmp_path), "--server", f"{SERVER} serves"],
        env={**os.environ, "PYTHONPATH": f"{ROOT / 'tests' / 'conformance'}:{ROOT}"},
    ) as replay:
        eventually(lambda: any("--mark=" in line for line in running_from(tmp_path)), "a server of the replay")
        replay.send_signal(sent)
        assert replay.wait(60) == 130
    nothing_runs_from(tmp_path)
