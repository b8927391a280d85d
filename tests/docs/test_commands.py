"""Every command line in the docs can be called as it stands there, and every option that a page names exists."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Any

import pytest
from markdown_pages import Page, pages
from paths import ROOT
from replay.__main__ import arguments

from bench.soak import command_line as soak_line
from deployer.cli.__main__ import OPTIONS
from deployer.cli.verb import command_of
from deployer.cli.verbs import VERBS, app_of
from gateway.__main__ import command_line
from tfserving.flags import FLAGS, parse

STAND_INS = {"$VERSION": "2", "…": "x"}
"""What a page writes for a value, and a value."""
PROGRAM = re.compile(r"(?:run: |\$ |- )*((?:deployer|python -m (?:gateway|tfserving\.server)) .*)")
OTHERS = ("docker", "helm", "kubectl", "pip", "pytest", "scripts/cluster-test", "--again", "--build-arg", "--network")
"""Code spans that begin so are about other programs."""

PAGES = pages()


def lines_of(page: Page) -> Iterator[str]:
    """Every command line of ours in the fenced blocks of a page, continued lines joined."""
    for _, block in page.blocks:
        for line in block.replace("\\\n", " ").splitlines():
            found = PROGRAM.fullmatch(line.strip())
            if found:
                yield re.split(r" \|\|? | && | > | *# |;", found[1])[0]


LINES = [(page, line) for page in PAGES for line in lines_of(page)]


@pytest.mark.parametrize(("page", "line"), LINES, ids=lambda value: str(getattr(value, "path", value))[-60:])
def test_a_command_in_the_docs_can_be_called_as_it_stands(page: Page, line: str) -> None:
    for stands, value in STAND_INS.items():
        line = line.replace(stands, value)
    words = shlex.split(line)
    if words[0] == "python":
        arguments, module = words[3:], words[2]
        if module == "gateway":
            command_line().parse_args(arguments)
        else:
            assert not (told := parse(arguments)).unknown, told.unknown
            assert not told.error
    elif words[1] in ("--help", "--version"):
        assert len(words) == 2
    else:
        command, arguments = command_at(words[1:])
        with command.make_context("deployer", arguments):  # raises for what it does not know
            pass


def test_enough_commands_were_found() -> None:
    assert len(LINES) > 50


def command_at(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words lead to, and the words that are left."""
    assert words[0] in VERBS, f"there is no verb {words[0]}"
    command = command_of(app_of(words[0]), words[0])
    rest = words[1:]
    while nested := getattr(command, "commands", {}):
        assert rest, "names a group and no command of it"
        assert rest[0] in nested, f"{rest[0]} is no command of {words[0]}"
        command, rest = nested[rest[0]], rest[1:]
    return command, rest


def options_of(command: Any) -> Iterator[str]:
    """Every spelling of the options of a command and of those below it."""
    for parameter in command.params:
        yield from (*parameter.opts, *parameter.secondary_opts)
    for nested in getattr(command, "commands", {}).values():
        yield from options_of(nested)


def known_options() -> set[str]:
    """Every option of any program of ours."""
    verbs = (command_of(app_of(verb), verb) for verb in VERBS)
    own = {option for verb in verbs for option in options_of(verb)}
    common = {option for group in OPTIONS for option in group.split(", ")}
    gateway = {option for action in command_line()._actions for option in action.option_strings}
    replayer = {option for action in arguments()._actions for option in action.option_strings}
    soak = {option for action in soak_line()._actions for option in action.option_strings}
    return own | common | gateway | replayer | soak | {f"--{flag}" for flag in FLAGS}


def test_every_option_that_a_page_names_exists() -> None:
    known = known_options()
    unknown = {
        f"{page.path.relative_to(ROOT)}: {code}"
        for page in PAGES
        for code in page.codes
        if not code.startswith(OTHERS)
        for option in re.findall(r"(?<![\w-])--[a-z][\w-]*", code)
        if option not in known
    }
    assert unknown == set()


def test_every_verb_that_a_page_names_exists() -> None:
    for page in PAGES:
        for code in page.codes:
            if code.startswith("deployer ") and not code.endswith((".yaml", ":")):
                words = [word for word in code.split()[1:] if re.fullmatch(r"[a-z]+", word)]
                assert words == [] or words[0] in VERBS, f"{page.path.relative_to(ROOT)}: {code}"
