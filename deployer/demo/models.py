"""The models of the demo, trained and exported in one process that imports TensorFlow once and then ends.

`python -m deployer.demo.models OUT MODEL…` does what `prepare` does, for a parent that shall stay light.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from deployer.demo import forms
from deployer.demo.samples import DIGITS, SAMPLES, offline_accuracy
from deployer.models.export.export import ExportRequest, export
from deployer.targets.base import Progress
from deployer.targets.storage.layout import ModelStore

HEAVY = "digits_conv"
"""The convolutional digits, which keep a replica busy enough to be what saturates."""

HEAVY_SOURCE = "deployer.demo.samples:digits_conv"
BAD_SOURCE = "deployer.demo.samples:digits_bad"
"""Version 3 of digits, which a rollout is to stop."""
FORMS = "forms"
"""Stands among the models for the further forms of tumor, see `deployer.demo.forms`."""
RESULT = "offline.json"
PROGRESS_PREFIX = "demo: "
"""Begins the lines of the child's output that are meant for the user; the others are TensorFlow's."""

Offline = dict[str, dict[int, float]]
"""Accuracy from 0 to 1 by model and version, without any server."""


def prepare(out: Path, models: Sequence[str], progress: Progress) -> Offline:
    """Write feature specs and held-out records, train and export every version, and ask each one offline."""
    exported = [name for name in models if name != FORMS]
    for name in exported:
        sample = SAMPLES.get(name, DIGITS)
        sources = [HEAVY_SOURCE] if name == HEAVY else list(sample.versions.values())
        if name == DIGITS.name:
            sources.append(BAD_SOURCE)
        sample.write_features(out / f"{name}.features.yaml")
        count = sample.holdout().write(out / f"{name}.jsonl")
        progress(f"{count} held-out records of {name} are in {out / name}.jsonl")
        for source in sources:
            progress(f"$ deployer export {source} --store {out}/store --model {name} --features {name}.features.yaml")
            request = ExportRequest(
                source=source, store=out / "store", model=name, features=out / f"{name}.features.yaml"
            )
            export(request, progress=lambda _: None)
    found: Offline = {}
    for name in exported:
        place = ModelStore(root=out / "store", model=name)
        found[name] = {v: offline_accuracy(place.path(v), SAMPLES.get(name, DIGITS)) for v in place.versions()}
        shares = (f"version {version} is correct for {100 * share:.1f} %" for version, share in found[name].items())
        progress(f"offline, {name}: {', '.join(shares)}")
    if FORMS in models:
        forms.publish(out, progress)
    return found


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    offline = prepare(folder, sys.argv[2:], lambda sentence: print(f"{PROGRESS_PREFIX}{sentence}", flush=True))  # noqa: T201
    (folder / RESULT).write_bytes(msgspec.json.encode(offline))
