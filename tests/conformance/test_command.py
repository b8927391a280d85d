"""The command against the embedded server: falsified recordings are found, and its own are repeated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from paths import ROOT, SUPPORT

HERE = ROOT / "tests" / "conformance"
WITHOUT_MODELS = f"{sys.executable} {SUPPORT / 'replayed_server.py'}"

SHARED = {
    "rest-json-002": lambda a: a["json"].update(outputs=[3.0, 4.0]),
    "rest-json-003": lambda a: a["json"].update(predictions=[3, 3.5]),
    "rest-json-007": lambda a: a.update(status=200),
    "rest-json-009": lambda a: a["json"].update(error="Not an object"),
    "rest-route-001": None,
    "rest-route-004": None,
    "rest-route-017": lambda a: a["headers"].update({"content-type": "text/html"}),
    "grpc-predict-004": lambda a: a["response"]["outputs"]["y"].update(float_val=[2.0, 2.0, 2.1]),
    "grpc-predict-006": lambda a: a.update(message="tensor parsing error: y"),
    "grpc-predict-022": lambda a: a.update(code="INTERNAL"),
    "batch-001": None,
}
"""Cases that one server with the model H can answer, and how their recorded responses are falsified, if they are."""

ALONE = {
    "start-001": lambda a: a[0]["log_matches"].update(dict.fromkeys(a[0]["log_matches"], False)),
    "start-005": None,
    "lifecycle-021": lambda a: a[0].update(exit_code=1),
}
"""The same of cases that start a server each."""

FALSIFIED: dict[str, Callable[[Any], object] | None] = {**SHARED, **ALONE}
FAILING = {name for name, falsify in FALSIFIED.items() if falsify and name != "rest-route-017"}
"""A header alone fails only an exact replay."""


def written(file: Path, lines: list[dict[str, Any]]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")


def recordings(folder: Path, answers: dict[str, Any]) -> Path:
    """A folder of the chosen cases, those of shared servers with one that has only the model H, and these answers."""
    cases = []
    for file in sorted((HERE / "cases").glob("*.jsonl")):
        cases += [case for case in map(json.loads, file.read_text("utf-8").splitlines()) if case["id"] in FALSIFIED]
    written(
        folder / "cases" / "a.jsonl", [{**case, "scenario": "small" if case["id"] in SHARED else ""} for case in cases]
    )
    start = {"flags": ["--model_name=H", "--model_base_path={models}/H"]}
    (folder / "cases" / "scenarios.json").write_text(json.dumps({"small": {"setup": [], "start": start}}))
    (folder / "models").symlink_to(HERE / "models")
    written(folder / "recorded.jsonl", [{"id": name, "answer": answer} for name, answer in answers.items()])
    return folder


@dataclass(frozen=True, kw_only=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str


def replay(*words: str | Path) -> Done:
    path = f"{HERE}:{ROOT}"
    done = subprocess.run(
        [sys.executable, "-m", "replay", *words], env={**os.environ, "PYTHONPATH": path}, capture_output=True,
        text=True, timeout=170,
    )  # fmt: skip
    return Done(code=done.returncode, out=done.stdout, err=done.stderr)


def answers_of(file: Path) -> dict[str, Any]:
    lines = map(json.loads, file.read_text("utf-8").splitlines())
    return {line["id"]: line["answer"] for line in lines}


def real_answers() -> dict[str, Any]:
    return {name: answer for name, answer in answers_of(HERE / "recorded.jsonl").items() if name in FALSIFIED}


def test_falsified_responses_are_found_and_the_others_pass(tmp_path: Path) -> None:
    answers = real_answers()
    for name, falsify in FALSIFIED.items():
        if falsify is not None:
            falsify(answers[name])
    done = replay(recordings(tmp_path, answers), "--jobs", "2")
    shown = {line.split()[0] for line in done.out.splitlines() if "[" in line and line[0] != " "}
    assert shown == FAILING, done.out + done.err
    assert done.code == 1
    assert f"conformance: {len(FALSIFIED) - len(FAILING)} of {len(FALSIFIED)} cases pass" in done.out
    assert "header 1" in done.out
    assert "rest-json-009 [message]" in done.out
    assert '  .json.error: want "Not an object" got "JSON Value: [1, 2] Is not object"' in done.out
    # Only what time may decide is played again: the cases with a server of their own.
    assert "once more, 2 cases" in done.err


def test_responses_that_were_recorded_are_repeated(tmp_path: Path) -> None:
    folder = recordings(tmp_path, {})
    mine = folder / "recorded.jsonl"
    recorded = replay(folder, "--only", "^rest-json-00|^batch", "--record", mine)
    assert (recorded.code, recorded.out) == (0, "5 cases recorded\n"), recorded.err
    assert answers_of(mine) == {
        name: answer for name, answer in real_answers().items() if name.startswith(("rest-json", "batch"))
    }
    again = replay(folder, "--only", "^rest-json-00|^batch", "--exact", "--floor", "1")
    assert again.code == 0, again.out


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--only", "^nothing$"), "no case and no scenario has the pattern ^nothing$"),
        (("--server", "no-such-program {args}"), "there is no program no-such-program"),
        (("--known", "no-such-file"), "no-such-file"),
        (("no-such-folder",), "no-such-folder does not hold recordings"),
        (("--jobs", "many"), "invalid int value: 'many'"),
    ],
)
def test_a_wrong_command_line_says_why(words: tuple[str, ...], why: str) -> None:
    done = replay(*words)
    assert (done.code, done.out) == (2, "")
    assert why in done.err
    assert "Traceback" not in done.err


def test_cases_that_were_never_recorded_are_named(tmp_path: Path) -> None:
    done = replay(recordings(tmp_path, {}))
    assert done.code == 2
    assert f"no answers are recorded for {len(FALSIFIED)} cases" in done.err


@pytest.mark.parametrize(("words", "code"), [((), 1), (("--floor", "0"), 0)])
def test_known_failures_are_those_of_the_embedded_server(tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    folder = recordings(tmp_path, real_answers())
    (folder / "known.toml").write_text('[known]\nrest-json-003 = "a reason"\nrest-json-002 = "another"\n')
    done = replay(folder, "--only", "^rest-json-00[23]", "--server", f"{WITHOUT_MODELS} serves", *words)
    assert done.code == code, done.out
    assert "conformance: 0 of 2 cases pass, 0 known failures, 2 others" in done.out
    listed = replay(
        folder, "--only", "^rest-json-00[23]", "--server", f"{WITHOUT_MODELS} serves", "--known", folder / "known.toml"
    )
    assert listed.code == 0, listed.out
    assert "rest-json-003 is known to fail: a reason" in listed.out
