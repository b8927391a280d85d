"""The `deployer` command: help from the table of verbs alone, and one verb imported when it is called."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

from deployer.cli.verbs import GROUPS, TITLES, VERBS, app_of

COMPLETION = "_DEPLOYER_COMPLETE"
"""Environment variable that the completion script sets when it asks what can follow."""

OPTIONS = {
    "-o, --output": "format of the result: table, json or yaml (every verb)",
    "-q, --quiet": "no progress on stderr (every verb)",
    "-v, --verbose": "more detail on stderr, and the traceback of an unexpected error (every verb)",
    "--version": "print the version and exit",
    "-h, --help": "print this help, or that of a verb, and exit",
}


class Terminated(KeyboardInterrupt):
    """SIGTERM, handled as Ctrl-C is: whatever a verb has started is stopped on the way out."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; return the exit code (see `deployer.errors`)."""
    argv = list(sys.argv[1:] if arguments is None else arguments)
    if COMPLETION in os.environ:
        from deployer.cli.completion import print_completions

        return print_completions(VERBS, COMPLETION)
    if argv[:1] == ["help"] and len(argv) > 1:  # `deployer help rollout start`
        argv = [*argv[1:], "--help"]
    if not argv or argv[0] in ("-h", "--help", "help"):
        sys.stdout.write(overview())
        return 0 if argv else 2
    from deployer.cli import console

    if argv[0] == "--version":
        sys.stdout.write(f"deployer {console.tool_version()}\n")
        return 0
    try:
        return _run(argv)
    finally:
        console.console.close()


def overview() -> str:
    """The top-level help, from the table alone."""
    width = max(map(len, [*VERBS, *OPTIONS])) + 2
    verbs = "\n".join(
        f"{TITLES[group]}:\n" + "".join(f"  {verb:<{width}}{text}\n" for verb, text in verbs.items())
        for group, verbs in GROUPS.items()
    )
    options = "".join(f"  {option:<{width}}{text}\n" for option, text in OPTIONS.items())
    return (
        "Usage: deployer VERB [OPTIONS] [ARGUMENTS]\n\n"
        "TensorFlow models into production: export, serve, preprocess, roll out, measure.\n\n"
        f"{verbs}\nOptions:\n{options}\n"
        "`deployer VERB --help` explains one verb.\n"
    )


def _run(argv: list[str]) -> int:
    from deployer.cli.console import console
    from deployer.errors import DeployerError, UsageError, of_disk
    from deployer.extras import of_import

    signal.signal(signal.SIGTERM, _terminate)
    console.configure_from(argv)
    try:
        if argv[0].startswith("-"):
            raise UsageError(f"{argv[0]} comes before the verb", hint="options come after it: `deployer VERB -o json`")
        if argv[0] not in VERBS:
            raise UsageError(f"there is no verb {argv[0]!r}", hint=_nearest(argv[0]))
        from deployer.cli.verb import invoke

        return invoke(app_of(argv[0]), argv)
    except DeployerError as error:
        return console.fail(error)
    except Terminated:
        return console.stopped("terminated", exit_code=128 + signal.SIGTERM)
    except KeyboardInterrupt:
        return console.stopped("interrupted", exit_code=128 + signal.SIGINT)
    except BrokenPipeError:
        return console.abandoned()
    except OSError as error:
        known = of_disk(error)
        return console.fail(known) if known else console.bug(error)
    except ImportError as error:
        missing = of_import(error)
        return console.fail(missing) if missing else console.bug(error)
    except Exception as error:  # the one place where a bug becomes text
        return console.bug(error)


def _nearest(verb: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(verb, VERBS, n=1)
    return f"did you mean `deployer {near[0]}`?" if near else "`deployer --help` lists the verbs"


def _terminate(_signal: int, _frame: FrameType | None) -> NoReturn:
    raise Terminated


if __name__ == "__main__":
    sys.exit(main())
