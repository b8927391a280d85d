"""`python -m deployer.export.samples STORE`: offline accuracy of every sample version in a store, as JSON on stdout."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from deployer.export.layout import ModelStore
from deployer.export.samples import SAMPLES, offline_accuracy


def main(store: Path) -> dict[str, dict[int, float]]:
    """Accuracy from 0 to 1 by model and version; samples that the store does not hold are left out."""
    found: dict[str, dict[int, float]] = {}
    for name, sample in SAMPLES.items():
        place = ModelStore(root=store, model=name)
        for version in place.versions():
            found.setdefault(name, {})[version] = offline_accuracy(place.path(version), sample)
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]))) + "\n")
