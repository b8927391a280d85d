"""Every structure that Keras and TensorFlow have is exported, loads on the model server, and responds as its source."""

from __future__ import annotations

import base64
import json
import shutil
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest
from paths import SUPPORT

from deployer.cli.__main__ import main
from deployer.domain.store import WarmUp
from deployer.errors import ExportError
from deployer.models.export import warmup
from deployer.models.export.export import Exported, ExportRequest, export
from deployer.models.proof.served import Prover
from deployer.targets.storage import manifest

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")

STRUCTURES = {
    "positional": ("item:float32 [-1, 3] user:float32 [-1, 2]", "output_0:float32 [-1, 2]", ""),
    "a_list": ("inputs_0:float32 [-1, 2] inputs_1:float32 [-1, 3]", "output_0:float32 [-1, 2]", ""),
    "a_dict": ("left:float32 [-1, 2] right:float32 [-1, 3]", "output_0:float32 [-1, 2]", ""),
    "a_dict_of_one": ("only:float32 [-1, 2]", "output_0:float32 [-1, 2]", ""),
    "keys_unlike_names": ("a:float32 [-1, 2] b:float32 [-1, 3]", "out:float32 [-1, 1]", ""),
    "nested": (
        "a:float32 [-1, 2] b:float32 [-1, 3] c:float32 [-1, 1]",
        "heads_0:float32 [-1, 1] heads_1:float32 [-1, 2]",
        "",
    ),
    "default_argument": ("inputs:float32 [-1, 4]", "output_0:float32 [-1, 2]", ""),
    "stateful": ("input_layer:float32 [1, -1, 3]", "output_0:float32 [1, 1]", "has a fixed dimension 0 (1)"),
    "mixed_bfloat16": ("x:float32 [-1, 4]", "output_0:bfloat16 [-1, 3]", ""),
    "all_bfloat16": ("x:bfloat16 [-1, 4]", "output_0:bfloat16 [-1, 3]", ""),
    "lookup": ("color:string [-1, 1]", "output_0:float32 [-1, 2]", ""),
    "ragged_input": (
        "x:float32 [-1] x_1:int64 [-1]",
        "total:float32 [-1]",
        "the ragged input 'x' consists of several tensors",
    ),
    "ragged_output": (
        "x:string [-1]",
        "words_row_splits:int64 [-1] words_values:string [-1]",
        "output 'words_row_splits' has 9 rows for 8 rows of input",
    ),
    "sparse_input": (
        "x:int64 [-1, 2] x_1:float32 [-1] x_2:int64 [2]",
        "total:float32 of unknown rank",
        "the sparse input 'x' consists of several tensors",
    ),
    "sparse_output": (
        "x:float32 [-1, 3]",
        "some_dense_shape:int64 [2] some_indices:int64 [-1, 2] some_values:float32 [-1]",
        "output 'some_dense_shape' has a fixed dimension 0 (2)",
    ),
    "nested_module": (
        "u:float32 [-1, 2] v:float32 [-1, 2]",
        "out_both_0:float32 [-1, 2] out_both_1:float32 [-1, 2] out_sum:float32 [-1, 2]",
        "",
    ),
    "no_inputs": ("", "names:string [2]", "the signature has no input"),
    "scalar": ("training:bool [] x:float32 [-1, 2]", "y:float32 [-1, 2]", "input 'training' is a scalar"),
    "fixed_batch": ("x:float32 [4, 2]", "y:float32 [4]", "has a fixed dimension 0 (4)"),
    "rows_depend_on_each_other": (
        "x:float32 [-1, 2]",
        "y:float32 [-1, 2]",
        "output 'y' of a row depends on the other rows of the request",
    ),
    "keras_in_a_module": ("color:string [-1, 1]", "y:float32 [-1, 2]", ""),
    "several_signatures": ("word:string [-1]", "number:int32 [-1]", ""),
}


@pytest.fixture(autouse=True)
def _in_the_users_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(SUPPORT)


def request_of(source: str, tmp_path: Path) -> ExportRequest:
    return ExportRequest(source=source, store=tmp_path / "store", model="m", warmup_batch_sizes=(1, 3))


def run(request: ExportRequest) -> Exported:
    return export(request, progress=lambda _: None)


def refused(request: ExportRequest) -> ExportError:
    with pytest.raises(ExportError) as caught:
        run(request)
    assert not request.store.exists(), "a failed export leaves nothing behind"
    return caught.value


@pytest.mark.parametrize("name", STRUCTURES)
def test_a_structure_is_exported_and_served(name: str, tmp_path: Path) -> None:
    inputs, outputs, batching = STRUCTURES[name]
    known = run(request_of(f"structures:{name}", tmp_path)).manifest
    signature = known.signatures["serving_default"]
    assert " ".join(f"{key}:{fact}" for key, fact in sorted(signature.outputs.items())) == outputs
    if name != "stateful":  # Keras numbers the names of inputs that have none
        assert " ".join(f"{key}:{fact}" for key, fact in sorted(signature.inputs.items())) == inputs
    assert batching in known.batching_problem
    assert bool(batching) == bool(known.batching_problem)
    assert known.parity is not None


def test_other_functions_of_a_module_are_signatures_too(tmp_path: Path) -> None:
    exported = run(request_of("structures:several_signatures", tmp_path))
    assert {"serving_default", "doubled"} <= exported.manifest.signatures.keys()
    with Prover().serving({"m": exported.path}, warm_up=True) as served:
        assert served.run("m", "doubled", {"x": np.array([1.5], np.float32)})["y"].tolist() == [3.0]
        assert served.run("m", "serving_default", {"word": np.array([b"b", b"z"], object)})["number"].tolist() == [2, 0]


def test_bfloat16_arrives_as_its_values(tmp_path: Path) -> None:
    samples = tmp_path / "rows.jsonl"
    samples.write_text('{"x": [0.5, 1, 2, -3]}\n{"x": [0, 0, 0, 1]}\n')
    exported = run(replace(request_of("structures:mixed_bfloat16", tmp_path), samples=samples))
    with Prover().serving({"m": exported.path}, warm_up=True) as served:
        scores = served.run("m", "serving_default", {"x": np.ones((2, 4), np.float32)})["output_0"]
    assert scores.dtype == np.float32
    assert scores.sum(axis=1) == pytest.approx([1.0, 1.0], abs=0.02)


@pytest.fixture(scope="session")
def saved_wrongly(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Keras 3 models saved with tf.saved_model.save, as Keras 2 users do."""
    import keras
    import tensorflow as tf

    root = tmp_path_factory.mktemp("wrong")
    x = keras.Input((4,), name="x")
    functional = keras.Model(x, keras.layers.Dense(3)(x))
    sequential = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    holder = tf.Module()
    holder.model = functional
    holder.serve = tf.function(lambda x: {"y": functional(x)}, input_signature=[tf.TensorSpec([None, 4], name="x")])
    signatures = {"serving_default": holder.serve.get_concrete_function()}
    tf.saved_model.save(functional, str(root / "functional"))
    tf.saved_model.save(sequential, str(root / "sequential"))
    tf.saved_model.save(holder, str(root / "module"), signatures=signatures)
    return root


@pytest.mark.parametrize("name", ["functional", "sequential", "module"])
def test_what_no_server_can_run_is_refused_with_the_way_that_works(
    saved_wrongly: Path, name: str, tmp_path: Path
) -> None:
    error = refused(request_of(str(saved_wrongly / name), tmp_path))
    assert "Could not find variable" in error.cause
    assert "This could mean" not in error.cause
    assert "model.export(PATH)" in error.hint


@pytest.mark.parametrize(
    ("source", "cause", "hint"),
    [
        ("structures:untracked_table", "untracked", "as an attribute of the module"),
        ("structures:returns_nothing", "", "return a tensor"),
        ("structures:unbuilt", "has not been called yet", "call the model on one batch"),
    ],
)
def test_what_cannot_be_written_names_its_own_remedy(source: str, cause: str, hint: str, tmp_path: Path) -> None:
    error = refused(request_of(source, tmp_path))
    assert cause in error.cause
    assert hint in error.hint


@pytest.fixture(scope="session")
def keras_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files that Keras wrote and that are not, or not safely, a whole model."""
    import keras

    root = tmp_path_factory.mktemp("files")
    x = keras.Input((3,), name="x")
    model = keras.Model(x, keras.layers.Dense(2)(x))
    model.save_weights(root / "only.weights.h5")
    keras.Model(x, keras.layers.Lambda(lambda t: t * 2)(x)).save(root / "lambda.keras")

    class Own(keras.layers.Layer):  # type: ignore[misc]  # keras has no annotations
        def call(self, t: object) -> object:
            return t

    keras.Model(x, Own()(x)).save(root / "own.keras")
    (root / "empty.keras").touch()
    recurrent = keras.Input((2, 3), name="x")
    keras.Model(recurrent, keras.layers.GRU(2)(recurrent)).save(root / "now.keras")
    with ZipFile(root / "now.keras") as now, ZipFile(root / "older.keras", "w") as older:
        for name in now.namelist():  # an argument that GRU had in Keras 2
            older.writestr(name, now.read(name).replace(b'"reset_after": true', b'"time_major": false'))
    return root


@pytest.mark.parametrize(
    ("file", "cause", "hint"),
    [
        ("only.weights.h5", "the file has only weights, not a model", "load_weights"),
        ("lambda.keras", "the model has a Lambda layer", "--trust"),
        ("own.keras", "Own", "register_keras_serializable"),
        ("older.keras", "time_major", "another version of Keras"),
        ("empty.keras", "", "save the model again"),
        ("absent.keras", "", "name a .keras or .h5 file"),
    ],
)
def test_each_cause_has_its_own_remedy(keras_files: Path, file: str, cause: str, hint: str, tmp_path: Path) -> None:
    error = refused(request_of(str(keras_files / file), tmp_path))
    assert cause in error.cause
    assert hint in error.hint


def test_a_lambda_layer_is_loaded_when_it_is_trusted(keras_files: Path, tmp_path: Path) -> None:
    exported = run(replace(request_of(str(keras_files / "lambda.keras"), tmp_path), trust=True))
    assert exported.manifest.batchable


@pytest.fixture(scope="session")
def with_warmup(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SavedModel with warm-up requests of its author, and with its graph in text form in `text`."""
    import tensorflow as tf
    from google.protobuf import text_format
    from tensorflow.core.protobuf import saved_model_pb2

    root = tmp_path_factory.mktemp("warm")
    module = tf.Module()
    module.serve = tf.function(
        lambda t: {"n": tf.strings.length(t)}, input_signature=[tf.TensorSpec([None], tf.string)]
    )
    tf.saved_model.save(
        module, str(root / "model"), signatures={"serving_default": module.serve.get_concrete_function()}
    )
    shutil.copytree(root / "model", root / "text")
    graph = saved_model_pb2.SavedModel.FromString((root / "text/saved_model.pb").read_bytes())
    (root / "text/saved_model.pbtxt").write_text(text_format.MessageToString(graph))
    (root / "text/saved_model.pb").unlink()
    path = root / "model" / manifest.WARMUP
    words = {"t": np.array([b"a sentence that people write"], object)}
    warmup.write(path, model="m", signature="serving_default", inputs=words, batch_sizes=(1, 2))
    return root


def test_the_authors_warm_up_requests_stay_byte_for_byte_unless_new_ones_are_asked_for(
    with_warmup: Path, tmp_path: Path
) -> None:
    request = request_of(str(with_warmup / "model"), tmp_path)
    told: list[str] = []
    kept = export(request, progress=told.append)
    assert (kept.path / manifest.WARMUP).read_bytes() == (with_warmup / "model" / manifest.WARMUP).read_bytes()
    assert kept.kept_warmup == 2
    assert any("keeping the 2 warm-up requests" in sentence for sentence in told)
    new = run(replace(request, warmup=WarmUp.NEW))
    assert (new.path / manifest.WARMUP).read_bytes() != (with_warmup / "model" / manifest.WARMUP).read_bytes()
    assert new.kept_warmup is None


def test_warm_up_requests_that_the_model_refuses_are_found_before_publishing(with_warmup: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(with_warmup / "model", broken)
    numbers = {"t": np.array([1.5], np.float32)}
    warmup.write(broken / manifest.WARMUP, model="m", signature="serving_default", inputs=numbers, batch_sizes=())
    error = refused(request_of(str(broken), tmp_path))
    assert "the warm-up requests of this version fail" in error.message or "cannot load" in error.message
    (broken / manifest.WARMUP).write_bytes(b"no records at all, and longer than a header")
    assert "is not a file of warm-up requests" in refused(request_of(str(broken), tmp_path)).message


def test_a_graph_in_text_form_is_served_in_binary_form(with_warmup: Path, tmp_path: Path) -> None:
    exported = run(request_of(str(with_warmup / "text"), tmp_path))
    assert (exported.path / "saved_model.pb").exists()
    assert not (exported.path / "saved_model.pbtxt").exists()


def test_an_operation_that_the_server_lacks_is_named_with_the_remedy(with_warmup: Path, tmp_path: Path) -> None:
    shutil.copytree(with_warmup / "text", tmp_path / "text")
    graph = tmp_path / "text/saved_model.pbtxt"
    graph.write_text(graph.read_text().replace('"StringLength"', '"OperationOfNobody"'))
    error = refused(request_of(str(tmp_path / "text"), tmp_path))
    assert "OperationOfNobody" in error.cause
    assert "a server image that has it" in error.hint


def test_a_folder_of_versions_names_the_versions(with_warmup: Path, tmp_path: Path) -> None:
    error = refused(request_of(str(with_warmup), tmp_path))
    assert "model" in error.cause


def test_a_metric_that_is_no_number_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="metric loss is nan"):
        replace(request_of("structures:scalar", tmp_path), metrics={"loss": float("nan")})


BYTES = [b"\x00\x01binary\x00", b"ends with NUL\x00\x00"]


def test_binary_samples_are_lossless(with_warmup: Path, tmp_path: Path) -> None:
    lines = tmp_path / "rows.jsonl"
    lines.write_text("".join(json.dumps({"t": {"b64": base64.b64encode(one).decode()}}) + "\n" for one in BYTES))
    exported = run(replace(request_of(str(with_warmup / "text"), tmp_path), samples=lines))
    with (exported.path / manifest.WARMUP).open("rb") as stream:
        content = stream.read()
    assert all(one in content for one in BYTES)


def test_numpy_bytes_that_lost_their_nuls_are_refused(with_warmup: Path, tmp_path: Path) -> None:
    path = tmp_path / "rows.npz"
    np.savez(path, t=np.array(BYTES))
    error = refused(replace(request_of(str(with_warmup / "text"), tmp_path), samples=path))
    assert "loses NUL bytes" in error.message
    assert "b64" in error.hint


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("rows.csv", "x_0,x_1,x_2,x_3\n1,2,3,4\n5,6,7,8\n", ""),
        ("rows.csv", "a,b,c,d\n1,2,3,4\n", ""),
        ("rows.csv", "x_0,x_1\n1,2\n", "no column for input 'x'"),
        ("rows.csv", "x_0,x_1,x_2,x_3\n1,2,3\n", "line 2 has 3 values for 4 columns"),
        ("rows.csv", "x_0,x_1,x_2,x_3\n1,2,three,4\n", "must be float32, not text"),
        ("rows.jsonl", '{"x": [1, 2, NaN, 4]}\n', "line 1 is not JSON"),
        ("rows.jsonl", '{"x": [true, false, true, true]}\n', ""),
        ("rows.txt", "1 2 3 4\n", "not a known format"),
    ],
)
def test_tables_and_lines(name: str, content: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text(content)
    request = replace(request_of("exported_models:linear", tmp_path), samples=path, dry_run=True)
    if message:
        assert message in refused(request).message
    else:
        assert run(request).manifest.parity is not None


def test_a_latin_1_byte_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"x": [1, 2, 3, 4]}\n{"x": "caf\xe9"}\n')
    error = refused(replace(request_of("exported_models:linear", tmp_path), samples=path))
    assert "rows.jsonl:2: not UTF-8" in error.message
    assert "iconv" in error.hint


def test_parquet_samples(tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    pyarrow = pytest.importorskip("pyarrow")
    path = tmp_path / "rows.parquet"
    parquet.write_table(pyarrow.table({"x": [[1.0, 2, 3, 4], [5.0, 6, 7, 8]]}), path)
    told: list[str] = []
    export(replace(request_of("exported_models:linear", tmp_path), samples=path, dry_run=True), progress=told.append)
    assert any("is float64 in rows.parquet and is sent as float32" in sentence for sentence in told)


def test_verify_finds_a_version_that_no_server_can_load(
    saved_wrongly: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(request_of("exported_models:linear", tmp_path))
    verify = ["models", "verify", "m", "--store", str(tmp_path / "store"), "--load"]
    assert main(verify) == 0
    graph = tmp_path / "store/m/1/saved_model.pb"
    graph.write_bytes((saved_wrongly / "functional/saved_model.pb").read_bytes())
    document = json.loads((tmp_path / "store/m/1" / manifest.MANIFEST).read_text())
    measured = manifest.measure(tmp_path / "store/m/1")
    document["files"]["saved_model.pb"] = {
        "size": measured["saved_model.pb"].size,
        "sha256": measured["saved_model.pb"].sha256,
    }
    (tmp_path / "store/m/1" / manifest.MANIFEST).write_text(json.dumps(document))
    assert main(verify) == 4
    assert "model server" in capsys.readouterr().out
