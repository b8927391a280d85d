"""What every verb shares: the options that all of them take, and how a command line reaches its function."""

from __future__ import annotations

import functools
import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from deployer.cli import candidates
from deployer.cli.console import Format, console
from deployer.cli.examples import examples
from deployer.cli.options.group import OptionGroup, flattened
from deployer.errors import UsageError

DURATION = "DURATION"
"""Metavar of every option that takes one."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)")


def duration(text: str | float) -> float:
    """Seconds of "90s", "5m", "1m30s", "250ms"; a bare number is seconds. Typer passes defaults through here, too."""
    if isinstance(text, float):
        return text
    parts = _DURATION.findall(text)
    if parts and "".join(number + unit for number, unit in parts) == text:
        return float(sum(float(number) * _UNITS[unit] for number, unit in parts))
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1
    if not 0 <= seconds < float("inf"):
        raise typer.BadParameter(f"{text!r} is not a duration; write 90s, 5m or 1h30m")
    return seconds


def duration_text(seconds: float) -> str:
    """Seconds as `duration` reads them back and a person would write them: 5400.0 -> "1h30m"."""
    if seconds % 1:
        return f"{seconds:g}s"
    whole, parts = int(seconds), []
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        if whole >= size:
            parts.append(f"{whole // size}{unit}")
            whole %= size
    return "".join(parts) or "0s"


File = Annotated[Path, typer.Option("-f", "--file", help="The deployer.yaml of the release.", show_default=True)]
Timeout = Annotated[float, typer.Option("--timeout", parser=duration, metavar=DURATION, help="Maximum time to wait.")]
NewTimeout = Annotated[
    float | None,
    typer.Option(
        "--timeout",
        parser=duration,
        metavar=DURATION,
        help="Maximum time to wait; by default as when the rollout started.",
    ),
]
ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="Name of the model.", autocompletion=candidates.models)]
Kubeconfig = Annotated[str, typer.Option("--kubeconfig", help="Kubeconfig file; by default kubectl's.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would be done; change nothing.")]
Yes = Annotated[bool, typer.Option("-y", "--yes", help="Do not ask for confirmation.")]


@dataclass(frozen=True, kw_only=True)
class CommonOptions(OptionGroup):
    """What every verb takes."""

    output: Annotated[Format, typer.Option("-o", "--output", help="Format of the result.")] = Format.TABLE
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress on stderr.")] = False
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="More detail on stderr, with tracebacks.")] = False


@dataclass(frozen=True, kw_only=True)
class _BesideOutput(CommonOptions):
    """As `CommonOptions`, for a verb whose own `--output` names what it writes."""

    output: Annotated[Format, typer.Option("-o", help="Format of the result.")] = Format.TABLE


class Verb(typer.Typer):
    """A Typer application whose commands all take -o, -q and -v; their functions need not know.

    A verb of one command is that command; with `group=True` its commands are called by name (`deployer models list`).
    """

    def __init__(self, *, group: bool = False, help: str | None = None) -> None:
        super().__init__(
            add_completion=False,
            rich_markup_mode=None,
            pretty_exceptions_enable=False,
            context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
            help=help,
        )
        if group:
            self.callback()(lambda: None)

    def command(  # type: ignore[override]  # the settings are Typer's, passed on as they are
        self, name: str | None = None, **settings: Any
    ) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register a function, as Typer does, with the common options added to it."""
        register = super().command(name, **settings)

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            register(flattened(_with_common_options(function)))
            return function

        return decorate


def _with_common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    own = inspect.signature(function, eval_str=True)
    options = (
        _BesideOutput if any(_declares(p.annotation, "--output") for p in own.parameters.values()) else CommonOptions
    )
    common = inspect.Parameter("common", inspect.Parameter.KEYWORD_ONLY, annotation=options)

    @functools.wraps(function)
    def run(*, common: CommonOptions, **arguments: Any) -> Any:
        console.configure(output=common.output, quiet=common.quiet, verbose=common.verbose)
        return function(**arguments)

    parameters = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own.parameters.values()]
    run.__signature__ = own.replace(parameters=[*parameters, common])  # type: ignore[attr-defined]
    return run


def _declares(annotation: Any, option: str) -> bool:
    """Whether a parameter is that option. The first name of an option stands where Typer expects a default."""
    return any(
        option in (getattr(marker, "default", None), *(getattr(marker, "param_decls", None) or ()))
        for marker in getattr(annotation, "__metadata__", ())
    )


_TyperUsageError: type[typer.BadParameter] = typer.BadParameter.__mro__[1]
"""Bad option, missing argument and so on; Typer exports only this one member of the family by name."""


def command_of(app: typer.Typer, verb: str) -> Any:
    """The command that an application is, with examples in its help, and durations in it as a person writes them."""
    command = typer.main.get_command(app)
    _finish(command, verb)
    return command


def _finish(command: Any, name: str) -> None:
    shown = "\n".join(f"  {line}" for line in examples(name))
    command.epilog = f"\b\nExamples:\n{shown}"
    for parameter in command.params:
        if parameter.metavar == DURATION and isinstance(parameter.default, float):
            parameter.default = duration_text(parameter.default)
    for child, nested in getattr(command, "commands", {}).items():
        _finish(nested, f"{name} {child}")


def invoke(app: typer.Typer, argv: Sequence[str]) -> int:
    """Parse `argv` (verb first) and call the verb's function; UsageError when it cannot be parsed."""
    command = command_of(app, argv[0])
    name = f"deployer {argv[0]}"
    try:
        # not command.main(), which would turn every signal into exit code 130 without a word
        with command.make_context(name, list(argv[1:])) as context:
            code = command.invoke(context)
    except typer.Exit as exit_:
        return exit_.exit_code
    except typer.Abort as abort:
        raise KeyboardInterrupt from abort
    except _TyperUsageError as error:
        where = getattr(getattr(error, "ctx", None), "command_path", name)
        text = error.format_message().replace("Value error, ", "")
        raise UsageError(text[:1].lower() + text[1:].rstrip("."), hint=f"`{where} --help` shows its usage") from None
    return code if isinstance(code, int) else 0
