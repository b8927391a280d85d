"""Versions of a model `loan` in a store, as an export would have published them, without tensorflow."""

from __future__ import annotations

from pathlib import Path

from deployer.domain.store import Manifest, ParityFact
from deployer.targets.storage import manifest, signatures
from deployer.targets.storage.layout import ModelStore
from tfserving.wire import messages_pb2 as m


def saved_model() -> bytes:
    """A saved_model.pb with one signature x: float32 [-1, 4] -> y: float32 [-1, 1]."""
    graph = m.MetaGraphDef(meta_info_def=m.MetaGraphDef.MetaInfoDef(tags=["serve"], tensorflow_version="2.21.0"))
    signature = graph.signature_def["serving_default"]
    for tensors, name, width in ((signature.inputs, "x", 4), (signature.outputs, "y", 1)):
        tensors[name].dtype = m.DT_FLOAT
        for size in (-1, width):
            tensors[name].tensor_shape.dim.add().size = size
    return m.SavedModel(meta_graphs=[graph]).SerializeToString()


def publish(root: Path, version: int, *, model: str = "loan", accuracy: float = 0.9) -> None:
    store = ModelStore(root=root, model=model)
    with store.stage(version) as staging:
        (staging.path / "variables").mkdir()
        (staging.path / "saved_model.pb").write_bytes(saved_model())
        (staging.path / "variables/variables.index").write_bytes(b"index")
        (staging.path / "assets.extra").mkdir()
        (staging.path / manifest.FEATURES).write_text("features: []\n")
        known = Manifest(
            model=model,
            version=version,
            created="2026-11-22T12:00:00Z",
            source="loan.keras",
            tensorflow="2.21.0",
            signature="serving_default",
            signatures=signatures.read(staging.path).signatures,
            files=manifest.measure(staging.path),
            warmup_batch_sizes=(1, 8),
            parity=ParityFact(rows=8, rtol=1e-4, atol=1e-5, max_difference=1e-7),
            metrics={"accuracy": accuracy},
        )
        (staging.path / manifest.MANIFEST).write_bytes(manifest.encode(known))
        store.publish(staging)
