"""The one place that prints: results on stdout, progress and errors on stderr."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from deployer.errors import DeployerError, UsageError

if TYPE_CHECKING:
    from rich.status import Status

SCHEMA_VERSION = "v1"
_OUTPUT = re.compile(r"(?:^| )(?:-o|--output)[ =]?(table|json|yaml)\b")


class Format(StrEnum):
    """How a result is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows for a person, as `kubectl get` prints them; None prints as "-"."""

    columns: Sequence[str]
    rows: Sequence[Sequence[object]]

    def __str__(self) -> str:
        cells = [[column.upper() for column in self.columns]]
        cells += [["-" if cell is None else str(cell) for cell in row] for row in self.rows]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        return "\n".join(
            "   ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells
        )


class Console:
    """What a verb may print. One instance, `console`, serves the process."""

    def __init__(self) -> None:
        self.format = Format.TABLE
        self.quiet = False
        self.verbose = False
        self._status: Status | None = None
        self._current = ""

    def configure(self, *, output: Format = Format.TABLE, quiet: bool = False, verbose: bool = False) -> None:
        """Take the options that every verb has."""
        self.format, self.quiet, self.verbose = output, quiet, verbose
        if verbose:
            self._listen()

    def _listen(self) -> None:
        """Show the command lines that are run."""
        import logging

        log = logging.getLogger("deployer")
        log.setLevel(logging.DEBUG)
        if not log.handlers:
            handler = logging.Handler()
            handler.emit = lambda record: self.detail(record.getMessage())  # type: ignore[method-assign]
            log.addHandler(handler)

    def configure_from(self, argv: Sequence[str]) -> None:
        """Take -o and -v from a command line that may not parse, so that its error is shown in the right form."""
        output = _OUTPUT.search(" ".join(argv))
        self.configure(
            output=Format(output[1]) if output else Format.TABLE,
            quiet=bool({"-q", "--quiet"} & set(argv)),
            verbose=bool({"-v", "--verbose"} & set(argv)),
        )

    def result(self, kind: str, data: object, text: str | Table | Callable[[], str | Table]) -> None:
        """Print what a verb found: `text` for a person, or `data` (dataclasses, lists, numbers) inside the envelope.

        `kind` names the shape of `data`, for example "Status"; `text` may be a function, called only when needed.
        """
        self.close()
        if self.format is Format.TABLE:
            print(text() if callable(text) else text, flush=True)  # noqa: T201
        else:
            self._document({"kind": kind, "result": data})

    def progress(self, sentence: str) -> None:
        """Print progress on stderr; silent with -q. A spinner only on a terminal outside CI."""
        if self.quiet:
            return
        if self._status is None and not self._has_spinner():
            self._say(sentence)
            return
        if self._status is None:
            from rich.console import Console as RichConsole

            self._status = RichConsole(stderr=True, highlight=False).status(sentence)
            self._status.start()
        elif self._current:
            self._status.console.print(self._current, markup=False)
        self._current = sentence
        self._status.update(sentence.replace("[", r"\["))

    def update(self, sentence: str) -> None:
        """As `progress`, in the place of the sentence before it where there is a spinner."""
        self._current = ""
        self.progress(sentence)

    @property
    def moves(self) -> bool:
        """Whether sentences replace each other on a terminal, so that there may be several a second."""
        return self._has_spinner()

    def detail(self, sentence: str) -> None:
        """As `progress`, with -v only: command lines, paths, retries."""
        if self.verbose:
            self.progress(sentence)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Return if the user confirms or `yes` is set; else raise. Without a terminal there is no confirmation."""
        if yes:
            return
        if not sys.stdin.isatty():
            raise UsageError(
                f"{question} There is no terminal to confirm it on", hint="pass --yes to confirm it in advance"
            )
        self.close()
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise UsageError("not confirmed; nothing was changed")

    def close(self) -> None:
        """End the spinner and leave its last sentence on the screen."""
        if self._status is not None:
            self._status.stop()
            if self._current:
                self._say(self._current)
            self._status, self._current = None, ""

    def fail(self, error: DeployerError) -> int:
        """Print an error; return the exit code that belongs to it."""
        self._error(error.message, error.cause, error.hint, error.exit_code, type(error).__name__)
        if self.verbose and error.__cause__ is not None:
            self._traceback(error)
        return error.exit_code

    def stopped(self, how: str, *, exit_code: int) -> int:
        """Say that a signal ended the verb; return the exit code."""
        self._error(how, "", "", exit_code, "Interrupted")
        return exit_code

    def bug(self, error: Exception) -> int:
        """Print an unexpected exception; return exit code 1."""
        what = f"unexpected {type(error).__name__}: {error}".rstrip(": ")
        self._error(what, "", "this is a bug in deployer; -v shows the traceback to report", 1, type(error).__name__)
        if self.verbose:
            self._traceback(error)
        return 1

    def abandoned(self) -> int:
        """The reader of stdout has gone (`| head`): no message, and no second failure when the interpreter flushes."""
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1

    def _error(self, message: str, cause: str, hint: str, exit_code: int, kind: str) -> None:
        self.close()
        if self.format is not Format.TABLE:
            error = {"type": kind, "message": message, "cause": cause, "hint": hint, "exit_code": exit_code}
            self._document({"kind": "Error", "error": error})
            return
        for label, text in (("error", message), ("cause", cause), ("hint", hint)):
            if text:
                self._say(f"{label}: {text}")

    def _document(self, content: dict[str, object]) -> None:
        import msgspec

        envelope = {
            "schemaVersion": SCHEMA_VERSION,
            "tool": f"deployer {tool_version()}",
            "timestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            **content,
        }
        if self.format is Format.JSON:
            text = msgspec.json.format(msgspec.json.encode(envelope, enc_hook=str), indent=2).decode()
        else:
            text = msgspec.yaml.encode(msgspec.to_builtins(envelope, enc_hook=str)).decode().rstrip()
        print(text, flush=True)  # noqa: T201

    def _traceback(self, error: BaseException) -> None:
        import traceback

        self._say("".join(traceback.format_exception(error)).rstrip())

    def _say(self, text: str) -> None:
        print(text, file=sys.stderr, flush=True)  # noqa: T201

    def _has_spinner(self) -> bool:
        return sys.stderr.isatty() and os.environ.get("CI", "").lower() not in ("true", "1") and not self.verbose


def tool_version() -> str:
    """The version of the installed distribution, "unknown" when run from a tree that is not installed."""
    from importlib import metadata

    try:
        return metadata.version("tfserving-deployer")
    except metadata.PackageNotFoundError:
        return "unknown"


console = Console()
