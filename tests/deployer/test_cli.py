"""The command line as a user meets it: help, version, exit codes, and what starting up costs."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module

import pytest
import typer

from deployer.cli import __main__ as cli
from deployer.cli.verb import duration


def deployer(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deployer.cli", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_help_names_every_verb_and_version_is_one_line():
    shown = deployer("--help")
    assert shown.returncode == 0
    for verb, text in cli.VERBS.items():
        assert f"  {verb} " in shown.stdout
        assert text in shown.stdout
    version = deployer("--version")
    assert version.returncode == 0
    assert version.stdout.startswith("deployer ")
    assert version.stdout.count("\n") == 1


def test_top_level_help_imports_nothing_heavy():
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "deployer.cli", "--help"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    imported = {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in ran.stderr.splitlines() if "|" in line}
    assert not imported & {"typer", "rich", "msgspec", "yaml", "numpy", "grpc", "requests", "jinja2", "tensorflow"}


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_verb_says_of_itself_what_the_table_says(verb):
    command = typer.main.get_command(import_module(f"deployer.cli.{verb}").app)
    assert command.help.strip().splitlines()[0] == cli.VERBS[verb]


def test_no_verb_shows_the_help_and_is_a_usage_error():
    ran = deployer()
    assert ran.returncode == 2
    assert "Usage: deployer VERB" in ran.stdout


def test_an_unknown_verb_is_three_readable_lines_and_exit_2():
    ran = deployer("deploi")
    assert ran.returncode == 2
    assert ran.stdout == ""
    assert ran.stderr == "error: there is no verb 'deploi'\nhint: `deployer --help` lists the verbs\n"


def test_an_unknown_option_in_json_is_an_object_on_stdout():
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
def test_durations(text, seconds):
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "m", "5x", "5m3", "-1", "nan", "inf", "1d"])
def test_what_is_no_duration_is_refused(text):
    with pytest.raises(typer.BadParameter, match="not a duration"):
        duration(text)
