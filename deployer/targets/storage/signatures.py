"""Signatures and TensorFlow version of a SavedModel or TFLite model, read from its bytes without tensorflow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from google.protobuf.message import DecodeError

from deployer.domain.store import DEFAULT_SIGNATURE, SignatureFact, TensorFact
from deployer.errors import ExportError
from tfserving import tflite
from tfserving.wire import messages_pb2 as m
from tfserving.wire.tensors import DTYPES

SERVE_TAG = "serve"
SAVED_MODEL_FILE = "saved_model.pb"
_INTERNAL = "__saved_model_init_op"
_NUMPY_NAMES = {"float": "float32", "double": "float64", "half": "float16"}


@dataclass(frozen=True, kw_only=True)
class SavedModelFacts:
    """The part of saved_model.pb that matters for serving: TensorFlow's version and the signatures by name.

    A model.tflite does not say the version.
    """

    tensorflow: str
    signatures: dict[str, SignatureFact]

    def signature(self, name: str = DEFAULT_SIGNATURE) -> SignatureFact:
        """One signature. Errors: ExportError that lists the existing ones."""
        if name not in self.signatures:
            existing = ", ".join(sorted(self.signatures)) or "none"
            raise ExportError(
                f"the SavedModel has no signature '{name}'",
                cause=f"signatures: {existing}",
                hint="name one of them with --signature" if self.signatures else "save the model with a signature",
            )
        return self.signatures[name]


def read(directory: Path) -> SavedModelFacts:
    """Read `directory`/saved_model.pb: the graph tagged "serve", which TensorFlow Serving loads; or its model.tflite.

    Errors: ExportError when there is neither file, it is not a SavedModel, or no graph has the tag.
    """
    path = directory / SAVED_MODEL_FILE
    lite = directory / tflite.MODEL_FILE
    if not path.exists() and lite.exists():
        return decode(lite.read_bytes(), lite)
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise ExportError(f"{directory} is not a SavedModel: it has no saved_model.pb", hint=_HINT) from error
    except OSError as error:
        raise ExportError(f"{path} cannot be read as a SavedModel", hint=_HINT) from error
    return decode(content, path)


def definition(directory: Path, name: str) -> m.SignatureDef:
    """A signature of a SavedModel that has it, as it was saved."""
    saved_model = m.SavedModel.FromString((directory / SAVED_MODEL_FILE).read_bytes())
    (graph,) = (graph for graph in saved_model.meta_graphs if SERVE_TAG in graph.meta_info_def.tags)
    return graph.signature_def[name]


def decode(content: bytes, path: Path | str) -> SavedModelFacts:
    """Decode the content of a saved_model.pb or a model.tflite; errors name `path`."""
    if Path(path).name == tflite.MODEL_FILE:
        return _decode_lite(content, path)
    try:
        saved_model = m.SavedModel.FromString(content)
    except DecodeError as error:
        raise ExportError(f"{path} cannot be read as a SavedModel", hint=_HINT) from error
    for graph in saved_model.meta_graphs:
        if SERVE_TAG in graph.meta_info_def.tags:
            signatures = {k: _fact(v) for k, v in sorted(graph.signature_def.items()) if k != _INTERNAL}
            return SavedModelFacts(tensorflow=graph.meta_info_def.tensorflow_version, signatures=signatures)
    tags = sorted({tag for graph in saved_model.meta_graphs for tag in graph.meta_info_def.tags})
    raise ExportError(
        f"{path} has no graph tagged '{SERVE_TAG}'",
        cause=f"tags: {', '.join(tags) or 'none'}",
        hint="save it with tf.saved_model.save, which sets the tag",
    )


def _decode_lite(content: bytes, path: Path | str) -> SavedModelFacts:
    try:
        found = tflite.read_signatures(content)
    except tflite.TfLiteError as error:
        raise ExportError(f"{path} cannot be read as a TFLite model", hint="export the version again") from error
    return SavedModelFacts(tensorflow="", signatures={name: _fact(found[name]) for name in sorted(found)})


_HINT = "name the directory that tf.saved_model.save or model.export wrote"


def _fact(definition: m.SignatureDef) -> SignatureFact:
    return SignatureFact(
        inputs={name: _tensor(info) for name, info in sorted(definition.inputs.items())},
        outputs={name: _tensor(info) for name, info in sorted(definition.outputs.items())},
        method=definition.method_name,
        defaults=tuple(sorted(definition.defaults)),
    )


def _tensor(info: m.TensorInfo) -> TensorFact:
    name = DTYPES[info.dtype].name if info.dtype in DTYPES else f"dtype {info.dtype}"
    unknown = info.tensor_shape.unknown_rank
    shape = None if unknown else tuple(dim.size for dim in info.tensor_shape.dim)
    return TensorFact(dtype=_NUMPY_NAMES.get(name, name), shape=shape)
