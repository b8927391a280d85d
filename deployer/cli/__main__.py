"""The `deployer` command: a static table of verbs, so that `--help` imports nothing that a verb needs."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from types import FrameType
from typing import NoReturn

VERBS = {
    "init": "Write a commented deployer.yaml: every key, with its default.",
    "features": "Create a feature spec from a model and its data, or check one and list all its problems.",
    "export": "Export a trained model as the next version in the store.",
    "models": "List, inspect, verify, compare and prune the versions in a store.",
    "publish": "Copy versions from a store to a PVC; each becomes visible once its checksums are verified.",
    "package": "Write a version in the form that another platform takes: SageMaker, Vertex AI or an image.",
    "render": "Write all files of a release; change nothing that is running.",
    "local": "Run a release as processes on this machine.",
    "cluster": "Make and delete a kind cluster to deploy to.",
    "deploy": "Install or upgrade a release in a cluster, and verify that it works.",
    "diff": "Compare versions, labels and weights in values files with those in the cluster.",
    "status": "Show phase, replicas, versions, labels, weights and the latest rollouts of a release.",
    "dashboard": "Serve one page on this machine that shows a release and its rollouts as they move, until Ctrl-C.",
    "doctor": "Explain why a release is unhealthy: each cause with its evidence and its remedy.",
    "rollout": "Bring a new version to traffic step by step, judged by gates.",
    "rollback": "Return to the previous stable version at once, without steps or gates.",
    "drift": "Compare live records and scores with the training data of the versions that served them.",
    "predict": "Send records to a release and compare the predictions with the expected values.",
    "batch": "Predict whole files of records through a release, in order; a run that was killed can continue.",
    "experiment": "Measure latency and throughput over replica counts, and report.",
    "explain": "Explain a key of deployer.yaml: its default and its meaning, and the keys below it.",
    "completion": "Print the script that completes verbs, options, models, versions and labels in a shell.",
    "demo": "Run the whole toolkit on this machine, on real data.",
}
"""Verb to one-line help. The verb `x` is `deployer.cli.verbs.x:app`, imported when it is called."""

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
    verbs = "".join(f"  {verb:<{width}}{text}\n" for verb, text in VERBS.items())
    options = "".join(f"  {option:<{width}}{text}\n" for option, text in OPTIONS.items())
    return (
        "Usage: deployer VERB [OPTIONS] [ARGUMENTS]\n\n"
        "TensorFlow models into production: export, serve, preprocess, roll out, measure.\n\n"
        f"Verbs:\n{verbs}\nOptions:\n{options}\n"
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

        return invoke(import_module(f"deployer.cli.verbs.{argv[0]}").app, argv)
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
