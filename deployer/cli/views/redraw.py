"""A text that is drawn again in place, on a terminal."""

from __future__ import annotations

import os
import shutil
import sys

from deployer.cli.console import Format, console


class LiveText:
    """Text on stdout that the next one replaces."""

    def __init__(self) -> None:
        self._lines = 0

    @property
    def possible(self) -> bool:
        """Whether stdout is a terminal."""
        in_ci = os.environ.get("CI", "").lower() in ("true", "1")
        return sys.stdout.isatty() and console.format is Format.TABLE and not in_ci

    def show(self, text: str) -> None:
        """Replace what is there. Lines are cut to the width of the terminal, and the text to its height."""
        width, height = shutil.get_terminal_size()
        lines = [line[: width - 1] for line in text.splitlines()][: height - 1]
        sys.stdout.write(self._up() + "".join(f"{line}\x1b[K\n" for line in lines) + "\x1b[J")
        sys.stdout.flush()
        self._lines = len(lines)

    def clear(self) -> None:
        """Take it away, for something that stays."""
        if self._lines:
            sys.stdout.write(self._up() + "\x1b[J")
            sys.stdout.flush()
            self._lines = 0

    def _up(self) -> str:
        return f"\x1b[{self._lines}F" if self._lines else ""
