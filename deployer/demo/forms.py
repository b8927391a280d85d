"""One model in three forms, and what each costs: a SavedModel, a TFLite model and a random forest of scikit-learn."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from deployer.demo.samples import TUMOR
from deployer.demo.samples.tumor import forest, forest_features
from deployer.domain.gate import parse_gate
from deployer.domain.store import Format, Quantize
from deployer.models.compare.measure import CompareRequest
from deployer.models.compare.measure import compare as measure
from deployer.models.compare.picture import draw
from deployer.models.compare.result import Comparison
from deployer.models.export.export import ExportRequest, export
from deployer.targets.base import Progress

KERAS, TFLITE, FOREST = 2, 3, 4
"""Versions of tumor: the better Keras model, the same as TFLite, and another model on the same measurements."""
REQUESTS = 300
GATES = ("accuracy>=90%",)
PICTURE = "comparison.svg"


@dataclass(frozen=True, kw_only=True)
class Forms:
    """The comparison of the three versions, and its picture (SVG)."""

    comparison: Comparison
    picture: Path


def publish(out: Path, progress: Progress) -> None:
    """Export the TFLite version and the forest of tumor. Errors: those of export."""
    model, store = TUMOR.name, out / "store"
    features, source = out / f"{model}.features.yaml", TUMOR.versions[KERAS]
    TUMOR.write_features(features)
    progress(f"$ deployer export {source} --store {store} --model {model} --format tflite --quantize float16")
    lite = ExportRequest(
        source=source,
        store=store,
        model=model,
        version=TFLITE,
        features=features,
        format=Format.TFLITE,
        quantize=Quantize.FLOAT16,
    )
    export(lite, progress=lambda _: None)
    file, features = out / "forest.pkl", out / "forest.features.yaml"
    file.write_bytes(pickle.dumps(forest()))
    features.write_text(yaml.safe_dump(forest_features(), sort_keys=False, width=120), "utf-8")
    progress(f"$ deployer export {file} --trust --store {store} --model {model} --features {features}")
    trees = ExportRequest(source=str(file), trust=True, store=store, model=model, version=FOREST, features=features)
    export(trees, progress=lambda _: None)


def compare(out: Path, progress: Progress, versions: Sequence[int] = (KERAS, TFLITE, FOREST)) -> Forms:
    """Measure the versions on the held-out records and draw the picture. Errors: those of a comparison."""
    records, picture = out / f"{TUMOR.name}.jsonl", out / PICTURE
    named = " ".join(map(str, versions))
    progress(f"$ deployer models compare {TUMOR.name} {named} --store {out}/store --records {records}")
    request = CompareRequest(
        store=out / "store",
        model=TUMOR.name,
        versions=tuple(versions),
        records=records,
        requests=REQUESTS,
        gates=tuple(parse_gate(text) for text in GATES),
    )
    found = measure(request, progress=lambda _: None)
    draw(found, picture)
    return Forms(comparison=found, picture=picture)
