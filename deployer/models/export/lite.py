"""A SavedModel as `model.tflite`, with the signature where TensorFlow Serving reads it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from deployer.domain.store import Quantize, SignatureFact
from deployer.errors import ExportError
from deployer.models.export.sources.library import model_code, muted, tensorflow
from deployer.targets.storage import signatures
from tfserving import tflite
from tfserving.wire.tensors import Array

CALIBRATION_ROWS = 500
"""Sample rows that the ranges for int8 are taken from."""

_CANNOT = "the model cannot be converted to TFLite"
_BUILTIN = (
    "the interpreter of TensorFlow Serving has only TFLite's own operations: export it as a SavedModel "
    "(--format savedmodel), or replace the operation"
)


@dataclass(frozen=True, kw_only=True)
class Conversion:
    """What to convert: one signature, its declaration, how its numbers are stored, and rows for the ranges of int8."""

    signature: str
    fact: SignatureFact
    quantize: Quantize
    inputs: Mapping[str, Array]


def convert(saved_model: Path, wanted: Conversion) -> bytes:
    """The content of model.tflite. Errors: ExportError for operations and types that TFLite does not have."""
    tf = tensorflow()
    for name, tensor in wanted.fact.inputs.items():
        if tensor.shape is None:
            raise ExportError(_CANNOT, cause=f"input '{name}' has an unknown rank", hint=_BUILTIN)
    with model_code(_CANNOT, _BUILTIN), muted():
        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model), signature_keys=[wanted.signature])
        if wanted.quantize is not Quantize.NONE:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if wanted.quantize is Quantize.FLOAT16:
            converter.target_spec.supported_types = [tf.float16]
        if wanted.quantize is Quantize.INT8:
            converter.representative_dataset = lambda: _rows(wanted.inputs)
            converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8, tf.lite.OpsSet.TFLITE_BUILTINS]
        return _with_signature(bytes(converter.convert()), saved_model, wanted)


def replace_saved_model(version_dir: Path, content: bytes) -> None:
    """Put model.tflite into a version directory, in place of the SavedModel; `assets.extra` stays."""
    for path in version_dir.iterdir():
        if path.name == "assets.extra":
            continue
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    (version_dir / tflite.MODEL_FILE).write_bytes(content)


def _rows(inputs: Mapping[str, Array]) -> Iterator[dict[str, Array]]:
    """Row by row, as the converter asks for."""
    rows = min((len(array) for array in inputs.values() if array.ndim), default=1)
    for row in range(min(rows, CALIBRATION_ROWS)):
        yield {name: array[row : row + 1] if array.ndim else array for name, array in inputs.items()}


def _with_signature(content: bytes, saved_model: Path, wanted: Conversion) -> bytes:
    """Add the signature, with the tensor names of the flat buffer, to the metadata."""
    names = tflite.converted_names(content)[wanted.signature]
    declared = signatures.definition(saved_model, wanted.signature)
    for infos, known in ((declared.inputs, names.inputs), (declared.outputs, names.outputs)):
        for alias in [*infos]:
            if alias in known:
                infos[alias].name = known[alias]
            else:
                del infos[alias]  # an input that no output depends on
    declared.ClearField("defaults")
    return tflite.with_signatures(content, {wanted.signature: declared})
