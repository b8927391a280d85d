"""`deployer completion`."""

from __future__ import annotations

from typing import Annotated

import typer

from deployer.cli.completion import Shell, print_script
from deployer.cli.verb import Verb

app = Verb()


@app.command()
def completion(shell: Annotated[Shell, typer.Argument(metavar="SHELL", help="bash, zsh or fish.")]) -> int:
    """Print the script that completes verbs, options, models, versions and labels in a shell.

    bash: add `source <(deployer completion bash)` to ~/.bashrc.

    zsh: write it to a file named _deployer in a folder of $fpath.

    fish: write it to ~/.config/fish/completions/deployer.fish.
    """
    from deployer.cli.__main__ import COMPLETION
    from deployer.cli.verbs import VERBS

    return print_script(shell, VERBS, COMPLETION)
