"""The table of verbs. One module a verb: it parses, builds a request, calls a subject and prints.

A verb `x` of the group `models` is `deployer.cli.verbs.models.x:app`; one of no group is `deployer.cli.verbs.x:app`.
The table is static, so that `deployer --help` imports nothing that a verb needs.
"""

from importlib import import_module
from typing import Any

GROUPS = {
    "models": {
        "features": "Create a feature spec from a model and its data, or check one and list all its problems.",
        "export": "Export a trained model as the next version in the store.",
        "models": "List, inspect, verify, compare and prune the versions in a store.",
        "publish": "Copy versions from a store to a PVC; each becomes visible once its checksums are verified.",
        "package": "Write a version in the form that another platform takes: SageMaker, Vertex AI or an image.",
    },
    "release": {
        "init": "Write a commented deployer.yaml: every key, with its default.",
        "explain": "Explain a key of deployer.yaml: its default and its meaning, and the keys below it.",
        "render": "Write all files of a release; change nothing that is running.",
        "local": "Run a release as processes on this machine.",
        "cluster": "Make and delete a kind cluster to deploy to.",
        "deploy": "Install or upgrade a release in a cluster, and verify that it works.",
        "diff": "Compare versions, labels and weights in values files with those in the cluster.",
        "status": "Show phase, replicas, versions, labels, weights and the latest rollouts of a release.",
        "dashboard": "Serve one page on this machine that shows a release and its rollouts as they move, until Ctrl-C.",
        "doctor": "Explain why a release is unhealthy: each cause with its evidence and its remedy.",
        "drift": "Compare live records and scores with the training data of the versions that served them.",
        "predict": "Send records to a release and compare the predictions with the expected values.",
        "batch": "Predict whole files of records through a release, in order; a run that was killed can continue.",
    },
    "rollout": {
        "rollout": "Bring a new version to traffic step by step, judged by gates.",
        "rollback": "Return to the previous stable version at once, without steps or gates.",
    },
    "": {
        "experiment": "Measure latency and throughput over replica counts, and report.",
        "demo": "Run the whole toolkit on this machine, on real data.",
        "completion": "Print the script that completes verbs, options, models, versions and labels in a shell.",
    },
}
"""Package below this one to its verbs, each with its one-line help; the empty name is this package itself."""

TITLES = {"models": "Models", "release": "Releases", "rollout": "Rollouts", "": "More"}
"""Package to the heading above its verbs in `deployer --help`."""

VERBS = {verb: text for verbs in GROUPS.values() for verb, text in verbs.items()}
"""Every verb with its one-line help, in the order of `deployer --help`."""


def module_of(verb: str) -> str:
    """The dotted name of the module of one of `VERBS`."""
    group = next(group for group, verbs in GROUPS.items() if verb in verbs)
    return ".".join(filter(None, [__name__, group, verb]))


def app_of(verb: str) -> Any:
    """The Typer app of one of `VERBS`; its module is imported now."""
    return import_module(module_of(verb)).app
