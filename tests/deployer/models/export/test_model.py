"""Export with real TensorFlow: every kind of source, every check, nothing published when one fails."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from paths import SUPPORT

from deployer.errors import DeployerError, ExportError, SpecError
from deployer.models.export.export import Exported, ExportRequest, export
from deployer.models.proof.parity import Tolerance
from deployer.models.proof.served import Prover
from deployer.targets.storage import manifest, signatures
from deployer.targets.storage.layout import ModelStore
from tfserving.wire import messages_pb2 as m
from tfserving.wire.tensors import to_array
from tfserving.wire.tfrecords import records

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # keras with numpy 2

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)

FEATURES = """
features:
  - {name: a, type: float}
  - {name: b, type: float}
  - {name: kind, type: category, vocabulary: [car, home]}
input: {name: x, dtype: float32, shape: [-1, 4]}
output: {name: output_0, kind: classification, labels: [low, middle, high]}
"""


@pytest.fixture(autouse=True)
def _in_the_users_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SUPPORT)


@pytest.fixture
def request_(tmp_path: Path) -> ExportRequest:
    return ExportRequest(source="exported_models:linear", store=tmp_path / "store", model="m")


def run(request: ExportRequest) -> Exported:
    return export(request, progress=lambda sentence: None, clock=lambda: NOON)


def refused(request: ExportRequest, error: type[DeployerError] = ExportError) -> DeployerError:
    """The error of an export that must fail; nothing may have become visible or stay behind."""
    with pytest.raises(error) as caught:
        run(request)
    assert not (request.store / request.model).exists()
    return caught.value


@pytest.fixture(scope="session")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One linear model as users have it on disk: linear.keras, linear.h5 and the SavedModel directory `saved`."""
    import keras

    model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3, activation="softmax", name="scores")])
    model.set_weights([np.arange(12, dtype=np.float32).reshape(4, 3) / 10, np.zeros(3, np.float32)])
    root = tmp_path_factory.mktemp("models")
    model.save(root / "linear.keras")
    model.save(root / "linear.h5")
    model.export(root / "saved", verbose=False)
    return root


def test_a_function_becomes_a_complete_version(request_: ExportRequest) -> None:
    exported = run(replace(request_, metrics={"accuracy": 0.97}))
    assert exported.path == request_.store / "m/1"
    known = manifest.read(exported.path)
    assert known == exported.manifest
    assert (known.model, known.version, known.source) == ("m", 1, "exported_models:linear")
    assert known.created == "2026-11-22T12:00:00Z"
    assert str(known.signatures["serving_default"].inputs["x"]) == "float32 [-1, 4]"
    assert str(known.signatures["serving_default"].outputs["output_0"]) == "float32 [-1, 3]"
    assert known.batchable
    assert known.metrics == {"accuracy": 0.97}
    assert known.parity is not None
    assert known.parity.rows == 8
    assert known.parity.max_difference <= 1e-5
    assert {"saved_model.pb", "variables/variables.index", manifest.WARMUP} <= known.files.keys()
    assert manifest.verify(exported.path, known) == ()
    assert run(request_).version == 2


def test_the_manifest_is_plain_json_with_derived_facts(request_: ExportRequest) -> None:
    document = json.loads((run(request_).path / manifest.MANIFEST).read_text())
    assert document["schemaVersion"] == "v1"
    assert document["batchable"] is True
    assert document["size"] == sum(fact["size"] for fact in document["files"].values())
    assert len(document["files"]["saved_model.pb"]["sha256"]) == 64


def test_warmup_has_one_record_per_batch_size(request_: ExportRequest) -> None:
    path = run(replace(request_, warmup_batch_sizes=(1, 4, 16))).path / manifest.WARMUP
    with path.open("rb") as stream:
        requests = [m.PredictionLog.FromString(r).predict_log.request for r in records(stream)]
    assert [to_array(r.inputs["x"]).shape for r in requests] == [(1, 4), (4, 4), (16, 4)]
    assert {r.model_spec.signature_name for r in requests} == {"serving_default"}


SENT = [(1, "home"), (2, "masked"), (3, "car")]


def test_warmup_requests_are_made_of_records_that_clients_sent(request_: ExportRequest, tmp_path: Path) -> None:
    (tmp_path / "features.yaml").write_text(FEATURES)
    sent = tmp_path / "m.jsonl"
    lines = (f'{{"record": {{"a": {a}, "b": {a + 4}, "kind": "{kind}"}}}}\n' for a, kind in SENT)
    sent.write_text("".join(lines))
    said: list[str] = []
    request = replace(request_, features=tmp_path / "features.yaml", warmup_from=sent, warmup_batch_sizes=(1, 3))
    path = export(request, progress=said.append).path / manifest.WARMUP
    with path.open("rb") as stream:
        inputs = [
            to_array(m.PredictionLog.FromString(r).predict_log.request.inputs["x"]).tolist() for r in records(stream)
        ]
    first, second = [1, 5, 0, 1], [3, 7, 1, 0]
    assert inputs == [[first], [first, second, first]]
    assert any("2 records" in sentence and "1 that do not fit" in sentence for sentence in said)


@pytest.mark.parametrize(
    ("features", "content", "message"),
    [
        (False, '{"record": {"a": 1, "b": 5, "kind": "car"}}', "needs a feature spec"),
        (True, '{"record": {"a": 1, "b": 5, "kind": "other"}}', "no record of"),
        (True, "", "is empty"),
    ],
)
def test_records_that_make_no_warmup_request_are_refused(
    request_: ExportRequest, tmp_path: Path, features: bool, content: str, message: str
) -> None:
    (tmp_path / "features.yaml").write_text(FEATURES)
    (tmp_path / "sent.jsonl").write_text(content)
    spec = tmp_path / "features.yaml" if features else None
    error = refused(replace(request_, features=spec, warmup_from=tmp_path / "sent.jsonl"), DeployerError)
    assert message in error.message
    assert error.hint


@pytest.mark.parametrize("name", ["linear.keras", "linear.h5", "saved"])
def test_files_on_disk_become_versions_that_predict_as_they_should(
    request_: ExportRequest, saved: Path, name: str
) -> None:
    path = run(replace(request_, source=str(saved / name))).path
    x = np.array([[1, 0, 0, 0], [0, 0, 0, 2]], np.float32)
    logits = x @ (np.arange(12, dtype=np.float32).reshape(4, 3) / 10)
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    with Prover().serving({"m": path}, warm_up=True) as served:
        np.testing.assert_allclose(served.run("m", "serving_default", {"x": x})["output_0"], softmax, 1e-5)


def test_a_savedmodel_is_copied_byte_for_byte(request_: ExportRequest, saved: Path) -> None:
    path = run(replace(request_, source=str(saved / "saved"))).path
    for name, fact in manifest.measure(saved / "saved").items():
        assert manifest.measure(path)[name] == fact


@pytest.mark.parametrize(
    ("function", "inputs", "outputs"),
    [
        ("two_inputs", {"amount": "float32 [-1, 2]", "kind": "int32 [-1, 1]"}, {"score": "float32 [-1, 1]"}),
        ("doubler", {"numbers": "float32 [-1, 2]"}, {"doubled": "float32 [-1, 2]"}),
        ("words", {"word": "string [-1]", "n": "int64 [-1]"}, {"upper": "string [-1]", "n": "int64 [-1]"}),
    ],
)
def test_names_and_types_of_the_model_are_those_of_the_signature(
    request_: ExportRequest, function: str, inputs: dict[str, str], outputs: dict[str, str]
) -> None:
    exported = run(replace(request_, source=f"exported_models:{function}"))
    signature = exported.manifest.signatures["serving_default"]
    assert {name: str(tensor) for name, tensor in signature.inputs.items()} == inputs
    assert outputs.items() <= {name: str(tensor) for name, tensor in signature.outputs.items()}.items()


def test_samples_from_lines_and_from_npz(request_: ExportRequest, tmp_path: Path) -> None:
    lines, arrays = tmp_path / "rows.jsonl", tmp_path / "rows.npz"
    lines.write_text('{"x": [1, 2, 3, 4]}\n\n{"x": [5, 6, 7, 8.5]}\n')
    np.savez(arrays, x=np.ones((5, 4)))
    for path, rows in ((lines, 2), (arrays, 5)):
        known = run(replace(request_, samples=path)).manifest
        assert known.parity is not None
        assert known.parity.rows == rows


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('{"y": [1, 2, 3, 4]}', "line 1 has no value for 'x'"),
        ('{"x": [1, 2, 3]}', "has shape [1, 3]; the signature needs float32 [-1, 4]"),
        ('{"x": [1, 2, 3, 4]}\n{"x": [1', "line 2 is not JSON"),
        ('{"x": ["a", "b", "c", "d"]}', "must be float32"),
        ("", "it is empty"),
        ("\n\n", "the file is empty"),
    ],
)
def test_samples_that_do_not_fit(request_: ExportRequest, tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "rows.jsonl").write_text(text)
    assert why in refused(replace(request_, samples=tmp_path / "rows.jsonl")).message


def test_an_npz_file_that_is_none(request_: ExportRequest, tmp_path: Path) -> None:
    for content in (b"PK\x03\x04 torn", b"plain text"):
        (tmp_path / "rows.npz").write_bytes(content)
        assert "cannot be used: it " in refused(replace(request_, samples=tmp_path / "rows.npz")).message


def test_a_model_without_a_batch_dimension_is_published_with_the_reason(request_: ExportRequest) -> None:
    request = replace(request_, source="exported_models:one_row")
    assert "input 'numbers' has a fixed dimension 0 (1)" in refused(replace(request, require_batchable=True)).message
    known = run(request).manifest
    assert not known.batchable
    assert known.batching_problem == "input 'numbers' has a fixed dimension 0 (1) instead of an unknown one"
    assert known.warmup_batch_sizes == ()


def test_a_model_that_predicts_otherwise_once_it_is_written_fails_parity(request_: ExportRequest) -> None:
    request = replace(request_, source="exported_models:counting")
    error = refused(request)
    assert "differs from its source: output 'counted'" in error.message
    assert "allowed is 1e-05 + 0.0001 * |source|" in error.cause
    assert run(replace(request, tolerance=Tolerance(rtol=0, atol=1e6))).version == 1


def test_the_feature_spec_travels_with_the_version(request_: ExportRequest, tmp_path: Path) -> None:
    spec = tmp_path / "features.yaml"
    spec.write_text(FEATURES)
    exported = run(replace(request_, features=spec))
    assert (exported.path / manifest.FEATURES).read_text() == FEATURES
    again = run(replace(request_, source=str(exported.path)))
    assert (again.path / manifest.FEATURES).read_text() == FEATURES
    assert manifest.verify(again.path, again.manifest) == ()


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("[-1, 4]", "[-1, 5]", "input.shape"),
        ("name: x", "name: pixels", "'pixels'"),
        ("[low, middle, high]", "[low, high]", "output.labels"),
        ("vocabulary", "vocabullary", "vocabullary"),
    ],
)
def test_a_feature_spec_that_does_not_fit_is_refused(
    request_: ExportRequest, tmp_path: Path, old: str, new: str, why: str
) -> None:
    (tmp_path / "features.yaml").write_text(FEATURES.replace(old, new))
    error = refused(replace(request_, features=tmp_path / "features.yaml"), SpecError)
    assert why in error.cause


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("nowhere", "'nowhere' is not a model"),
        ("nowhere.keras", "file nowhere.keras does not exist"),
        ("no_such_module:f", "no_such_module:f did not return a model"),
        ("exported_models:no_such", "did not return a model"),
        ("exported_models:broken", "did not return a model"),
        ("exported_models:not_a_model", "returned int, which is not a model"),
        ("exported_models:ambiguous", "cannot decide which function of Ambiguous to serve"),
        (".", "it has no saved_model.pb"),
    ],
)
def test_sources_that_are_no_models(request_: ExportRequest, source: str, what: str) -> None:
    assert what in refused(replace(request_, source=source)).message


def test_damaged_files_are_named(request_: ExportRequest, tmp_path: Path, saved: Path) -> None:
    (tmp_path / "bad.keras").write_bytes((saved / "linear.keras").read_bytes()[:100])
    assert (
        "bad.keras cannot be loaded as a Keras model"
        in refused(replace(request_, source=str(tmp_path / "bad.keras"))).message
    )
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/saved_model.pb").write_bytes(b"\xff" * 10)
    assert (
        "saved_model.pb cannot be read as a SavedModel"
        in refused(replace(request_, source=str(tmp_path / "bad"))).message
    )
    (tmp_path / "bad/saved_model.pb").write_bytes((saved / "saved/saved_model.pb").read_bytes())
    assert "the model server rejected" in refused(replace(request_, source=str(tmp_path / "bad"))).message


def test_an_unknown_signature_lists_what_there_is(request_: ExportRequest) -> None:
    error = refused(replace(request_, signature="predict"))
    assert error.message == "the SavedModel has no signature 'predict'"
    assert "serving_default" in error.cause


def test_the_size_gate_names_the_largest_file(request_: ExportRequest) -> None:
    error = refused(replace(request_, max_size=1000))
    assert "the limit is 1.0 kB" in error.message
    assert "saved_model.pb" in error.cause
    assert run(replace(request_, max_size=1_000_000)).version == 1


def test_a_number_that_exists_is_refused(request_: ExportRequest) -> None:
    first = run(replace(request_, version=4))
    before = manifest.measure(first.path)
    with pytest.raises(ExportError, match="version 4 of model m already exists"):
        run(replace(request_, version=4))
    assert manifest.measure(first.path) == before


def test_a_dry_run_checks_everything_and_touches_nothing(request_: ExportRequest) -> None:
    exported = run(replace(request_, dry_run=True))
    assert (exported.version, exported.dry_run) == (1, True)
    assert exported.manifest.parity is not None
    assert not request_.store.exists()
    run(request_)
    assert run(replace(request_, dry_run=True)).version == 2
    with pytest.raises(ExportError, match="already exists"):
        run(replace(request_, dry_run=True, version=1))
    assert ModelStore(root=request_.store, model="m").versions() == (1,)


def test_the_manifest_is_the_last_file_written(request_: ExportRequest) -> None:
    steps: list[str] = []
    export(request_, progress=lambda sentence: None, on_step=steps.append)
    written = steps.index(f"write {manifest.MANIFEST}")
    assert max(i for i, step in enumerate(steps) if step.startswith("measure ")) < written
    assert min(i for i, step in enumerate(steps) if step.startswith("sync ")) > written


def test_signatures_agree_with_tensorflows_own_reading(saved: Path) -> None:
    import tensorflow as tf

    ours = signatures.read(saved / "saved")
    theirs = tf.saved_model.load(str(saved / "saved")).signatures["serving_default"]
    assert ours.tensorflow == tf.__version__
    assert ours.signature().inputs.keys() == theirs.structured_input_signature[1].keys()
    assert ours.signature().outputs.keys() == theirs.structured_outputs.keys()
