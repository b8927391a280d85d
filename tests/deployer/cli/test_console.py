"""Results on stdout, everything else on stderr; every error becomes text and an exit code in one place."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from deployer import errors
from deployer.cli.console import Console, Format, Table
from deployer.cli.verb import Verb, invoke


@dataclass(frozen=True, kw_only=True)
class Found:
    model: str
    versions: tuple[int, ...]
    accuracy: float | None = None


FOUND = Found(model="digits", versions=(1, 2))


def test_a_table_lines_up_and_shows_nothing_as_a_dash() -> None:
    table = Table(columns=("model", "version"), rows=[("digits", 1), ("tumor", None)])
    assert str(table) == "MODEL    VERSION\ndigits   1\ntumor    -"


@pytest.mark.parametrize(("output", "parse"), [(Format.JSON, json.loads), (Format.YAML, msgspec.yaml.decode)])
def test_documents_carry_the_envelope(
    output: Format, parse: Callable[[str], Any], capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console()
    console.configure(output=output)
    console.progress("looking")
    console.result("Found", FOUND, "unused")
    out, err = capsys.readouterr()
    said = parse(out)
    assert said["schemaVersion"] == "v1"
    assert said["kind"] == "Found"
    assert said["result"] == {"model": "digits", "versions": [1, 2], "accuracy": None}
    assert str(said["timestamp"])[4] == "-"
    assert err == "looking\n"


def test_quiet_silences_progress_but_neither_results_nor_errors(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    console.configure(quiet=True)
    console.progress("looking")
    console.result("Found", FOUND, lambda: "digits 1, 2")
    assert console.fail(errors.TargetError("no such release", hint="deployer local up")) == 6
    assert capsys.readouterr() == ("digits 1, 2\n", "error: no such release\nhint: deployer local up\n")


def test_an_error_shows_what_why_and_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    error = errors.ToolError("helm cannot be started", hint="install helm 3")
    error.__cause__ = OSError("no such file")
    assert Console().fail(error) == 5
    assert capsys.readouterr().err == "error: helm cannot be started\ncause: no such file\nhint: install helm 3\n"


def test_a_traceback_is_shown_only_when_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console()
    assert console.bug(KeyError("x")) == 1
    assert capsys.readouterr().err.splitlines()[-1].startswith("hint: this is a bug")
    console.configure(verbose=True)
    console.bug(KeyError("x"))
    assert capsys.readouterr().err.endswith("KeyError: 'x'\n")


def test_without_a_terminal_there_is_no_confirmation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    Console().confirm("Delete it?", yes=True)
    with pytest.raises(errors.UsageError, match="Delete it"):
        Console().confirm("Delete it?", yes=False)


def test_every_verb_takes_the_common_options(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[int] = []
    app = Verb()

    @app.command()
    def verb(times: int = 1) -> None:
        """Do it."""
        from deployer.cli.console import console

        seen.append(times)
        console.result("Times", times, str(times))

    assert invoke(app, ["verb", "--times", "3", "-o", "json", "-q"]) == 0
    assert seen == [3]
    assert json.loads(capsys.readouterr().out)["result"] == 3
    with pytest.raises(errors.UsageError, match="--hint"):
        invoke(app, ["verb", "--hint"])
