"""What each verb is called with, for its --help and the reference; a test parses every line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

EXAMPLES: Mapping[str, Sequence[str]] = {
    "init": ("deployer init --release shop --store models --model digits",),
    "features init": (
        "deployer features init exported/loan --data train.parquet",
        "deployer features init train:model --file features.yaml",
    ),
    "features check": (
        "deployer features check features.yaml --model exported/loan --data train.parquet --rates rates.json",
        "deployer features check features.yaml --data rows.jsonl --expected tensors.npz --tolerance 1e-6",
    ),
    "export": (
        "deployer export model.keras --store models --model digits --features features.yaml",
        "deployer export train:model --store models --model digits --metric accuracy=0.97 -o json",
    ),
    "models list": (
        "deployer models list --store models",
        "deployer models list --store pvc://shop/models digits",
    ),
    "models inspect": ("deployer models inspect digits --store models --version 2",),
    "models verify": ("deployer models verify digits --store models",),
    "models compare": (
        "deployer models compare digits 2 3 4 --store models --records holdout.jsonl --picture trade.png",
    ),
    "models prune": (
        "deployer models prune digits --store models --keep 3 --dry-run",
        "deployer models prune digits --store pvc://shop/models --keep 5 --protect 4,7",
    ),
    "publish": (
        "deployer publish digits --store models --to pvc://shop/models --create 10Gi",
        "deployer publish digits --store models --version 2 --to pvc://shop/models",
    ),
    "package": (
        "deployer package digits --store models --version 2 --format sagemaker --output model.tar.gz",
        "deployer package digits --store models --format docker --output image",
    ),
    "render": (
        "deployer render --output-dir rendered",
        "deployer render --label digits:stable=1 --label digits:canary=2 --dry-run",
    ),
    "local up": (
        "deployer local up --replicas 2 --port 8080",
        "deployer local up --foreground --cpus-per-replica 0.5",
        "deployer local up --engine docker",
    ),
    "local down": ("deployer local down",),
    "local logs": ("deployer local logs replica-0",),
    "cluster up": ("deployer cluster up --nodes 3",),
    "cluster down": ("deployer cluster down",),
    "deploy": (
        "deployer deploy --dry-run",
        "deployer deploy --context production -n shop --timeout 15m --yes",
        "deployer deploy --version digits=2",
    ),
    "diff": ("deployer diff --values clusters/shop",),
    "status": (
        "deployer status --watch",
        "deployer status --target cluster -n shop -o json",
    ),
    "dashboard": (
        "deployer dashboard",
        "deployer dashboard --target cluster -n shop --read-only",
    ),
    "doctor": ("deployer doctor --target cluster --keep seen.json",),
    "drift": ("deployer drift fraud --threshold 0.2 --report drift.html", "deployer drift fraud -o json"),
    "rollout start": (
        "deployer rollout start digits --to 2 --steps 5,25,50 --soak 1m --gate 'p99<1.5*stable' --gate 'error_rate<1%'",
        "deployer rollout start digits --to 2 --gate 'disagreement<2%' --labelled holdout.jsonl --load synthetic",
        "deployer rollout start digits --to 2 --gate 'error_rate<1%' --gate 'size<500MB' --dry-run",
    ),
    "rollout status": ("deployer rollout status digits --watch",),
    "rollout watch": ("deployer rollout watch digits --exit-code --junit rollout.xml",),
    "rollout promote": ("deployer rollout promote digits",),
    "rollout pause": ("deployer rollout pause digits",),
    "rollout resume": ("deployer rollout resume digits",),
    "rollout abort": ("deployer rollout abort digits --target cluster",),
    "rollout history": ("deployer rollout history digits -o json",),
    "explain": ("deployer explain gateway.limits", "deployer explain serving.resources.cpu_limit"),
    "completion": ("deployer completion bash",),
    "rollback": (
        "deployer rollback digits",
        "deployer rollback digits --to 1 --target cluster",
    ),
    "predict": (
        "deployer predict digits --records holdout.jsonl",
        "deployer predict digits --records tensors.jsonl --direct --label canary",
        "deployer predict digits --records - --skip-bad --out predictions.csv",
        "deployer predict digits --records holdout.jsonl --picture predictions.png",
    ),
    "batch": (
        "deployer batch digits --input holdout.jsonl --output predictions/",
        "deployer batch digits --input 'data/*.parquet' --output out/ --format parquet --shards 8 --max-rate 2000",
    ),
    "experiment run": (
        "deployer experiment run digits --records holdout.jsonl --replicas 1,2,4 --p99 100ms",
        "deployer experiment run digits --records holdout.jsonl --rates 100,200 --rounds 3 --for 2000",
    ),
    "experiment batching": ("deployer experiment batching digits --records holdout.jsonl --max-batch-size 8,32",),
    "experiment compare": ("deployer experiment compare experiments/before experiments/after",),
    "experiment report": ("deployer experiment report experiments/first",),
    "demo": ("deployer demo --no-measure",),
}
"""Command lines by verb; that of a group shows the first of each of its commands."""


def examples(name: str) -> Sequence[str]:
    """The examples of a verb, or of one command of a group ("models list")."""
    of_group = [lines[0] for verb, lines in EXAMPLES.items() if verb.startswith(f"{name} ")]
    return EXAMPLES.get(name, of_group)
