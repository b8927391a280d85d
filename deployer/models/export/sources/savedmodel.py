"""A SavedModel directory: it is copied unchanged, and runs on a model server for the comparison."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

from deployer.errors import ExportError
from deployer.models.export.sources.library import tensorflow
from deployer.models.export.sources.source import Source
from deployer.records.text import text_of
from deployer.targets.storage import signatures
from deployer.targets.storage.disk import OnStep, copy_tree
from tfserving.tflite import MODEL_FILE
from tfserving.wire.tensors import Array

TEXT = "saved_model.pbtxt"


class SavedModelSource(Source):
    """The files are copied unchanged, but for a `model.tflite`, which a server would serve instead of the SavedModel.

    A graph in text format is converted to the binary format.

    Errors at construction: ExportError for a directory that is not a SavedModel, naming the SavedModels below it.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._text = not (directory / signatures.SAVED_MODEL_FILE).exists() and (directory / TEXT).exists()
        if not self._text:
            _reject_base_path(directory)
            signatures.read(directory)

    def save(self, directory: Path, *, on_step: OnStep) -> None:
        assert self.directory is not None
        copy_tree(self.directory, directory, on_step=on_step)
        (directory / MODEL_FILE).unlink(missing_ok=True)  # a server would prefer it
        if self._text:
            on_step(f"write {signatures.SAVED_MODEL_FILE}")
            (directory / signatures.SAVED_MODEL_FILE).write_bytes(_binary(directory / TEXT))
            (directory / TEXT).unlink()

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        raise AssertionError("a SavedModel runs on a model server")


def _binary(path: Path) -> bytes:
    """A graph in text format as bytes. Errors: ExportError with TensorFlow's line and column."""
    tensorflow()
    messages = importlib.import_module("tensorflow.core.protobuf.saved_model_pb2")
    text_format = importlib.import_module("google.protobuf.text_format")
    try:
        found = text_format.Parse(text_of(path, ExportError), messages.SavedModel())
    except text_format.ParseError as error:
        raise ExportError(f"{path} cannot be parsed as a SavedModel", cause=str(error), hint="save it again") from error
    return bytes(found.SerializeToString())


def _reject_base_path(directory: Path) -> None:
    """The base path of a model is easily mistaken for a version directory."""
    below = sorted(path.parent.name for path in directory.glob(f"*/{signatures.SAVED_MODEL_FILE}"))
    if not (directory / signatures.SAVED_MODEL_FILE).exists() and below:
        raise ExportError(
            f"{directory} is not a SavedModel: it has no {signatures.SAVED_MODEL_FILE}",
            cause=f"there are SavedModels below it: {', '.join(below)}",
            hint=f"name one of them: {directory / below[-1]}",
        )
