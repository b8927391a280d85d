"""A SavedModel directory: copied as it is, and asked on the model server."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from pathlib import Path

from deployer.errors import ExportError
from deployer.models.export.sources.library import tensorflow
from deployer.models.export.sources.source import Source
from deployer.targets.storage import signatures
from deployer.targets.storage.disk import OnStep, copy_tree
from tfserving.wire.tensors import Array

TEXT = "saved_model.pbtxt"


class SavedModelSource(Source):
    """Nothing of the graph, its signatures or its assets changes; a graph in text form is written in binary form.

    Errors at construction: ExportError for a directory that is no SavedModel, naming the version below it if there is
    one.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._text = not (directory / signatures.SAVED_MODEL_FILE).exists() and (directory / TEXT).exists()
        if not self._text:
            _refuse_parent(directory)
            signatures.read(directory)

    def save(self, directory: Path, *, on_step: OnStep) -> None:
        assert self.directory is not None
        copy_tree(self.directory, directory, on_step=on_step)
        if self._text:
            on_step(f"write {signatures.SAVED_MODEL_FILE}")
            (directory / signatures.SAVED_MODEL_FILE).write_bytes(_binary(directory / TEXT))
            (directory / TEXT).unlink()

    def run(self, signature: str, inputs: Mapping[str, Array]) -> dict[str, Array]:
        raise AssertionError("a SavedModel is asked on a model server")


def _binary(path: Path) -> bytes:
    """A graph in text form as bytes. Errors: ExportError with TensorFlow's line and column."""
    tensorflow()
    messages = importlib.import_module("tensorflow.core.protobuf.saved_model_pb2")
    text_format = importlib.import_module("google.protobuf.text_format")
    try:
        found = text_format.Parse(path.read_text("utf-8"), messages.SavedModel())
    except (text_format.ParseError, UnicodeDecodeError) as error:
        raise ExportError(f"{path} cannot be read as a SavedModel", cause=str(error), hint="save it again") from error
    return bytes(found.SerializeToString())


def _refuse_parent(directory: Path) -> None:
    """A model's base path is taken for a version easily."""
    below = sorted(path.parent.name for path in directory.glob(f"*/{signatures.SAVED_MODEL_FILE}"))
    if not (directory / signatures.SAVED_MODEL_FILE).exists() and below:
        raise ExportError(
            f"{directory} is not a SavedModel: it has no {signatures.SAVED_MODEL_FILE}",
            cause=f"there are SavedModels below it: {', '.join(below)}",
            hint=f"name one of them: {directory / below[-1]}",
        )
