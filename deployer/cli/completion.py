"""Shell completion: the script for a shell, and the reply to each press of Tab."""

from __future__ import annotations

import os
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import typer

from deployer.cli.verb import command_of
from deployer.cli.verbs import app_of


class Shell(StrEnum):
    """A shell with completion."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def print_script(shell: Shell, verbs: Mapping[str, str], variable: str) -> int:
    """Print the script that the shell runs once, and which sets `variable` when it asks; return the exit code."""
    os.environ[variable] = f"source_{shell}"
    return print_completions(verbs, variable)


def print_completions(verbs: Mapping[str, str], variable: str) -> int:
    """Print what can follow the command line that the shell has put into the environment; return the exit code.

    Only the verb on that command line is imported: each press of Tab starts a process.
    """
    app = typer.Typer(add_completion=True, rich_markup_mode=None)
    for name, text in verbs.items():
        app.command(name, help=text)(lambda: None)
    root: Any = typer.main.get_command(app)
    root.params = []  # without Typer's --install-completion, which edits the user's files
    words = f"{os.environ.get('COMP_WORDS', '')} {os.environ.get('_TYPER_COMPLETE_ARGS', '')}".split()
    if verb := next((word for word in words[1:2] if word in verbs), None):
        root.commands[verb] = command_of(app_of(verb), verb)
    try:
        root.main(args=[], prog_name="deployer", complete_var=variable)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 0
    return 0
