"""The command line as a user meets it: help, version, exit codes, and what starting up costs."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer

from deployer.cli.examples import EXAMPLES
from deployer.cli.verb import command_of, duration, duration_text
from deployer.cli.verbs import VERBS, app_of


def deployer(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deployer.cli", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_help_names_every_verb_and_version_is_one_line() -> None:
    shown = deployer("--help")
    assert shown.returncode == 0
    for verb, text in VERBS.items():
        assert f"  {verb} " in shown.stdout
        assert text in shown.stdout
    version = deployer("--version")
    assert version.returncode == 0
    assert version.stdout.startswith("deployer ")
    assert version.stdout.count("\n") == 1


def test_top_level_help_imports_nothing_heavy() -> None:
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "deployer.cli", "--help"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in ran.stderr.splitlines() if "|" in line}
    assert not imported & {"typer", "rich", "msgspec", "yaml", "numpy", "grpc", "requests", "jinja2", "tensorflow"}


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_says_of_itself_what_the_table_says(verb: str) -> None:
    command = typer.main.get_command(app_of(verb))
    assert (command.help or "").strip().splitlines()[0] == VERBS[verb]


def leaves(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command below one, by name."""
    nested = getattr(command, "commands", {})
    if not nested:
        yield name, command
    for child, below in nested.items():
        yield from leaves(below, f"{name} {child}")


COMMANDS = dict(leaf for verb in VERBS for leaf in leaves(command_of(app_of(verb), verb), verb))


def test_every_command_has_an_example_and_no_example_is_of_another() -> None:
    assert set(EXAMPLES) == set(COMMANDS)


@pytest.mark.parametrize(("name", "line"), [(name, line) for name, lines in EXAMPLES.items() for line in lines])
def test_an_example_is_shown_and_can_be_called_as_it_stands(name: str, line: str) -> None:
    words = shlex.split(line)
    assert words[: 1 + len(name.split())] == ["deployer", *name.split()]
    with COMMANDS[name].make_context(name, words[1 + len(name.split()) :]) as context:
        assert f"  {line}\n" in context.get_help() + "\n"


ACTING = [
    *("init", "export", "models prune", "publish", "render", "local up", "local down", "cluster up", "cluster down"),
    *("deploy", "experiment run", "experiment batching"),
]


@pytest.mark.parametrize("name", ACTING)
def test_a_verb_that_acts_can_be_asked_what_it_would_do(name: str) -> None:
    assert "--dry-run" in {option for parameter in COMMANDS[name].params for option in parameter.opts}


def test_help_shows_durations_as_they_are_written() -> None:
    shown = deployer("rollout", "start", "--help").stdout
    assert "[default: 2m]" in " ".join(shown.split())
    assert "Examples:" in deployer("models", "--help").stdout


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (90, "1m30s"), (0.25, "0.25s"), (5400, "1h30m"), (300, "5m")])
def test_a_duration_is_spelled_as_it_is_read(seconds: float, text: str) -> None:
    assert duration_text(float(seconds)) == text
    assert duration(text) == seconds


def test_no_verb_shows_the_help_and_is_a_usage_error() -> None:
    ran = deployer()
    assert ran.returncode == 2
    assert "Usage: deployer VERB" in ran.stdout


def test_an_unknown_verb_is_three_readable_lines_and_exit_2() -> None:
    ran = deployer("deploi")
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == "error: there is no verb 'deploi'\nhint: did you mean `deployer deploy`?\n"


def test_a_verb_like_no_other_is_referred_to_the_list() -> None:
    assert deployer("xyzzy").stderr.endswith("hint: `deployer --help` lists the verbs\n")


def test_a_misspelled_verb_of_a_group_names_the_nearest() -> None:
    assert "did you mean 'start'" in deployer("rollout", "strt").stderr.lower()


def test_help_of_a_verb_can_be_asked_for_in_front() -> None:
    assert deployer("help", "rollout", "start").stdout == deployer("rollout", "start", "--help").stdout


def test_an_option_before_the_verb_is_an_error_that_says_where_it_goes() -> None:
    ran = deployer("-v", "status")
    assert ran.returncode == 2
    assert ran.stderr == "error: -v comes before the verb\nhint: options come after it: `deployer VERB -o json`\n"


def test_an_unknown_option_in_json_is_an_object_on_stdout() -> None:
    ran = deployer("status", "--nonsense", "-o", "json")
    assert ran.returncode == 2
    said = json.loads(ran.stdout)
    assert said["schemaVersion"] == "v1"
    assert said["tool"].startswith("deployer ")
    assert said["error"]["exit_code"] == 2
    assert "--nonsense" in said["error"]["message"]
    assert "deployer status --help" in said["error"]["hint"]


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("5m", 300), ("1m30s", 90), ("250ms", 0.25), ("1.5h", 5400), ("7", 7)]
)
def test_durations(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "m", "5x", "5m3", "-1", "nan", "inf", "1d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="not a duration"):
        duration(text)
